"""The GPUs that a run scores on: they are asked before anything starts, and sampled while it runs.

One nvidia-smi for each node that scores tells about its GPU once a second, for as long as the run takes: to start it
each time would cost more than all that it tells.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

from crayfish.engine import child
from crayfish.harness import stages
from crayfish.harness.nodes import Node
from crayfish.spec import gpus

if TYPE_CHECKING:
    from crayfish.harness.run import Run

SAMPLE_MS = 1000
END_DEADLINE_S = 5.0
# What is sampled -> its name for nvidia-smi, and what its number is multiplied by.
SAMPLED = {
    "utilisation": ("utilization.gpu", 0.01),
    "memory_bytes": ("memory.used", float(gpus.MIB)),
    "clock_mhz": ("clocks.sm", 1.0),
    "memory_clock_mhz": ("clocks.mem", 1.0),
    "watts": ("power.draw", 1.0),
}


class Sampler(threading.Thread):
    """Samples one GPU from start() to finish()."""

    def __init__(self, gpu: gpus.Gpu, node: Node | None, run: Run):
        super().__init__(daemon=True)
        self.gpu, self.node, self._anchor_ns = gpu, node, run.anchor_ns
        options = query(gpu)
        own = {child.TAG: run.tag, stages.STAGE: stages.HARNESS}
        self._process = child.start(
            node.command(["nvidia-smi", *options]) if node else ["nvidia-smi", *options],
            env={**os.environ, **own},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.series: dict[str, list] = {"time_ns": [], **{name: [] for name in SAMPLED}}

    def run(self) -> None:
        assert self._process.stdout is not None  # it is a pipe
        for line in self._process.stdout:
            note(self.series, line, time.monotonic_ns() + self._anchor_ns)

    def finish(self) -> bool:
        """Stop; whether it had gone on until now."""
        alive = self._process.poll() is None
        child.stop([self._process], END_DEADLINE_S)
        self.join(END_DEADLINE_S)
        return alive


def query(gpu: gpus.Gpu) -> list[str]:
    """The options of the nvidia-smi that samples a GPU."""
    names = (name for name, _ in SAMPLED.values())
    return gpus.query(names, f"--id={gpu.index}", f"--loop-ms={SAMPLE_MS}")


def note(series: dict[str, list], line: str, now_ns: int) -> None:
    """Add one of nvidia-smi's lines to the series."""
    texts = line.split(",")
    if len(texts) != len(SAMPLED):
        return
    series["time_ns"].append(now_ns)
    for (name, (_, factor)), text in zip(SAMPLED.items(), texts, strict=True):
        value = gpus.number(text)
        series[name].append(None if value is None else round(value * factor, 4))


class Gpus:
    """The GPUs of a run, one a node that scores; none of one that scores on CPUs. A part of a run: entering it refuses
    what cannot be, and samples from then on.

    Of a processor or server that is there already (`cluster`) nothing can be asked: its owner gives it its GPU.
    """

    def __init__(self, run: Run):
        self._run = run
        self._samplers: list[Sampler] = []
        self.about: list[dict] = []  # of each what the manifest tells
        self.samples: list[dict] = []

    def __enter__(self) -> Gpus:
        spec, part = self._run.spec, self._run.spec.scoring_part
        if spec.device == "cpu" or part in self._run.places.existing:
            return self
        nodes = self._run.nodes_of(part)
        found = [(node, self._required(node, math.ceil(spec.parallelism / len(nodes)))) for node in nodes]
        for node, gpu in found:
            self._samplers.append(Sampler(gpu, node, self._run))
            self._samplers[-1].start()
        return self

    def _required(self, node: Node | None, instances: int) -> gpus.Gpu:
        """The GPU of a node; NotMade or CrayfishError where there is none that will do."""
        spec = self._run.spec
        where = f"on node {node.number} ({node.address})" if node else "here"
        gpu = gpus.required(gpus.ask(node.command if node else list), where)
        name = spec.environments[spec.scoring_part]
        for about in (json.loads(path.read_text()) for path in self._run.places.packages):
            if about["environment"] == name:
                gpus.require_driver(gpu, about)
        gpus.require_memory(gpu, spec, instances)
        return gpu

    def variables(self, node: Node | None) -> dict[str, str]:
        """The environment variables of processes that score on a node."""
        return next((each.gpu.variables for each in self._samplers if each.node == node), {})

    def check(self) -> None:
        """A GPU that is lost shows in what scores on it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self._samplers:
            if not each.finish():
                self._run.warnings.append("nvidia-smi ended before the run: its samples of the GPU are not whole")
            self.samples.append(each.series)
            self.about.append(
                {
                    "node": each.node.number if each.node else 0,
                    "name": each.gpu.name,
                    "uuid": each.gpu.uuid,
                    "driver": each.gpu.driver,
                    "memory_bytes": each.gpu.memory_bytes,
                    "free_bytes": each.gpu.free_bytes,
                    "variables": each.gpu.variables,
                    "start": {name: values[0] for name, values in each.series.items() if values},
                    "end": {name: values[-1] for name, values in each.series.items() if values},
                }
            )
