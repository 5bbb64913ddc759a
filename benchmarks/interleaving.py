"""Does it narrow the intervals to interleave systems finely? All of a panel are up at once and only one is at work.

Slices: every system of the panel is started, warmed up and then paused by SIGSTOP, with its producer and consumer;
in each round each goes on for one slice, in random order, and the first part of a slice is left out. Whole runs: the
same panel by `execute`, one run after the other, in as many rounds as fit into the same time. Both share one warm
broker. Printed and kept (results/benchmark/interleaving-KIND.json): each pair's ratio with its interval, from the
blocked model that figures rank by. One system of the panel is there twice: between twins any difference is noise, but
an interval from slices knows nothing of what differs from one start of a system to the next. It is called by hand, with
the environment of the tests, which has what the harness and what the ranking need:
PYTHONPATH=workflow/scripts .venv/bin/python benchmarks/interleaving.py --kind backlog
"""

import argparse
import contextlib
import dataclasses
import itertools
import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
import pyarrow.parquet as pq
from places import RESULTS, latencies, places, write

from crayfish.harness import paced, probes, run, stages
from crayfish.harness.clients import Consumer, Producer
from crayfish.harness.loads import backlog
from crayfish.harness.parts import Processor, machine_lock
from crayfish.results import ranking
from crayfish.results.ranking import Value
from crayfish.spec import errors
from crayfish.spec.run_spec import RunSpec

PANEL: dict[str, dict[str, Any]] = {
    "kafka_streams": {"processor": "kafka_streams"},
    "kafka_streams twin": {"processor": "kafka_streams", "twin": 1},
    "ray": {"processor": "ray"},
    "flink": {"processor": "flink"},  # the last to start: after 50 s of a pause its JobManager gives up its TaskManager
}
WARMUP_S = 8.0  # of each system, before its first slice
WHOLE_S = 12.0  # that is measured of a whole run, after a warm-up of WHOLE_WARMUP_S
WHOLE_WARMUP_S = 4.0
# Of a backlog, events/s that a system hardly passes: so many are written for each second of slices. Those of all
# systems lie in memory together, so that the fastest, Ray, has no place in such a panel.
CAPACITY = {"flink": 40_000.0, "kafka_streams": 65_000.0}
Values = dict[str, list[Value]]


def shuffled(kind: str) -> list[str]:
    """The panel in a random order."""
    return random.sample(panel_of(kind), len(panel_of(kind)))


def panel_of(kind: str) -> list[str]:
    """The names of the systems that are compared under this kind of load."""
    return [name for name, system in PANEL.items() if kind != "backlog" or system["processor"] in CAPACITY]


def spec_of(system: str, kind: str, rate: float, warmup_s: float, measure_s: float) -> RunSpec:
    """A run of a system of the panel."""
    load = {"kind": kind, "rate": rate, "warmup_s": warmup_s, "measure_s": measure_s}
    return RunSpec.from_dict({"scorer": "onnx", **PANEL[system], "segments": [load]})


