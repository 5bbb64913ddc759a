"""What a call that submits jobs asks SLURM: which nodes there are, and which jobs of a folder have not ended."""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from crayfish.spec.errors import CrayfishError
from crayfish.spec.slurm import MIB

ASK_DEADLINE_S = 60.0
LOOK_EVERY_S = 20.0
ENDING_S = 30.0  # for a job's Snakemake to end by itself
NODE_FORMAT, JOB_FORMAT = "%N|%P|%c|%m|%l|%f|%t|%G", "%i|%T|%r|%k|%Z"
GPUS = re.compile(r"(?:(?<=,)|^)gpu[^,(]*")  # of what sinfo tells of generic resources: "gpu:h200:4(S:0-1),shard:8"
GONE = ("down", "drain", "drng", "fail", "maint", "unk", "boot", "inval", "futr")  # of a node that takes no job soon
# Why a job waits, where waiting does not help (squeue's words).
FOR_EVER = {
    "PartitionConfig": "no node of its partition has that many CPUs or that much memory",
    "PartitionNodeLimit": "its partition does not give as many nodes",
    "PartitionTimeLimit": "its partition does not give as much time",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition is inactive",
    "BadConstraints": "no node satisfies its constraint",
    "InvalidAccount": "its account is not known",
    "InvalidQOS": "its quality of service is not known",
    "AccountNotAllowed": "its account may not use the partition",
    "QOSNotAllowed": "its quality of service may not use the partition",
    "AssocMaxCpuPerJobLimit": "its account may not have as many CPUs in a job",
    "AssocMaxMemPerJob": "its account may not have as much memory in a job",
    "AssocMaxWallDurationPerJobLimit": "its account may not have as much time in a job",
    "QOSMaxCpuPerJobLimit": "its quality of service does not give as many CPUs to a job",
    "QOSMaxMemoryPerJob": "its quality of service does not give as much memory to a job",
    "QOSMaxWallDurationPerJobLimit": "its quality of service does not give as much time to a job",
    "JobHeldUser": "it is held (scontrol release)",
    "JobHeldAdmin": "an administrator holds it",
}
# How a job ended that did not complete.
ENDED = {
    "CANCELLED": "was cancelled",
    "TIMEOUT": "ran into its time limit",
    "NODE_FAIL": "lost its node",
    "OUT_OF_MEMORY": "ran out of memory",
    "PREEMPTED": "had to give way to another job",
    "BOOT_FAIL": "got a node that did not boot",
    "DEADLINE": "ran into its deadline",
    "FAILED": "failed",
}


@dataclass(frozen=True)
class Node:
    """A node in one of its partitions, as sinfo tells it."""

    name: str
    partition: str
    default: bool  # whether that partition is the one of jobs that name none
    cpus: int
    memory: int  # bytes that jobs can have
    minutes: float  # the longest job of the partition
    features: tuple[str, ...]
    there: bool
    gpus: str = ""  # of its generic resources those that are GPUs: "gpu:h200:4"


@dataclass(frozen=True)
class Job:
    """A job of this user, as squeue tells it."""

    number: str
    state: str
    reason: str  # why it waits
    comment: str
    folder: str


