"""The GPUs of a machine, as the driver's own program nvidia-smi tells them, and the refusal where none will do.

A run scores on one GPU of each node that scores: the first of CUDA_VISIBLE_DEVICES, or of nvidia-smi where that is not
set. It uses no package: it serves everywhere.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from crayfish.spec import discovery
from crayfish.spec.errors import CrayfishError, NotMade
from crayfish.spec.run_spec import RunSpec

ASK_DEADLINE_S = 30.0
MIB, GIB = 2**20, 2**30
CONTEXT_BYTES = GIB  # of an instance, beside the model: the CUDA context, the libraries' kernels and work space
# What nvidia-smi is asked for: field of Gpu -> its name there.
ASKED = {
    "index": "index",
    "uuid": "uuid",
    "name": "name",
    "driver": "driver_version",
    "memory_bytes": "memory.total",
    "free_bytes": "memory.free",
}
LOOKS = """echo "${CUDA_VISIBLE_DEVICES-not set}"; echo $(ls -d /dev/nvidia[0-9]* 2>/dev/null); exec nvidia-smi "$@" """
NOT_FOUND = 127  # of a shell: no such program
HIDING = ("", "-1", "NoDevFiles")  # values of CUDA_VISIBLE_DEVICES that show none
DRIVERS = {12: (525, 60, 13), 13: (580, 65, 6)}  # CUDA's major version -> the oldest driver that it runs with
RUNTIMES = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12")  # the packages that tell an environment's CUDA


@dataclass(frozen=True)
class Gpu:
    """One GPU. Numbers that the driver does not tell, as in a part of a GPU (MIG), are None."""

    index: str
    uuid: str
    name: str
    driver: str
    memory_bytes: int | None
    free_bytes: int | None
    visible: str = ""  # by which CUDA_VISIBLE_DEVICES names it to the run's processes

    @property
    def variables(self) -> dict[str, str]:
        """What the processes that score are told: this GPU alone, by nvidia-smi's order, and no TF32, whose 10 bits
        would not answer as torch does on the CPU."""
        shown = {"CUDA_VISIBLE_DEVICES": self.visible, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        return {**shown, "NVIDIA_TF32_OVERRIDE": "0"}


@dataclass(frozen=True)
class Asked:
    """What a look for GPUs has found."""

    gpus: tuple[Gpu, ...]
    visible: str  # CUDA_VISIBLE_DEVICES, or "not set"
    devices: str  # /dev/nvidia0 ...
    problem: str = ""  # of nvidia-smi


def number(text: str) -> float | None:
    """A number of nvidia-smi's; None for "[N/A]" and the like."""
    try:
        return float(text)
    except ValueError:
        return None


def query(names: Iterable[str], *options: str) -> list[str]:
    """The options by which nvidia-smi tells these of every GPU, one a line."""
    return [f"--query-gpu={','.join(names)}", "--format=csv,noheader,nounits", *options]


def ask(command: Callable[[list[str]], list[str]] = list) -> Asked:
    """Look for GPUs. command: what starts some words on another node."""
    words = command(["sh", "-c", LOOKS, "nvidia-smi", *query(ASKED.values())])
    try:
        done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=ASK_DEADLINE_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Asked((), "not known", "", f"does not answer ({error})")
    return told(done.returncode, done.stdout, done.stderr)


def told(status: int, output: str, errors: str) -> Asked:
    """What the look has found, by its exit status and what it printed."""
    visible, devices, *lines = [*output.splitlines(), "", ""]
    if status == NOT_FOUND:
        return Asked((), visible, devices, "is not on PATH")
    if status:
        said = [line.strip() for line in (*lines, *errors.splitlines()) if line.strip()]
        return Asked((), visible, devices, f"failed: {' '.join(said[:2]) or f'exit status {status}'}")
    return Asked(tuple(parsed(line) for line in lines if line.count(",") == len(ASKED) - 1), visible, devices)


def parsed(line: str) -> Gpu:
    """The GPU of one of nvidia-smi's lines."""
    index, uuid, name, driver, memory, free = (text.strip() for text in line.split(","))
    return Gpu(index, uuid, name, driver, _bytes(memory), _bytes(free), visible=index)


def _bytes(text: str) -> int | None:
    mib = number(text)
    return None if mib is None else int(mib) * MIB


def chosen(asked: Asked) -> Gpu | None:
    """The GPU that the processes of a run will use: the first that CUDA_VISIBLE_DEVICES shows; None if none."""
    if asked.visible == "not set":
        return asked.gpus[0] if asked.gpus else None
    first = asked.visible.split(",")[0].strip()
    if first in HIDING:
        return None
    if first.startswith("MIG-"):  # a part of one of them, whose memory nvidia-smi tells elsewhere
        parts = [replace(gpu, memory_bytes=None, free_bytes=None, visible=first) for gpu in asked.gpus]
        return parts[0] if parts else None
    return next((gpu for gpu in asked.gpus if first == gpu.index or gpu.uuid.startswith(first)), None)


def required(asked: Asked, where: str = "here") -> Gpu:
    """The same; NotMade where there is none, with what was looked for."""
    if gpu := chosen(asked):
        return gpu
    seen = asked.problem or f"lists {', '.join(f'{each.index} ({each.name})' for each in asked.gpus) or 'none'}"
    raise NotMade(
        f"run.device: 'cuda': no GPU was found {where}. Looked for: nvidia-smi, the program of NVIDIA's driver, which"
        f" {seen}; /dev/nvidia0 and further ones: {asked.devices or 'none'}; CUDA_VISIBLE_DEVICES: {asked.visible}. Use"
        " a machine with a GPU of NVIDIA's and its driver (SLURM: a partition that has some), or run.device 'cpu'"
    )


def require_memory(gpu: Gpu, spec: RunSpec, instances: int) -> None:
    """CrayfishError unless so many instances of the run's model fit into what is free."""
    need = instances * (discovery.model(spec.model).memory + CONTEXT_BYTES)
    if gpu.free_bytes is not None and gpu.free_bytes < need:
        raise CrayfishError(
            f"run.device: 'cuda': {instances} instances of {spec.model} need about {need / 1e9:.1f} GB of GPU memory"
            f" ({CONTEXT_BYTES / 1e9:.1f} of each for CUDA and its libraries), {gpu.free_bytes / 1e9:.1f} GB of"
            f" {gpu.name} are free: stop what else uses it (nvidia-smi), or lower run.parallelism"
        )


def require_driver(gpu: Gpu, environment: Mapping) -> None:
    """NotMade where the driver is older than the CUDA of the environment that scores asks for.

    environment: its packages.json.
    """
    packages = environment["packages"]
    majors = [int(packages[name].partition(".")[0]) for name in RUNTIMES if name in packages]
    parts = [int(part) for part in gpu.driver.split(".") if part.isdecimal()]
    for major in majors:
        if parts and major in DRIVERS and tuple(parts) < DRIVERS[major]:
            oldest = ".".join(f"{part:02}" for part in DRIVERS[major])
            raise NotMade(
                f"run.device: 'cuda': the driver {gpu.driver} of {gpu.name} is older than {oldest}, which CUDA {major}"
                f" of the environment {environment['environment']} asks for: update it, or use run.device 'cpu'"
            )


def missing_here(specs: Iterable[RunSpec]) -> list[str]:
    """Why some of these runs find no GPU on this machine; empty where they do."""
    if all(spec.device == "cpu" for spec in specs):
        return []
    try:
        required(ask())
    except NotMade as error:
        return [str(error)]
    return []
