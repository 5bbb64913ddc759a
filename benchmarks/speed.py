"""How fast the parts of the measuring system are, beside what config/benchmark.yaml measures.

`make benchmark` makes the tables first and calls this after them, on the same machine with nothing else running. It
measures a plain Kafka relay of the same events (the ratio's denominator), how late the producer sends at 5 000
events/s, and the summary of a run of 1 000 000 events, and writes results/benchmark/speed.json, of which
benchmarks/report.py makes tables.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from places import RESULTS, places, write

from crayfish.harness.parts import Producer
from crayfish.harness.run import Run
from crayfish.harness.stages import Stage
from crayfish.spec import errors, metrics
from crayfish.spec.paths import ROOT
from crayfish.spec.run_spec import RunSpec, Segment

RELAY_EVENTS = 600_000
RELAY_DEADLINE_S = 300.0
REPETITIONS = 3
WARMUP_S = 10.0


def spec_of(kind: str, rate: float, seconds: float, warmup_s: float = 0.0) -> RunSpec:
    """The RunSpec whose load is wanted; no processor is started, so which one it names has no meaning."""
    load = {"kind": kind, "rate": rate, "warmup_s": warmup_s, "measure_s": seconds}
    return RunSpec.from_dict({"processor": "kafka_streams", "scorer": "noop", "segments": [load]})


def produced(run: Run) -> Producer:
    """Start the producer and let it send its only segment."""
    run.open_broker()
    producer = run.start_producer()
    producer.await_event("ready")
    producer.begin(0)
    producer.await_event("segment_done", RELAY_DEADLINE_S)
    return producer


def relay(out: Path, events: int) -> dict:
    """events/s and CPU us an event of the plain relay over a backlog."""
    spec = spec_of("backlog", events, 1.0)
    with Run(spec, places(spec, out)) as run:
        produced(run).end()
        program = [sys.executable, str(ROOT / "benchmarks/relay.py")]
        command = [*program, "--job", str(run.job_file), "--events", str(events)]
        stage = run.open(Stage("relay", command, run.log_of("relay"), run.tag))
        done = stage.wait_for("done", RELAY_DEADLINE_S)
        stage.stopping = True
    return {
        "events_per_s": done["events"] / done["seconds"],
        "cpu_us_per_event": 1e6 * done["cpu_s"] / done["events"],
    }


def lateness(out: Path, seconds: float) -> dict:
    """How late the producer sent 5 000 events/s of 3 KB to an otherwise idle broker, after a warm-up, ms."""
    spec = spec_of("constant", 5000.0, seconds, WARMUP_S)
    with Run(spec, places(spec, out)) as run:
        produced(run).end()
        table = pq.read_table(run.folder / "producer.parquet")
    late_ms = (table["sent_ns"].to_numpy() - table["due_ns"].to_numpy()) / 1e6
    late_ms = np.sort(late_ms[int(WARMUP_S * 5000) :])
    return {name: metrics.percentile(late_ms, per_mille) for name, per_mille in metrics.PER_MILLE.items()}


def summary_of_a_million(out: Path) -> dict:
    """Seconds and GB (peak) to summarise a run of 1 000 000 events, generated as execute_run writes it."""
    sys.path.insert(0, str(ROOT / "tests"))
    from generated_runs import spec_of as written_spec
    from generated_runs import summarise, write_run

    write_run(out, written_spec("flink", "onnx", Segment("constant", 50_000.0, warmup_s=5.0, measure_s=15.0)))
    seconds, usage = summarise(out, out / "summary.json")
    return {"seconds": seconds, "peak_gb": usage.ru_maxrss / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--events", type=int, default=RELAY_EVENTS, help="of the relay's backlog")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the paced producer, after the warm-up")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        measured = {
            "relays": [relay(out / f"relay-{number}", arguments.events) for number in range(arguments.repetitions)],
            "lateness_ms": lateness(out / "lateness", arguments.seconds),
            "summary_of_a_million": summary_of_a_million(out / "summary" / "1"),
        }
    write(arguments.results, "speed", measured)


if __name__ == "__main__":
    errors.main(main)
