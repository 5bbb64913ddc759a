"""The nodes of a run that is spread over several, and how a program is started there."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from crayfish.engine.child import ADDRESS, SCRIPTS
from crayfish.spec.errors import CrayfishError, NotMade

ASK_DEADLINE_S = 30.0
NODE_ADDRESS = re.compile(r"\bNodeAddr=(\S+)")


@dataclass(frozen=True)
class Node:
    """One node: its number in the allocation, an address by which the others reach it, and what starts a program
    there (nothing: it is this machine)."""

    number: int
    address: str
    starter: tuple[str, ...] = ()

    def command(self, words: list[str]) -> list[str]:
        """The command that executes these words there."""
        return [*self.starter, *words]


def allocated(count: int, given: list[dict], variables: Mapping[str, str] = os.environ) -> tuple[Node, ...]:
    """The first nodes of a run that takes so many: those of the config, or else of SLURM's job.

    given: `nodes` of the config. Raises NotMade where there are fewer, or what is wrong with one.
    """
    if given:
        found = [Node(number, each["address"], _starter(each)) for number, each in enumerate(given)]
    elif "SLURM_JOB_ID" in variables:
        found = _of_slurm(variables)
    else:
        raise NotMade(
            f"run.placement: the run takes {count} nodes: name them under `nodes` of the config, or use --profile slurm"
        )
    if len(found) < count:
        raise NotMade(f"run.placement: the run takes {count} nodes, and there are {len(found)}")
    return tuple(found[:count])


def free_ports(node: Node, count: int) -> list[int]:
    """Ports of a node's address that are free there now; CrayfishError where the node does not answer."""
    program = f"from crayfish.engine import child; print(*child.free_ports({count}))"
    words = ["env", f"PYTHONPATH={SCRIPTS}", f"{ADDRESS}={node.address}", sys.executable, "-c", program]
    return [int(port) for port in _said(*node.command(words)).split()]


def _starter(given: dict) -> tuple[str, ...]:
    space = given.get("namespace")
    return ("nsenter", f"--net=/run/netns/{space}") if space else ()


def _of_slurm(variables: Mapping[str, str]) -> list[Node]:
    """Those of this job: the first one is that on which it runs."""
    job = variables["SLURM_JOB_ID"]
    # Not by its variable, which in a step of one task tells that one's node alone.
    listed = _said("squeue", "--noheader", f"--jobs={job}", "--format=%N").strip()
    names = _said("scontrol", "show", "hostnames", listed).split()
    here = variables.get("SLURMD_NODENAME", names[0])
    found = []
    for number, name in enumerate(sorted(names, key=lambda name: name != here)):
        told = NODE_ADDRESS.search(_said("scontrol", "show", "node", "--oneliner", name))
        try:
            address = socket.getaddrinfo(told[1] if told else name, None, type=socket.SOCK_STREAM)[0][4][0]
        except OSError as error:
            raise CrayfishError(f"SLURM: the node {name} has no address that can be found: {error}") from error
        step: tuple[str, ...] = ("srun", f"--jobid={job}", "--overlap", "--nodes=1", "--ntasks=1", f"--nodelist={name}")
        step += (f"--cpus-per-task={variables.get('SLURM_CPUS_ON_NODE', 1)}", "--cpu-bind=none", "--unbuffered")
        found.append(Node(number, str(address), (*step, "--quit-on-interrupt")))
    return found


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_DEADLINE_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CrayfishError(f"{command[0]} does not answer: {error}") from error
    if done.returncode:
        raise CrayfishError(f"{' '.join(command)} failed: {done.stderr.strip()}")
    return done.stdout
