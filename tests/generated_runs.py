"""Run folders with known figures, as execute_run writes them, for the tests of everything that comes after a run.

They are arithmetic, not measurements: latencies are drawn from a lognormal distribution of a given median.
"""

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crayfish.harness import pacing
from crayfish.spec import discovery
from crayfish.spec.run_spec import RunSpec, Segment

SUMMARISE = Path(__file__).resolve().parents[1] / "workflow/scripts/summarise_run.py"
START_NS = 1_790_000_000_000_000_000
MACHINE = {"cpu": "Example CPU @ 2.20GHz", "cores": 2, "memory_bytes": 24 * 2**30}
STAGES = {"broker": 20.0, "processor": 40.0, "producer": 30.0, "consumer": 10.0}  # CPU us an event
SERVER = {"server": 60.0}  # of an external scorer
EXTERNAL = [name for name in discovery.names("scorers") if discovery.scorer(name).external]


def spec_of(processor: str, scorer: str, *loads: Segment, **fields: object) -> dict:
    """A RunSpec as a manifest holds it, of systems that need not be there."""
    known = RunSpec(processor="flink", scorer="noop", segments=loads, **fields)
    return {**json.loads(known.to_json()), "processor": processor, "scorer": scorer}


def folder_of(root: Path, spec: dict, repetition: int) -> Path:
    """Where a run's files go, named as a run's are."""
    loads = "+".join(Segment(**load).label() for load in spec["segments"])
    named = ("model", "parallelism", "codec", "scoring", "parallelism_model", *(f for f in spec if "_batch_" in f))
    others = [f"{name}-{spec[name]}" for name in named]
    name = "_".join([f"{spec['processor']}-{spec['scorer']}", *others, spec.get("transport", "kafka"), loads])
    return root / name / str(repetition)


def appends(
    load: Segment, due: np.ndarray, median_ms: float, capacity: float, random: np.random.Generator
) -> np.ndarray:
    """When each event's prediction is appended, ns: of a backlog at the capacity; else after a lognormal latency, which
    of bursts follows a queue that is served at the capacity."""
    served = np.arange(1, len(due) + 1) * int(1e9 / capacity)
    if load.kind == "backlog":
        return due + served
    if load.kind == "bursty":
        due = served + np.maximum.accumulate(due - served)
    return due + (median_ms * 1e6 * random.lognormal(0, 0.5, len(due))).astype(np.int64)


def write_run(
    folder: Path,
    spec: dict,
    median_ms: float = 5.0,
    capacity: float = 10_000.0,
    late_ms: float = 0.1,
    lost: int = 0,
    twice: int = 0,
    warnings: tuple[str, ...] = (),
    substitutes: tuple[str, ...] = (),
    sustainable: float | None = None,
    cost: float = 1.0,
    speed: float = 1.0,
    seed: int = 1,
    answer: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> Path:
    """Write the files of one run and return its folder. `lost` last events of every segment are never answered, the
    first `twice` predictions of the run come again at its end, `sustainable` is what its search found, and every stage
    costs `cost` times as much as usual. `answer` says when predictions are appended, ns, from when their events are due
    and in which partition they lie, instead of `appends`."""
    random = np.random.default_rng(seed)
    tables, outputs, segments, start, sequence = [], [], [], START_NS, 0
    for number, load in enumerate(Segment(**load) for load in spec["segments"]):
        due = start + pacing.due_offsets(load, seed=seed)
        sequences = np.arange(sequence, sequence + len(due))
        partition = (sequences % spec["partitions"]).astype(np.int16)
        appended = answer(due, partition) if answer else appends(load, due, median_ms, capacity, random)
        last = int(appended.max())
        end = last if load.kind == "backlog" else start + int((load.warmup_s + load.measure_s) * 1e9)
        answered = slice(0, len(due) - lost)
        late = (late_ms * 1e6 * random.random(len(due))).astype(np.int64)
        tables.append(
            {
                "sequence": sequences,
                "segment": np.full(len(due), number, np.int16),
                "due_ns": due,
                "sent_ns": due + late,
                "input_append_ms": (due + late) // 1_000_000,
                "partition": partition,
            }
        )
        received = np.full(len(due), -1) if load.kind == "backlog" else appended + 300_000
        outputs.append({"sequence": sequences, "output_append_ms": appended // 1_000_000, "received_ns": received})
        outputs[-1] = {name: values[answered] for name, values in outputs[-1].items()}
        segments.append(
            {
                "load": vars(load),
                "start_ns": start,
                "load_start_ns": start + int(load.warmup_s * 1e9),
                "end_ns": end,
                "events": len(due),
                "points_per_event": load.batch_size,
            }
        )
        start, sequence = max(last, end) + 1_000_000_000, sequence + len(due)
    outputs.append({name: values[:twice] for name, values in outputs[0].items()})
    events = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    predictions = {name: np.concatenate([table[name] for table in outputs]) for name in outputs[0]}
    predictions["partition"] = (predictions["sequence"] % spec["partitions"]).astype(np.int16)
    predictions["correct"] = np.ones(len(predictions["sequence"]), bool)
    folder.mkdir(parents=True)
    pq.write_table(pa.table(events), folder / "producer.parquet")
    pq.write_table(pa.table(predictions), folder / "consumer.parquet")
    stages = {name: cost * usual for name, usual in stages_of(spec).items()}
    _write_samples(folder / "processor.json", events["due_ns"], predictions["output_append_ms"], start, stages, speed)
    manifest = {
        "spec": spec,
        "segments": segments,
        "search": {"sustainable_events_per_s": sustainable, "probes": []} if sustainable else None,
        "warnings": list(warnings),
        "substitutes": list(substitutes),
        "machine": MACHINE,
        "fixed_cost_s": 21.5,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def stages_of(spec: dict) -> dict[str, float]:
    """The stages of a run, CPU us an event: without Kafka the engine alone; an external scorer has a server."""
    if spec.get("transport") == "in_engine":
        return {"processor": STAGES["processor"]}
    return {**STAGES, **(SERVER if spec["scorer"] in EXTERNAL else {})}


def _write_samples(
    path: Path, due_ns: np.ndarray, output_append_ms: np.ndarray, end_ns: int, costs: dict[str, float], speed: float
) -> None:
    """CPU of every stage in proportion to the events answered so far, on a machine of this speed."""
    times = np.arange(due_ns[0] - 5_000_000_000, end_ns + 5_000_000_000, 500_000_000)
    answered = np.searchsorted(np.sort(output_append_ms) * 1_000_000, times)
    stages = {
        name: {
            "time_ns": times.tolist(),
            "cpu_s": (answered * cost / 1e6).tolist(),
            "pss_bytes": 512 * 2**20,
            "rss_bytes_peak": 600 * 2**20,
        }
        for name, cost in costs.items()
    }
    measured = {"time_ns": times.tolist(), "relative": [speed] * len(times)}
    path.write_text(json.dumps({"stages": stages, "machine": {**stages["processor"], "speed": measured}}))


def summarise(folder: Path, out: Path) -> tuple[float, int]:
    """Summarise a run folder as the rule does: the seconds it took, and its peak of memory that is no file's, bytes."""
    began, peak = time.monotonic(), 0
    with subprocess.Popen([sys.executable, SUMMARISE, "--run", folder, "--out", out]) as process:
        while process.poll() is None:
            with contextlib.suppress(OSError):  # it may end meanwhile
                told = re.search(r"^RssAnon:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
                peak = max(peak, int(told[1]) * 1024 if told else 0)
            time.sleep(0.005)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return time.monotonic() - began, peak
