"""How fast the parts of the measuring system are, beside what config/benchmark.yaml measures.

`make benchmark` makes the tables first and calls this after them, on the same machine with nothing else running. It
measures runs of the processor `relay`, which adds nothing of its own: a backlog (the ratio's denominator), and loads of
2 048 and of 20 000 events/s, of which it tells what the measuring system takes and how late it is; and the summary of a
run of 1 000 000 events. It writes results/benchmark/speed.json, of which benchmarks/report.py makes tables.
"""

import argparse
import dataclasses
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from places import RESULTS, latencies, places, write

from crayfish.harness.run import execute
from crayfish.spec import errors, metrics
from crayfish.spec.run_spec import RunSpec, Segment

RELAY_EVENTS = 600_000
REPETITIONS = 3
WARMUP_S = 10.0
RATES = {2048.0: 20.0, 20_000.0: 60.0}  # events/s -> how long it is measured, s
STAGES = {"generator": "producer", "sink": "consumer", "broker": "broker", "relay": "processor"}


def spec_of(kind: str, rate: float, seconds: float, warmup_s: float = 0.0) -> RunSpec:
    """A run of the relay."""
    load = {"kind": kind, "rate": rate, "warmup_s": warmup_s, "measure_s": seconds}
    return RunSpec.from_dict({"processor": "relay", "scorer": "noop", "segments": [load]})


def cpu_s(samples: dict, stage: str, start_ns: int, end_ns: int) -> float:
    """The CPU time of a stage between two times; 0 where it was not there."""
    if stage not in samples["stages"]:
        return 0.0
    edges = np.interp([start_ns, end_ns], samples["machine"]["time_ns"], samples["stages"][stage]["cpu_s"])
    return float(edges[1] - edges[0])


def relay(out: Path, events: int) -> dict:
    """events/s and CPU us an event of the relay over a backlog, of its last three quarters."""
    spec = spec_of("backlog", events, 1.0)
    execute(spec, places(spec, out))
    appended = np.sort(pq.read_table(out / "consumer.parquet")["output_append_ms"].to_numpy())[events // 4 :]
    samples = json.loads((out / "processor.json").read_text())
    seconds = float(appended[-1] - appended[0]) / 1000
    cpu = cpu_s(samples, "processor", *(int(each) * 1_000_000 for each in appended[[0, -1]]))
    return {"events_per_s": (len(appended) - 1) / seconds, "cpu_us_per_event": 1e6 * cpu / (len(appended) - 1)}


def paced(out: Path, rate: float, seconds: float, warmup_s: float) -> dict:
    """What the measuring system takes (cores), and how late it is (ms), at a rate with the relay as the processor."""
    spec = spec_of("constant", rate, seconds, warmup_s)
    execute(spec, dataclasses.replace(places(spec, out), owner=os.getpid()))  # with a broker that is warm
    manifest, samples = (json.loads((out / name).read_text()) for name in ("manifest.json", "processor.json"))
    (segment,) = manifest["segments"]
    start_ns, end_ns = segment["load_start_ns"], segment["end_ns"]
    due, to_append, to_receipt = latencies(out)
    measured = (due >= start_ns) & (due < end_ns)
    late = {"due_to_append_ms": to_append[measured], "received_minus_due_ms": to_receipt[measured]}
    return {
        "rate": rate,
        "seconds": (end_ns - start_ns) / 1e9,
        "warmup_s": (start_ns - segment["start_ns"]) / 1e9,
        "cores": {
            name: cpu_s(samples, stage, start_ns, end_ns) / ((end_ns - start_ns) / 1e9)
            for name, stage in STAGES.items()
        },
        **{
            name: {
                **{
                    each: metrics.percentile(np.sort(values), per_mille)
                    for each, per_mille in metrics.PER_MILLE.items()
                },
                "most": float(values.max()),
            }
            for name, values in late.items()
        },
        "warnings": manifest["warnings"],
    }


def summary_of_a_million(out: Path) -> dict:
    """Seconds and GB (peak) to summarise a run of 1 000 000 events, generated as execute_run writes it."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from generated_runs import spec_of as written_spec
    from generated_runs import summarise, write_run

    write_run(out, written_spec("flink", "onnx", Segment("constant", 50_000.0, warmup_s=5.0, measure_s=15.0)))
    seconds, peak = summarise(out, out / "summary.json")
    return {"seconds": seconds, "peak_gb": peak / 1e9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--events", type=int, default=RELAY_EVENTS, help="of the relay's backlog")
    parser.add_argument("--seconds", type=float, help="of each paced load, instead of its own")
    parser.add_argument("--warmup", type=float, default=WARMUP_S, help="seconds before each paced load")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        measured = {
            "relays": [relay(out / f"relay-{number}", arguments.events) for number in range(arguments.repetitions)],
            "paced": [
                paced(out / f"paced-{rate:g}", rate, arguments.seconds or seconds, arguments.warmup)
                for rate, seconds in RATES.items()
            ],
            "summary_of_a_million": summary_of_a_million(out / "summary" / "1"),
        }
    write(arguments.results, "speed", measured)


if __name__ == "__main__":
    errors.main(main)
