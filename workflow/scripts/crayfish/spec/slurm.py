"""What SLURM has given this job on this node, by its variables. Where it also confines jobs, the affinity and control
groups tell the same; where it does not, a job that took more would take it from others.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

MIB = 1 << 20
# What of a job its run's manifest names.
NAMED = {
    "job": "SLURM_JOB_ID",
    "node": "SLURMD_NODENAME",
    "partition": "SLURM_JOB_PARTITION",
    "cpus": "SLURM_CPUS_ON_NODE",
}


def memory(variables: Mapping[str, str] = os.environ) -> int | None:
    """Bytes of the job's memory; None outside SLURM, or where it has the node's whole memory."""
    if node := _number(variables, "SLURM_MEM_PER_NODE"):
        return node * MIB
    each, cpus = _number(variables, "SLURM_MEM_PER_CPU"), _number(variables, "SLURM_CPUS_ON_NODE")
    return each * cpus * MIB if each and cpus else None


def cpus(variables: Mapping[str, str] = os.environ) -> int | None:
    """How many CPUs the job has; None outside SLURM."""
    return _number(variables, "SLURM_CPUS_ON_NODE")


def _number(variables: Mapping[str, str], name: str) -> int | None:
    """A variable's whole number above 0, else None."""
    text = variables.get(name, "")
    return int(text) or None if text.isdecimal() else None


def job(variables: Mapping[str, str] = os.environ) -> dict[str, str] | None:
    """What SLURM tells of this job, for the manifest; None outside SLURM."""
    found = {name: variables[variable] for name, variable in NAMED.items() if variable in variables}
    return found if "job" in found else None
