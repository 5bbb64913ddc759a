"""The Flink cluster that a job runs on: a standalone one of the run's own, or one that is there already."""

from __future__ import annotations

import json
import math
import os
import signal
import site
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from crayfish.engine import child, jvm, kafka, turns
from crayfish.engine.child import HOST, SCRIPTS
from crayfish.processors.flink import execution
from crayfish.processors.flink.job import build, bundle_size, gathered_events, record_clients
from crayfish.spec.errors import CrayfishError, NotMade
from crayfish.spec.waiting import wait_until

if TYPE_CHECKING:
    from crayfish.spec.run_spec import Job, RunSpec

BUNDLE_MS, ASYNCHRONOUS_BUNDLE_MS = 2, 5  # at the end of a bundle no request is in flight
NETWORK_MEMORY = {"data": "64m", "task": "256m"}  # task: buffers for P x N channels, twice
REST_DEADLINE_S = 20.0
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
FAILURE_DEADLINE_S = 5.0
STOP_DEADLINE_S = 4.0
JVM_OPTIONS = ["-XX:-UsePerfData", "-XX:+IgnoreUnrecognizedVMOptions"]
JOBMANAGER_OPTIONS = ["-XX:TieredStopAtLevel=1", "-Xmx512m", "-XX:+UseSerialGC"]
TASKMANAGER_OPTIONS = ["-Xms768m", "-Xmx768m", "-XX:MaxDirectMemorySize=384m", "-XX:+UseParallelGC"]
LOGGING = """\
rootLogger.level = WARN
rootLogger.appenderRef.console.ref = console
logger.metrics.name = org.apache.flink.metrics
logger.metrics.level = ERROR
logger.tokens.name = org.apache.flink.runtime.security.token
logger.tokens.level = ERROR
logger.beam.name = org.apache.beam
logger.beam.level = ERROR
appender.console.name = console
appender.console.type = Console
appender.console.target = SYSTEM_OUT
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss.SSS} %-5p %c{1} %m%n
"""


def slots(spec: RunSpec) -> tuple[int, int]:
    """How many TaskManagers, and how many slots each has."""
    return (1, spec.partitions) if spec.parallelism_model == "task" else (spec.parallelism, 1)


def _settings(job: Job, scratch: Path) -> dict[str, object]:
    """The cluster's configuration: all of it on the loopback and in the run's folder, and no second try for a job."""
    checkpoints = (job.seen if job.members > 1 else Path(job.workdir)) / "checkpoints" / job.group
    _, slots_each = slots(job.spec)
    found = sorted(checkpoints.glob("*/chk-*/_metadata"), key=lambda file: file.stat().st_mtime)
    return {
        **({"execution.state-recovery.path": found[-1].parent.as_uri()} if found else {}),
        "execution.checkpointing.dir": checkpoints.as_uri(),
        "execution.checkpointing.storage": "filesystem",
        "execution.checkpointing.interval": f"{job.spec.commit_interval_ms} ms",
        "execution.checkpointing.mode": job.spec.delivery.upper(),
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.buffer-timeout.interval": "0 ms",
        "pipeline.object-reuse": "true",
        "restart-strategy.type": "none",
        "python.execution-mode": execution(job.spec),
        "python.executable": sys.executable,
        "python.client.executable": sys.executable,
        "python.pythonpath": ":".join([str(SCRIPTS), *site.getsitepackages()]),
        "python.fn-execution.bundle.time": ASYNCHRONOUS_BUNDLE_MS if job.spec.async_calls else BUNDLE_MS,
        "python.fn-execution.bundle.size": bundle_size(job),
        "python.fn-execution.arrow.batch.size": gathered_events(job),
        "jobmanager.rpc.address": job.head.rpartition(":")[0] if job.head else HOST,
        "jobmanager.bind-host": HOST,
        "rest.bind-address": HOST,
        "web.submit.enable": "false",
        "web.refresh-interval": 50,  # ms; what the JobManager says of tasks and failures may be this old
        "metrics.fetcher.update-interval": 0,
        "io.tmp.dirs": scratch,
        "cluster.registration.initial-timeout": "50 ms",
        "taskmanager.host": HOST,
        "taskmanager.bind-host": HOST,
        "taskmanager.numberOfTaskSlots": slots_each,
        "taskmanager.cpu.cores": slots_each,
        "taskmanager.memory.framework.heap.size": "128m",
        "taskmanager.memory.task.heap.size": "640m",
        "taskmanager.memory.framework.off-heap.size": "128m",
        "taskmanager.memory.task.off-heap.size": "192m",
        "taskmanager.memory.network.min": NETWORK_MEMORY[job.spec.parallelism_model],
        "taskmanager.memory.network.max": NETWORK_MEMORY[job.spec.parallelism_model],
        "taskmanager.memory.managed.size": f"{64 * slots_each}m",
        "taskmanager.memory.jvm-metaspace.size": "256m",
        "taskmanager.memory.jvm-overhead.min": "192m",
        "taskmanager.memory.jvm-overhead.max": "192m",
    }


