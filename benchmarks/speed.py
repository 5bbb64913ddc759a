"""Prints how fast the parts are, from the tables of config/benchmark.yaml and from measurements of its own.

`make benchmark` makes the tables first and calls this after them, on the same machine with nothing else running. Of its
own: a plain Kafka relay of the same events (the ratio's denominator), the producer's lateness at 5 000 events/s, and
the summary of a run of 1 000 000 events. Rows are Markdown; intervals are Student's t 95 % over the repetitions.
"""

import argparse
import csv
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from crayfish.engine import jvm
from crayfish.harness import machine
from crayfish.harness.run import START_DEADLINE_S, Places, Run
from crayfish.harness.stages import Stage
from crayfish.spec import errors, metrics
from crayfish.spec.run_spec import RunSpec, Segment

ROOT = Path(__file__).resolve().parents[1]
RELAY_EVENTS = 600_000
REPETITIONS = 3
WARMUP_S = 10.0


def places(out: Path) -> Places:
    jars = sorted((ROOT / "resources/jars/kafka").glob("*.jar"))
    reference = ROOT / "resources/models/fashion_mnist/ffnn/reference.npz"
    return Places(Path(sys.executable), reference, None, jvm.find(), jars, [], out, title="benchmark")


def spec_of(kind: str, rate: float, seconds: float, warmup_s: float = 0.0) -> RunSpec:
    """The RunSpec whose load is wanted; no processor is started, so which one it names has no meaning."""
    load = {"kind": kind, "rate": rate, "warmup_s": warmup_s, "measure_s": seconds}
    return RunSpec.from_dict({"processor": "kafka_streams", "scorer": "noop", "segments": [load]})


def produced(run: Run) -> Stage:
    """Start the producer and let it send its only segment."""
    run.open_broker()
    producer = run.start_client("producer")
    producer.wait_for("ready", START_DEADLINE_S, run.watch)
    producer.send(segment=0)
    producer.wait_for("segment_done", 300, run.watch)
    return producer


def relay(out: Path) -> dict:
    """events/s and CPU us an event of the plain relay over a backlog."""
    with Run(spec_of("backlog", RELAY_EVENTS, 1.0), places(out)) as run:
        run.end_producer(produced(run))
        command = [
            sys.executable,
            str(ROOT / "benchmarks/relay.py"),
            "--job",
            str(run.job_file),
            "--events",
            str(RELAY_EVENTS),
        ]
        stage = run.start(Stage("relay", command, run.log_of("relay"), run.tag))
        done = stage.wait_for("done", 300)
        stage.stopping = True
    return {"rate": done["events"] / done["seconds"], "cpu_us": 1e6 * done["cpu_s"] / done["events"]}


def lateness(out: Path) -> dict:
    """How late the producer sent 5 000 events/s of 3 KB to an otherwise idle broker, after a warm-up, ms."""
    with Run(spec_of("constant", 5000.0, 20.0, WARMUP_S), places(out)) as run:
        run.end_producer(produced(run))
        table = pq.read_table(run.folder / "producer.parquet")
    late = (table["sent_ns"].to_numpy() - table["due_ns"].to_numpy()) / 1e6
    late = np.sort(late[int(WARMUP_S * 5000) :])
    return {name: metrics.percentile(late, per_mille) for name, per_mille in metrics.PER_MILLE.items()}


def summary_of_a_million(out: Path) -> tuple[float, float]:
    """Seconds and GB (peak) to summarise a run of 1 000 000 events, generated as execute_run writes it."""
    sys.path.insert(0, str(ROOT / "tests"))
    from generated_runs import spec_of as written_spec
    from generated_runs import summarise, write_run

    write_run(out, written_spec("flink", "onnx", Segment("constant", 50_000.0, warmup_s=5.0, measure_s=15.0)))
    seconds, usage = summarise(out, out / "summary.json")
    return seconds, usage.ru_maxrss / 1e6


def number(row: dict, name: str, digits: int = 0) -> str:
    """A mean with its interval, as 'mean [low, high]'."""
    if not row.get(name):
        return "-"
    mean, low, high = (
        f"{float(row[key]):,.{digits}f}" if row[key] else "-" for key in (name, f"{name}_low", f"{name}_high")
    )
    return f"{mean} [{low}, {high}]"


def rows_of(results: Path, table: str) -> list[dict]:
    with (results / "tables" / f"{table}.csv").open() as file:
        return list(csv.DictReader(file))


def print_throughput(rows: list[dict], relays: list[dict]) -> None:
    """For each scorer and style, each processor's rate, cost, and rate as a share of the plain relay's."""
    base, cpu = (metrics.t_interval([each[name] for each in relays]) for name in ("rate", "cpu_us"))
    cells = {}
    for row in rows:
        ratio = float(row["throughput_events_per_s"]) / base.mean
        figures = (number(row, "throughput_events_per_s"), number(row, "cpu_processor_us_per_event", 1), f"{ratio:.2g}")
        mark = " *" if row["warnings"] else ""
        cells[f"`{row['scorer']}` {row['scoring']}", row["processor"]] = "; ".join(figures) + mark
    processors, systems = (list(dict.fromkeys(key[part] for key in cells)) for part in (1, 0))
    print("events/s; CPU us an event; share of the plain relay's events/s (*: with a warning, see runs.csv):\n")
    print(f"| scorer | {' | '.join(f'`{name}`' for name in processors)} |")
    print("|---|" + "---|" * len(processors))
    for system in systems:
        print(f"| {system} | {' | '.join(cells.get((system, name), '-') for name in processors)} |")
    rate = f"{base.mean:,.0f} [{base.low:,.0f}, {base.high:,.0f}]"
    print(f"\nThe plain relay: {rate} events/s; {cpu.mean:.1f} [{cpu.low:.1f}, {cpu.high:.1f}] us\n")


def print_latency(rows: list[dict]) -> None:
    """Each system's latency by both definitions, and what a run costs beside its measured seconds."""
    print("At 512 events/s (after a segment at 2 048 events/s), ms:\n")
    print("| processor | scorer | definition | p50 | p95 | p99 | fixed cost, s | warnings |")
    print("|---|---|---|---|---|---|---|---|")
    for row in (row for row in rows if float(row["rate_events_per_s"]) == 512):
        for label, name in (("received - due", "latency"), ("append - sent (the original's)", "append_minus_sent")):
            values = " | ".join(number(row, f"{name}_{part}_ms", 2) for part in ("p50", "p95", "p99"))
            fixed = number(row, "fixed_cost_s", 1)
            print(f"| {row['processor']} | {row['scorer']} | {label} | {values} | {fixed} | {row['warnings']} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=ROOT / "results/benchmark")
    results = parser.parse_args().results
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        relays = [relay(out / f"relay-{number}") for number in range(REPETITIONS)]
        late = lateness(out / "lateness")
        seconds, gigabytes = summary_of_a_million(out / "summary" / "1")
    about = machine.describe()
    size = f"{about['memory_bytes'] / 2**30:.0f} GiB"
    print(f"\n{about['cores']} cores of {about['cpu']}, {size}, Linux {about['kernel']}\n")
    print_throughput([*rows_of(results, "throughput"), *rows_of(results, "vectorised")], relays)
    print_latency(rows_of(results, "latency"))
    percentiles = ", ".join(f"{name} {value:.3f}" for name, value in late.items() if value is not None)
    print(f"\nProducer at 5 000 events/s of 3 KB, lateness in ms: {percentiles}")
    print(f"Summary of a run of 1 000 000 events: {seconds:.1f} s, {gigabytes:.2f} GB")


if __name__ == "__main__":
    errors.main(main)