def _asked(form: str, *command: str) -> list[list[str]]:
    """The fields of each line that one of SLURM's commands answers in this format; CrayfishError if it does not."""
    try:
        done = subprocess.run([*command, f"--format={form}"], capture_output=True, text=True, timeout=ASK_DEADLINE_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CrayfishError(f"SLURM: {command[0]} does not answer ({error}): is this machine a login node?") from error
    if done.returncode:
        raise CrayfishError(f"SLURM: {command[0]} failed: {(done.stderr or done.stdout).strip()}")
    return [line.split("|", form.count("|")) for line in done.stdout.splitlines() if line.strip()]


def nodes() -> list[Node]:
    """Every node, once for each of its partitions."""
    return parsed(_asked(NODE_FORMAT, "sinfo", "--all", "--Node", "--noheader"))


def parsed(lines: Iterable[list[str]]) -> list[Node]:
    """The nodes of sinfo's lines."""
    return [
        Node(
            name,
            partition.rstrip("*"),
            partition.endswith("*"),
            int(cpus),
            int(memory.rstrip("+")) * MIB,
            minutes(limit),
            () if features == "(null)" else tuple(features.split(",")),
            not state.startswith(GONE),
            ",".join(GPUS.findall(resources)),
        )
        for name, partition, cpus, memory, limit, features, state, resources in lines
    ]


def minutes(limit: str) -> float:
    """SLURM's [days-][hours:]minutes:seconds in minutes."""
    if not limit[:1].isdigit():
        return float("inf")
    days, _, rest = limit.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    hours, whole, seconds = ([0, 0, 0] + (parts if len(parts) > 1 else [*parts, 0]))[-3:]
    return 1440 * int(days or 0) + 60 * hours + whole + seconds / 60


def eligible(found: list[Node], partition: str | None, constraint: str | None) -> list[Node]:
    """The nodes that a job of this partition (None: the default one) and with this constraint (a feature) may get.

    CrayfishError where there are none.
    """
    known = sorted({node.partition for node in found})
    if partition and partition not in known:
        raise CrayfishError(f"slurm.partition: {partition!r} is not known (sinfo offers: {', '.join(known)})")
    inside = [node for node in found if (node.partition == partition if partition else node.default)]
    if not inside:
        raise CrayfishError(
            f"slurm.partition: there is no default partition, name one (sinfo offers: {', '.join(known)})"
        )
    if constraint:
        features = sorted({feature for node in inside for feature in node.features})
        inside = [node for node in inside if constraint in node.features]
        if not inside:
            offered = ", ".join(features) or "none"
            raise CrayfishError(f"slurm.constraint: no node has the feature {constraint!r} (sinfo offers: {offered})")
    there = [node for node in inside if node.there]
    if not there:
        raise CrayfishError(
            f"slurm: no node can be used now: {told(inside)}. See `sinfo`, or name another slurm.partition"
        )
    return there


def with_gpus(found: list[Node]) -> list[Node]:
    """Those of some nodes that have a GPU; CrayfishError where none has."""
    having = [node for node in found if node.gpus]
    if not having:
        raise CrayfishError(
            f"slurm: run.device: 'cuda': no node that a run may get has a GPU ({told(found)}; GRES gpu of `sinfo"
            " --format=%G`): name another slurm.partition or slurm.constraint, or use run.device 'cpu'"
        )
    return having


def told(found: list[Node]) -> str:
    """Nodes in words, equal ones together."""
    kinds: dict[tuple, int] = {}
    for node in found:
        kind = (node.partition, node.cpus, node.memory, node.gpus, node.minutes)
        kinds[kind] = kinds.get(kind, 0) + 1
    return "; ".join(
        f"{partition}: {count} with {cpus} CPUs{f', {gpus}' if gpus else ''} and {memory / 1e9:.1f} GB"
        + ("" if limit == float("inf") else f", for {limit:g} minutes at most")
        for (partition, cpus, memory, gpus, limit), count in kinds.items()
    )


def refusals(offered: list[Node], wanted: Mapping[str, tuple[int, float, int]], together: int = 1) -> list[str]:
    """What of these runs (name -> bytes, minutes, nodes) SLURM cannot give nodes to, and what to do about it.

    together: how many of them a job executes at most, one after the other.
    """
    most, longest = max(node.memory for node in offered), max(node.minutes for node in offered)
    faults = []
    names = {node.name for node in offered}
    for name, (memory_bytes, needed, count) in wanted.items():
        if count > len(names):
            faults.append(
                f"{name} needs {count} nodes, and there are {len(names)} ({told(offered)}): change `placement`, or name"
                " another slurm.partition"
            )
        if memory_bytes > most:
            faults.append(
                f"{name} needs {memory_bytes / 1e9:.1f} GB, and no node has that ({told(offered)}): lower"
                " run.parallelism, or name another slurm.partition"
            )
        if needed > longest:
            faults.append(
                f"{name} needs {needed:.0f} minutes, and no job may take as long ({told(offered)}): shorten its load,"
                " or name another slurm.partition"
            )
    job = sum(sorted(needed for _, needed, _ in wanted.values())[-together:])
    if not faults and job > longest:
        faults.append(
            f"a job of {together} runs needs {job:.0f} minutes, and none may take as long ({told(offered)}): take fewer"
            " runs a job (group-components of the profile), or another slurm.partition"
        )
    return faults


def jobs() -> list[Job]:
    """The jobs of this user, and those that ended a few minutes ago (SLURM's MinJobAge)."""
    return [Job(*line) for line in _asked(JOB_FORMAT, "squeue", "--me", "--noheader", "--states=all")]


def end_with_parent() -> None:
    """Let this process, a job's Snakemake, not outlive the one that has started it by more than ENDING_S.

    SIGTERM makes Snakemake wait for itself for ever where it comes while its scheduler holds its lock (9.27.1:
    JobScheduler.exit_gracefully takes that within the handler), and a node that SLURM takes for lost gets no SIGKILL.
    """
    parent = os.pidfd_open(os.getppid())

    def watch() -> None:
        select.select([parent], [], [])
        time.sleep(ENDING_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def alive(found: Iterable[Job], folder: str) -> list[str]:
    """Why no job may be submitted from this folder: an earlier call's jobs would be measured a second time."""
    left = [job for job in found if job.folder == folder and job.state not in {"COMPLETED", *ENDED}]
    if not left:
        return []
    numbers = " ".join(job.number for job in left)
    listed = "".join(f"\n  {job.number} {job.state.lower()}: {job.comment}" for job in left)
    return [
        f"SLURM: jobs of an earlier call from this folder have not ended. Wait for them, or: scancel {numbers}{listed}"
    ]


def trouble(job: Job) -> str | None:
    """What a user should know of a job, if anything."""
    if job.state == "PENDING" and job.reason in FOR_EVER:
        return (
            f"SLURM: job {job.number} ({job.comment}) waits for ever: {FOR_EVER[job.reason]} ({job.reason}):"
            f" scancel {job.number}, and change what it asks for"
        )
    if job.state in ENDED:
        return (
            f"SLURM: job {job.number} ({job.comment}) {ENDED[job.state]} ({job.state}): the same command makes again"
            " what it has not finished"
        )
    return None


class Watch:
    """Tells of each job of a folder that waits for what will not happen, or was ended by SLURM, once."""

    def __init__(self, folder: str, tell: Callable[[str], object]):
        self._folder, self._tell, self._told = folder, tell, {job.number for job in jobs()}  # of earlier calls

    def look(self) -> None:
        """Tell what is new."""
        with contextlib.suppress(CrayfishError):  # a controller that is busy answers the next time
            for job in jobs():
                if job.folder == self._folder and job.number not in self._told and (line := trouble(job)):
                    self._told.add(job.number)
                    self._tell(line)

    def go_on(self) -> None:
        """Look as long as this process lives."""

        def look() -> None:
            while True:
                time.sleep(LOOK_EVERY_S)
                self.look()

        threading.Thread(target=look, daemon=True).start()