class Paused:
    """A run that works only within `at_work`."""

    def __init__(self, opened: run.Run):
        self.run = opened
        self.processor: Processor
        self.clients: tuple[Producer, Consumer]

    def signal(self, number: signal.Signals) -> None:
        """Send it to every process of the run."""
        for process in stages.tagged(self.run.tag):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Go on, and pause again."""
        self.signal(signal.SIGCONT)
        yield
        self.signal(signal.SIGSTOP)


def opened(stack: contextlib.ExitStack, spec: RunSpec, out: Path) -> Paused:
    """A run with nothing but its broker open."""
    return Paused(stack.enter_context(run.Run(spec, dataclasses.replace(places(spec, out), owner=os.getpid()))))


def sliced_paced(stack: contextlib.ExitStack, out: Path, asked: argparse.Namespace) -> dict[str, Values]:
    """p50 and p99 of every slice, ms."""
    panel = {}
    for system in panel_of(asked.kind):
        its = opened(stack, spec_of(system, "constant", asked.rate, WARMUP_S, asked.slice_s), out / system)
        its.processor, producer, consumer = paced.start(its.run)
        its.clients = producer, consumer
        paced.send_segment(its.run, its.run.spec.segments[0], *its.clients, system, steady=False)
        its.signal(signal.SIGSTOP)
        panel[system] = its
    load = dataclasses.replace(its.run.spec.segments[0], warmup_s=asked.settle_s)
    for _ in range(1 + asked.rounds):
        for system in shuffled(asked.kind):
            with panel[system].at_work():
                paced.send_segment(panel[system].run, load, *panel[system].clients, system, steady=False)
    found: dict[str, Values] = {"p50_ms": {}, "p99_ms": {}}
    for system, its in panel.items():
        its.signal(signal.SIGCONT)
        its.run.finish(its.processor, *its.clients)
        due, _, latency = latencies(its.run.folder)
        for number, segment in enumerate(its.run.segments[2:]):  # a first slice is for what a long pause broke
            within = (due >= segment["load_start_ns"]) & (due < segment["end_ns"])
            for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99)):
                value = Value(number, float(np.quantile(latency[within], share)), None, None)
                found[name].setdefault(system, []).append(value)
        its.run.close_parts()
    return found


def sliced_backlog(stack: contextlib.ExitStack, out: Path, asked: argparse.Namespace) -> dict[str, Values]:
    """events/s of every slice."""
    panel: dict[str, Paused] = {}
    slices: dict[str, list[tuple[int, int]]] = {system: [] for system in panel_of(asked.kind)}
    seconds = (1 + asked.rounds) * asked.slice_s + WARMUP_S
    for system in panel_of(asked.kind):
        rate = CAPACITY[PANEL[system]["processor"]]
        its = opened(stack, spec_of(system, "backlog", rate, 0.0, seconds), out / system)
        its.run.open_broker()
        producer = its.run.start_producer()
        probes.send(its.run.job, its.run.pool)
        producer.await_event("ready")
        backlog.await_backlog(its.run, producer, producer.begin(0)["events"])
        producer.end()
        panel[system] = its
    for its in panel.values():
        its.processor = its.run.start_processor()
        its.run.await_path(its.processor)
        time.sleep(WARMUP_S)
        its.signal(signal.SIGSTOP)
    for _ in range(1 + asked.rounds):
        for system in shuffled(asked.kind):
            with panel[system].at_work():
                start = time.monotonic_ns() + panel[system].run.anchor_ns
                time.sleep(asked.slice_s)
                end = time.monotonic_ns() + panel[system].run.anchor_ns
                slices[system].append((start + int(asked.settle_s * 1e9), end))
    found: Values = {}
    for system, its in panel.items():
        its.signal(signal.SIGCONT)
        its.run.finish(its.processor, None, None)
        appended = pq.read_table(its.run.folder / "consumer.parquet")["output_append_ms"].to_numpy()
        for number, (start, end) in enumerate(slices[system][1:]):
            count = int(((appended >= start / 1e6) & (appended < end / 1e6)).sum())
            found.setdefault(system, []).append(Value(number, 1e9 * count / (end - start), None, None))
        its.run.close_parts()
    return {"events_per_s": found}


def whole(out: Path, asked: argparse.Namespace, until: float) -> dict[str, Values]:
    """The same of whole runs, in rounds until this time."""
    names = ("events_per_s",) if asked.kind == "backlog" else ("p50_ms", "p99_ms")
    found: dict[str, Values] = {name: {} for name in names}
    for number in itertools.count():
        if number >= 3 and time.monotonic() >= until:
            break
        for system in shuffled(asked.kind):
            folder = out / f"{system}-{number}"
            rate = CAPACITY[PANEL[system]["processor"]] if asked.kind == "backlog" else asked.rate
            spec = spec_of(system, asked.kind, rate, WHOLE_WARMUP_S, WHOLE_S)
            run.execute(spec, dataclasses.replace(places(spec, folder), owner=os.getpid()))
            segment = json.loads((folder / "manifest.json").read_text())["segments"][0]
            if asked.kind == "backlog":
                appended = np.sort(pq.read_table(folder / "consumer.parquet")["output_append_ms"].to_numpy())
                kept = appended[int(len(appended) * WHOLE_WARMUP_S / (WHOLE_WARMUP_S + WHOLE_S)) :]
                values = {"events_per_s": 1000 * (len(kept) - 1) / float(kept[-1] - kept[0])}
            else:
                due, _, latency = latencies(folder)
                kept = latency[(due >= segment["load_start_ns"]) & (due < segment["end_ns"])]
                values = {"p50_ms": float(np.quantile(kept, 0.5)), "p99_ms": float(np.quantile(kept, 0.99))}
            for name, value in values.items():
                found[name].setdefault(system, []).append(Value(number, value, None, None))
    return found


def told(found: dict[str, Values], seconds: float) -> dict:
    """Each pair's ratio with its interval, by metric; and the values."""
    metrics = {}
    for name, values in found.items():
        panel = ranking.compared(values, {}, higher=name == "events_per_s", plain=False, place=())
        pairs = {f"{pair.first} / {pair.second}": [pair.ratio, pair.low, pair.high] for pair in panel.pairs}
        metrics[name] = {
            "values": {system: [each.value for each in its] for system, its in values.items()},
            "pairs": pairs,
        }
    return {"seconds": seconds, "metrics": metrics}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=["constant", "backlog"], default="constant")
    parser.add_argument("--rate", type=float, default=512.0, help="events/s of the paced load")
    parser.add_argument("--rounds", type=int, default=10, help="of slices")
    parser.add_argument("--slice-s", type=float, default=2.0, help="that is measured of a paced slice")
    parser.add_argument("--settle-s", type=float, default=1.0, help="that is left out at the start of each slice")
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    random.seed(1)
    measured = {}
    with tempfile.TemporaryDirectory() as scratch:
        out, began = Path(scratch), time.monotonic()
        with machine_lock() as held, contextlib.ExitStack() as stack:
            sliced = sliced_backlog if asked.kind == "backlog" else sliced_paced
            # One lock for all runs of the panel.
            with mock.patch.object(run, "machine_lock", lambda: contextlib.nullcontext(held)):
                measured["slices"] = told(sliced(stack, out / "slices", asked), time.monotonic() - began)
        seconds, began = time.monotonic() - began, time.monotonic()
        found = whole(out / "whole", asked, began + seconds)
        measured["whole"] = told(found, time.monotonic() - began)
    write(asked.results, f"interleaving-{asked.kind}", measured)
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    errors.main(main)