def ask(address: str, path: str, method: str = "GET") -> dict:
    """Ask the JobManager at this address, by no proxy; CrayfishError if it does not answer."""
    request = urllib.request.Request(f"http://{address}{path}", method=method)
    try:
        with DIRECT.open(request, timeout=REST_DEADLINE_S) as answer:
            return json.load(answer)
    except OSError as error:
        raise CrayfishError(f"flink: the JobManager does not answer {method} {request.full_url}: {error}") from error


class Cluster:
    """The JobManager in PyFlink's client JVM, N TaskManagers in JVMs of their own, and one job on them.

    Or that job on a cluster that is there already, whose machines see the same files at the same paths.
    """

    def __init__(self, job: Job):
        self.job = job
        self.folder = Path(tempfile.mkdtemp(dir=job.workdir, prefix="flink-"))
        self.conf, self.lib, self.scratch = (self.folder / name for name in ("conf", "lib", "tmp"))
        self.rpc_port, self.rest_port = child.free_ports(2)
        if job.head:
            self.rpc_port = int(job.head.rpartition(":")[2])
        self.host = HOST
        if job.processor_address:
            self.host, _, port = job.processor_address.rpartition(":")
            self.rest_port = int(port)
        self.workers: list[subprocess.Popen] = []
        self.gateway_pid: int | None = None

    def __enter__(self) -> Cluster:
        if self.job.processor_address:
            turns.await_turn(self.job, self._jobs)
            self._check_slots()
            self._check_python()
        from pyflink.java_gateway import get_gateway

        options, opens = self._prepare()
        java_home = jvm.home_of(self.job)
        self._prepare_gateway(java_home, options)
        kafka.record(self.job, "JobManager JVM", [*options, *JOBMANAGER_OPTIONS, *opens])
        if not self.job.processor_address:
            self._start_workers(java_home, [*options, *TASKMANAGER_OPTIONS, *opens])
        self.jvm = get_gateway().jvm
        self.gateway_pid = self.jvm.java.lang.ProcessHandle.current().pid()
        load = self.jvm.org.apache.flink.configuration.GlobalConfiguration.loadConfiguration
        self.configuration = load(str(self.conf))
        if not self.job.processor_address:
            entry = self.jvm.org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint(self.configuration)
            entry.startCluster()
        return self

    def _prepare(self) -> tuple[list[str], list[str]]:
        """Write the folders; the options of all JVMs, and those that Flink asks for beside."""
        from pyflink.find_flink_home import _find_flink_home
        from pyflink.pyflink_gateway_server import read_from_config

        home = Path(_find_flink_home())
        opens = read_from_config("env.java.opts.all", "", str(home / "conf"))
        self._write(home, opens)
        return [*JVM_OPTIONS, f"-Djava.io.tmpdir={self.scratch}"], opens.split()

    def join(self) -> None:
        """Start this node's share of the TaskManagers alone, of a cluster whose JobManager is on another one."""
        options, opens = self._prepare()
        self._start_workers(jvm.home_of(self.job), [*options, *TASKMANAGER_OPTIONS, *opens])

    def _jobs(self) -> list[str]:
        """The names of the jobs that have not ended, from the oldest on."""
        listed = sorted(self.ask("/jobs/overview")["jobs"], key=lambda each: (each["start-time"], each["jid"]))
        return [each["name"] for each in listed if each["end-time"] < 0]

    def _check_slots(self) -> None:
        """CrayfishError unless the Flink that is there already answers and has as many slots free as the job takes."""
        free, needed = self.ask("/overview")["slots-available"], math.prod(slots(self.job.spec))
        if free < needed:
            raise CrayfishError(
                f"flink: {self.host}:{self.rest_port} has {free} free slots, and the job takes {needed}: start more"
                " TaskManagers there, or lower run.parallelism"
            )

    def _check_python(self) -> None:
        """CrayfishError where the Flink that is there already could run one job alone.

        A class loader of each job's own loads the jars that a job brings along, and Python's library, which one of them
        holds, can be loaded by one loader of a JVM only.
        """
        if execution(self.job.spec) == "thread" and not self._has_python():
            from pyflink.find_flink_home import _find_flink_home

            (jar,) = Path(_find_flink_home(), "opt").glob("flink-python*.jar")
            raise CrayfishError(
                f"flink: {self.host}:{self.rest_port} has no {jar.name} in its lib folder, without which a TaskManager"
                f" can run Python inside its JVM once only: copy {jar} there and start that Flink again, or set"
                " run.execution to 'process'"
            )

    def _has_python(self) -> bool:
        """Whether the JobManager that is there already was started with PyFlink's jar."""
        return any("flink-python" in jar for jar in self.ask("/jobmanager/environment")["classpath"])

    def _write(self, home: Path, opens: str) -> None:
        """The conf and lib folders: what bin/taskmanager.sh would find, plus the job's jars."""
        for folder in (self.conf, self.lib, self.scratch):
            folder.mkdir()
        settings = {
            **_settings(self.job, self.scratch),
            "env.java.opts.all": opens,
            "jobmanager.rpc.port": self.rpc_port,
            "rest.address": self.host,
            "rest.port": self.rest_port,
            "rest.bind-port": self.rest_port,
        }
        text = "".join(f"{json.dumps(key)}: {json.dumps(str(value))}\n" for key, value in settings.items())
        (self.conf / "config.yaml").write_text(text)
        self._logging.write_text(LOGGING)
        jars = [*(home / "lib").glob("*.jar"), *(home / "opt").glob("flink-python*.jar"), *map(Path, self.job.jars)]
        for jar in jars:
            (self.lib / jar.name).symlink_to(jar.resolve())

    @property
    def _logging(self) -> Path:
        return self.conf / "log4j.properties"

    def _prepare_gateway(self, java_home: str, options: list[str]) -> None:
        """Set the variables that PyFlink reads when it starts its client's JVM, which is also the JobManager's."""
        os.environ.update(
            JAVA_HOME=java_home,
            FLINK_CONF_DIR=str(self.conf),
            FLINK_LIB_DIR=str(self.lib),
            FLINK_LOG_DIR=str(self.scratch),
            LOG4J_PROPERTIES=str(self._logging),
            JVM_ARGS=" ".join([*options, *JOBMANAGER_OPTIONS]),
            TMPDIR=str(self.scratch),
        )

    def _start_workers(self, java_home: str, options: list[str]) -> None:
        """Start the TaskManagers of this node, with these options of their JVMs."""
        kafka.record(self.job, "TaskManager JVM", options)
        java = [jvm.executable(java_home), *options]
        main = ["org.apache.flink.runtime.taskexecutor.TaskManagerRunner", "--configDir", str(self.conf)]
        command = [*java, f"-Dlog4j.configurationFile={self._logging}", "-cp", f"{self.lib}/*", *main]
        for _ in range(self.job.member, slots(self.job.spec)[0], self.job.members):
            self.workers.append(child.start(command))

    def submit(self) -> None:
        """Submit the job; it restores the group's newest checkpoint, if there is one."""
        from pyflink.datastream import StreamExecutionEnvironment
        from pyflink.java_gateway import get_gateway

        shipped = []
        if self.job.processor_address:
            own = {Path(jar).name for jar in self.job.jars}
            python = () if self._has_python() else ("flink-python",)
            shipped = [str(jar) for jar in self.lib.iterdir() if jar.name in own or jar.name.startswith(python)]
        jars = get_gateway().new_array(self.jvm.java.lang.String, len(shipped))
        for place in range(len(jars)):
            jars[place] = shipped[place]
        remote = self.jvm.org.apache.flink.streaming.api.environment.RemoteStreamEnvironment
        environment = StreamExecutionEnvironment(remote(self.host, self.rest_port, self.configuration, jars))
        environment.set_parallelism(self.job.spec.parallelism)
        build(environment, self.job)
        if self.job.spec.transport == "kafka":
            record_clients(self.job)
        self.job_id = str(environment.execute_async(self.job.group).get_job_id())
        self._stop_listening()
        if self.job.processor_address:
            try:
                turns.check_turn(self.job, self._jobs())
            except NotMade:
                self.cancel()
                raise

    def _stop_listening(self) -> None:
        """Close the ports of PyFlink's gateway, whoever reaches which runs code here: it asks for no secret. What is
        connected stays so, and nothing connects any more."""
        from pyflink.java_gateway import get_gateway

        gateway = get_gateway()
        server = gateway.java_gateway_server
        listening = server.getClass().getDeclaredField("sSocket")
        listening.setAccessible(True)
        listening.get(server).close()
        gateway.get_callback_server().server_socket.close()

    def rest(self, path: str, method: str = "GET") -> dict:
        """Ask the JobManager about the job."""
        return self.ask(f"/jobs/{self.job_id}{path}", method)

    def ask(self, path: str, method: str = "GET") -> dict:
        """Ask the JobManager."""
        return ask(f"{self.host}:{self.rest_port}", path, method)

    def tasks(self) -> dict[str, dict[str, int]]:
        """How many instances of each part of the job are in which state."""
        return {part["name"]: {k: v for k, v in part["tasks"].items() if v} for part in self.rest("")["vertices"]}

    def all_running(self) -> bool:
        """Whether all instances of every part run."""
        return all(set(states) == {"RUNNING"} for states in self.tasks().values())

    def check_workers(self) -> None:
        """CrayfishError if a TaskManager of this node is gone."""
        for worker in self.workers:
            if worker.poll() is not None:
                raise CrayfishError(
                    f"flink: a TaskManager (process {worker.pid}) ended with status {worker.returncode}; see the log"
                )

    def check(self) -> None:
        """CrayfishError if a TaskManager is gone or the job no longer lives; the job's root cause tells why."""
        self.check_workers()
        state = self.rest("/status")["status"]
        if state in ("FAILING", "FAILED", "CANCELED", "FINISHED", "SUSPENDED"):
            trace = self._failure()
            cause = jvm.root_cause(trace) if trace else "Flink gives no reason"
            hint = f"; check that the broker {self.job.bootstrap_servers} runs" if ".kafka." in cause else ""
            raise CrayfishError(f"flink: the job is {state}: {cause}{hint}")

    def _failure(self) -> str | None:
        """The job's newest failure as a stack trace; the JobManager tells it a moment after the job's state."""
        entries = wait_until(lambda: self.rest("/exceptions")["exceptionHistory"]["entries"], FAILURE_DEADLINE_S)
        return entries[0]["stacktrace"] if entries else None

    def cancel(self) -> None:
        """Cancel the job and wait until its tasks have closed."""
        self.rest("?mode=cancel", "PATCH")
        wait_until(lambda: self.rest("/status")["status"] in ("CANCELED", "FAILED"), STOP_DEADLINE_S)

    def __exit__(self, *error: object) -> None:
        self.kill_workers()
        if self.gateway_pid:
            from pyflink.java_gateway import get_gateway

            get_gateway().shutdown()
            os.kill(self.gateway_pid, signal.SIGKILL)
            os.waitpid(self.gateway_pid, 0)

    def kill_workers(self) -> None:
        """End the TaskManagers of this node."""
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            worker.wait()
