"""A real SLURM on this machine: a controller, and two nodes that are network namespaces with addresses of their own.

A node so has a loopback, and a machine's lock, that no other has. It needs root, Debian's slurm-wlm and munge, and an
/etc/slurm/slurm.conf that nobody else has: the plugin that executes a job takes the variable that names another away.
"""

import os
import shutil
import signal
import socket
from pathlib import Path

import namespaces
from namespaces import said

from crayfish.spec.waiting import wait_until

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "sinfo", "ip", "nsenter")
CONFIGURATION = Path("/etc/slurm/slurm.conf")
DEADLINE_S, JOBS_DEADLINE_S = 60.0, 300.0
NODES = ("n1", "n2")
BRIDGE, NET = "crayfish0", "10.77.0"
SETTINGS = """
ClusterName=crayfish
SlurmctldHost={host}({net}.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/munge.socket
CryptoType=crypto/munge
SlurmctldPort=16817
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
ReturnToService=2
MpiDefault=none
SwitchType=switch/none
KillWait=5
MinJobAge=300
NodeName=n1 NodeHostname={host} NodeAddr={net}.11 Port=16818 CPUs={cpus} RealMemory=12000 Features=fast State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr={net}.12 Port=16819 CPUs={cpus} RealMemory=12000 Features=slow State=UNKNOWN
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes=n1,n2 MaxTime=1 State=UP
"""


def missing() -> str:
    """Why no SLURM can be started here; empty if one can."""
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    if os.getuid() != 0:
        return "a SLURM of one's own needs root"
    if absent:
        return f"not installed: {', '.join(absent)} (apt-get install slurm-wlm munge iproute2)"
    if CONFIGURATION.exists() or CONFIGURATION.is_symlink():
        return f"{CONFIGURATION} is there already"
    return ""


class Cluster:
    """Runs from start to stop."""

    def __init__(self, folder: Path):
        self._folder = folder

    def start(self) -> None:
        for name in ("state", "munge", *(f"spool.{node}" for node in NODES)):
            (self._folder / name).mkdir()
        (self._folder / "munge").chmod(0o755)
        namespaces.make(BRIDGE, NET, NODES)
        settings = SETTINGS.format(host=socket.gethostname(), folder=self._folder, net=NET, cpus=os.cpu_count())
        CONFIGURATION.write_text(settings)
        munge = self._folder / "munge"
        (munge / "key").write_bytes(os.urandom(1024))
        (munge / "key").chmod(0o400)
        files = [f"--{name}-file={munge / f'munge.{name}'}" for name in ("pid", "log", "seed")]
        said("munged", "--force", f"--key-file={munge / 'key'}", f"--socket={munge / 'munge.socket'}", *files)
        said("slurmctld", "-c")
        for node in NODES:
            # Not by `ip netns exec`, which mounts a /sys without control groups.
            said("nsenter", f"--net=/run/netns/{BRIDGE}{node}", "slurmd", "-N", node)
        wait_until(self._idle, DEADLINE_S, lambda: AssertionError(f"SLURM did not start: {self._log()}"))

    def _idle(self) -> bool:
        return set(said("sinfo", "--noheader", "--format=%t").split()) == {"idle"}

    def idle(self) -> None:
        """Wait until no node has a job."""
        wait_until(self._idle, JOBS_DEADLINE_S, lambda: AssertionError(f"nodes did not become idle: {said('squeue')}"))

    def _log(self) -> str:
        return "".join(log.read_text()[-1000:] for log in self._folder.glob("*.log"))

    def stop(self) -> None:
        for name in ("slurmd.n1.pid", "slurmd.n2.pid", "slurmctld.pid", "munge/munge.pid"):
            if (file := self._folder / name).exists():
                pid = int(file.read_text())
                os.kill(pid, signal.SIGTERM)
                wait_until(lambda file=file: not file.exists(), DEADLINE_S)
        CONFIGURATION.unlink(missing_ok=True)
        namespaces.remove(BRIDGE, NODES)
