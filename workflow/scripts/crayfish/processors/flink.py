"""Apache Flink by PyFlink: KafkaSource -> scoring -> KafkaSink on a standalone cluster of the run's own.

Delivery     at_least_once: the sink is flushed and the offsets are committed at a checkpoint, every second;
             exactly_once: one Kafka transaction a checkpoint, every 100 ms, so predictions are visible that much later.
             Started again with the same group, it goes on from the last checkpoint in the stage's folder, or else from
             the group's committed offsets.
Parallelism  data (N-N-N): N TaskManagers of one slot, each a JVM with a Python of its own; source, scoring and sink are
             one chain in it (several slots of one TaskManager would share one interpreter's lock).
             task (P-N-P): source and sink at the topics' number of partitions P, scoring at N; one TaskManager of P
             slots. A Flink that is there already has the slots that it has: for thread execution one a TaskManager.
Buffers      what the consumer has fetched; the sink sends after linger_ms, and what comes while a request is on its
             way goes with the next one. Only process execution gathers: 1000 events (fewer large ones) or 2 ms, with
             async_calls 5 ms; the task model also has Flink's network buffers between its tasks.
Execution    thread: Python inside the TaskManager's JVM, one call an event; process: a Python worker beside it, which
             loads its model at the first event. auto: thread, if it can. `async_calls` events at once may wait for an
             external server (Flink's asynchronous operator, unordered). That operator's queue, emitter and event loop
             alone take 31 us of Python's CPU for an event that does nothing, and some 180 us with a call of gRPC that
             takes 130 us without it. With a deadline of its own it would take 230 and 470 us.
Transport    kafka; in_engine: in the same job a source that makes the events and a sink that keeps the predictions take
             the places of KafkaSource and KafkaSink. Both are Java (FlinkInEngine.java) and hand over byte[] as Kafka's
             do, so what crosses into Python is the same. They cost the TaskManagers: in each instance a thread that
             releases events when they are due (it spins for the last 0.1 ms), one copy of each event from a mapped
             file, 16 bytes and the prediction into a buffered one. Delivery is at_least_once: nothing is restored, so
             each event is answered once, or the run fails.
"""

from __future__ import annotations

import json
import math
import os
import signal
import site
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from crayfish.engine import child, jvm
from crayfish.engine.child import HOST, SCRIPTS
from crayfish.engine.scoring import ScoringOperator
from crayfish.spec import discovery
from crayfish.spec.contracts import Processor
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from pyflink.datastream import DataStream, StreamExecutionEnvironment

    from crayfish.spec.run_spec import Job, RunSpec

CHECKPOINT_MS = {"at_least_once": 1000, "exactly_once": 100}
GATHERED_BYTES = 16 * 1024 * 1024
BUNDLE_MS, ASYNCHRONOUS_BUNDLE_MS = 2, 5  # at the end of a bundle no call is under way
NETWORK_MEMORY = {"data": "64m", "task": "256m"}  # task: buffers for P x N channels, twice
BROKER_DEADLINE_MS = 20_000
REST_DEADLINE_S = 20.0
CHECK_S = 0.25
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


def _needs_process(spec: RunSpec) -> str | None:
    """Why this spec cannot run in thread execution, or None."""
    if spec.scoring == "vectorised":
        return "in thread execution Flink hands one event at a time to Python, so there is nothing to score together"
    if spec.async_calls:
        return "Flink's asynchronous operator runs in process execution only"
    if spec.parallelism_model == "task":
        return "in thread execution all instances of the task model would share one interpreter's lock"
    if discovery.scorer(spec.scorer).own_process:
        return f"{spec.scorer} cannot live in the Python that Flink's JVM embeds in thread execution"
    return None


def refuse(spec: RunSpec) -> str | None:
    """Why this engine cannot run this RunSpec, or None."""
    if spec.execution == "thread" and (reason := _needs_process(spec)):
        return f"{reason}: use execution 'process' or 'auto'"
    if spec.scoring == "vectorised" and spec.parallelism_model == "task":
        return (
            "vectorised scoring goes through the Table API, which does not offer parallelism_model 'task':"
            " use scoring 'per_event'"
        )
    if spec.transport == "in_engine" and spec.delivery == "exactly_once":
        return "exactly_once is a promise of the Kafka sink, which transport 'in_engine' has not: use 'at_least_once'"
    return None


def execution(spec: RunSpec) -> str:
    """thread or process: what `auto` stands for."""
    if spec.execution == "auto":
        return "process" if _needs_process(spec) else "thread"
    return spec.execution


def slots(spec: RunSpec) -> tuple[int, int]:
    """How many TaskManagers, and how many slots each has."""
    return (1, spec.partitions) if spec.parallelism_model == "task" else (spec.parallelism, 1)


def _events_at_once(job: Job) -> int:
    """How many events a poll or a bundle may hold: fewer of large ones, but all that may wait for a server at once."""
    largest = 4 * math.prod(job.input_shape) * max(load.batch_size for load in job.spec.segments)
    return max(1, job.spec.async_calls, min(1000, GATHERED_BYTES // largest))


def run(job: Job, stop: threading.Event, ready: Callable[[], None]) -> None:
    """Move events until `stop`; CrayfishError carries Flink's root cause. See crayfish.processors for the contract."""
    with Cluster(job) as cluster:
        cluster.submit()
        end = time.monotonic() + job.spec.ready_timeout_s
        while not stop.is_set() and not cluster.all_running():
            cluster.check()
            if time.monotonic() > end:
                raise CrayfishError(
                    f"flink: not all {job.spec.parallelism} instances ran within {job.spec.ready_timeout_s:g} s:"
                    f" {cluster.tasks()}; see the log, or raise run.ready_timeout_s"
                )
            time.sleep(0.05)
        if not stop.is_set():
            ready()
        while not stop.wait(CHECK_S):
            cluster.check()
        cluster.cancel()


# --- the job ---------------------------------------------------------------------------------------------------------


def _ends(job: Job) -> tuple[object, object]:
    """The source and the sink, both of bytes."""
    if job.spec.transport == "kafka":
        return _source(job), _sink(job)
    from pyflink.datastream.connectors.base import Sink, Source
    from pyflink.java_gateway import get_gateway

    java, folder = get_gateway().jvm.crayfish.FlinkInEngine, str(job.exchange)
    return Source(java.events(folder, job.spec.codec, job.spec.partitions)), Sink(java.predictions(folder))


def _source(job: Job) -> object:
    from pyflink.common.serialization import ByteArraySchema
    from pyflink.datastream.connectors.kafka import KafkaOffsetResetStrategy, KafkaOffsetsInitializer, KafkaSource

    properties = {
        "commit.offsets.on.checkpoint": "true",
        "partition.discovery.interval.ms": 10_000,  # also how the engine notices that the broker is gone
        "default.api.timeout.ms": BROKER_DEADLINE_MS,
        "request.timeout.ms": BROKER_DEADLINE_MS // 2,
        "max.poll.records": _events_at_once(job),
        "fetch.max.bytes": MAX_MESSAGE_BYTES,
        "enable.metrics.push": "false",
    }
    builder = KafkaSource.builder().set_bootstrap_servers(job.bootstrap_servers).set_topics(job.input_topic)
    for name, value in properties.items():
        builder.set_property(name, str(value))
    earliest = KafkaOffsetsInitializer.committed_offsets(KafkaOffsetResetStrategy.EARLIEST)
    builder.set_group_id(job.group).set_starting_offsets(earliest).set_value_only_deserializer(ByteArraySchema())
    return builder.build()


def _sink(job: Job) -> object:
    from pyflink.common.serialization import ByteArraySchema
    from pyflink.datastream.connectors.base import DeliveryGuarantee
    from pyflink.datastream.connectors.kafka import KafkaRecordSerializationSchema, KafkaSink

    properties = {
        "linger.ms": job.spec.linger_ms,
        "max.in.flight.requests.per.connection": 1,  # gathers what comes while a request is on its way
        "batch.size": 128 * 1024,
        "max.request.size": MAX_MESSAGE_BYTES,
        "buffer.memory": 2 * MAX_MESSAGE_BYTES,
        "request.timeout.ms": BROKER_DEADLINE_MS // 2,
        "delivery.timeout.ms": BROKER_DEADLINE_MS,
        "max.block.ms": BROKER_DEADLINE_MS,
        "transaction.timeout.ms": 600_000,  # a broker allows 900 000
        "enable.metrics.push": "false",
    }
    builder = KafkaSink.builder().set_bootstrap_servers(job.bootstrap_servers)
    for name, value in properties.items():
        builder.set_property(name, str(value))
    records = KafkaRecordSerializationSchema.builder().set_topic(job.output_topic)
    builder.set_record_serializer(records.set_value_serialization_schema(ByteArraySchema()).build())
    builder.set_delivery_guarantee(DeliveryGuarantee[job.spec.delivery.upper()])
    return builder.set_transactional_id_prefix(job.group).build()


def _scored_each(events: DataStream, job: Job) -> DataStream:
    """One call of Python an event."""
    from pyflink.common import Types
    from pyflink.datastream import ProcessFunction

    class Score(ProcessFunction):
        operator = None

        def open(self, context: object) -> None:
            self.operator = ScoringOperator(job).__enter__()
            self.score = self.operator.score_event

        def process_element(self, event: bytes, context: object) -> tuple[bytes]:
            return (self.score(event),)

        def close(self) -> None:
            if self.operator is not None:
                self.operator.__exit__(None, None, None)

    return events.process(Score(), output_type=Types.PRIMITIVE_ARRAY(Types.BYTE())).name("score")


def _scored_asynchronously(events: DataStream, job: Job) -> DataStream:
    """`async_calls` events at once wait for the server's answers."""
    from pyflink.common import Time, Types
    from pyflink.datastream import AsyncDataStream, AsyncFunction

    class Score(AsyncFunction):
        operator = None

        def open(self, context: object) -> None:
            self.operator = ScoringOperator(job).__enter__()

        async def async_invoke(self, event: bytes) -> list[bytes]:
            return [await self.operator.score_event_async(event)]

        def close(self) -> None:
            if self.operator is not None:
                self.operator.__exit__(None, None, None)

    # With a deadline of its own the operator would start a thread for each event; the client has deadlines.
    none, output = Time.milliseconds(0), Types.PRIMITIVE_ARRAY(Types.BYTE())
    return AsyncDataStream.unordered_wait(events, Score(), none, job.spec.async_calls, output)


def _scored_together(events: DataStream, job: Job, environment: StreamExecutionEnvironment) -> DataStream:
    """One call of Python for an Arrow batch of events, by the Table API: Flink's own way to hand over several."""
    import pandas
    from pyflink.datastream import DataStream
    from pyflink.java_gateway import get_gateway
    from pyflink.table import DataTypes, StreamTableEnvironment
    from pyflink.table.expressions import col
    from pyflink.table.udf import ScalarFunction, udf

    class Score(ScalarFunction):
        operator = None

        def open(self, context: object) -> None:
            self.operator = ScoringOperator(job).__enter__()

        def eval(self, events: pandas.Series) -> pandas.Series:
            return pandas.Series(self.operator.score_events(list(events)))

        def close(self) -> None:
            if self.operator is not None:
                self.operator.__exit__(None, None, None)

    tables = StreamTableEnvironment.create(environment)
    score = udf(Score(), result_type=DataTypes.BYTES(), func_type="pandas")
    scored = tables.from_data_stream(events).select(score(col("f0")))
    types = get_gateway().jvm.org.apache.flink.table.api.DataTypes
    return DataStream(tables._j_tenv.toDataStream(scored._j_table, types.BYTES().notNull()))


def _topology(environment: StreamExecutionEnvironment, job: Job) -> None:
    from pyflink.common import Types, WatermarkStrategy

    source, sink = _ends(job)
    events = environment.from_source(
        source, WatermarkStrategy.no_watermarks(), "events", Types.PRIMITIVE_ARRAY(Types.BYTE())
    )
    if job.spec.scoring == "vectorised":
        scored = _scored_together(events, job, environment)
    elif job.spec.async_calls:
        scored = _scored_asynchronously(events, job)
    else:
        scored = _scored_each(events, job)
    kept = scored.sink_to(sink)
    if job.spec.parallelism_model == "task":
        events.set_parallelism(job.spec.partitions)
        kept.set_parallelism(job.spec.partitions)


# --- the cluster -----------------------------------------------------------------------------------------------------


def root_cause(trace: str) -> str:
    """The message of the innermost cause of a Java stack trace; of a Python traceback within it, its last line."""
    cause = trace.rpartition("Caused by: ")[2].partition("\n\tat ")[0].strip()
    if "Traceback (most recent call last)" in cause:
        lines = cause.splitlines()
        last = max(index for index, line in enumerate(lines) if line and not line[0].isspace())
        cause = "\n".join(lines[last:])
    return cause


def _settings(job: Job, folder: Path) -> dict[str, object]:
    """The cluster's configuration: all of it on the loopback and in the run's folder, and no second try for a job."""
    checkpoints = Path(job.workdir) / "checkpoints" / job.group
    _, slots_each = slots(job.spec)
    found = sorted(checkpoints.glob("*/chk-*/_metadata"), key=lambda file: file.stat().st_mtime)
    return {
        **({"execution.state-recovery.path": found[-1].parent.as_uri()} if found else {}),
        "execution.checkpointing.dir": checkpoints.as_uri(),
        "execution.checkpointing.storage": "filesystem",
        "execution.checkpointing.interval": f"{CHECKPOINT_MS[job.spec.delivery]} ms",
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
        "python.fn-execution.bundle.size": _events_at_once(job),
        "python.fn-execution.arrow.batch.size": _events_at_once(job),
        "jobmanager.rpc.address": HOST,
        "jobmanager.bind-host": HOST,
        "rest.bind-address": HOST,
        "web.submit.enable": "false",
        "web.refresh-interval": 50,  # ms; what the JobManager says of tasks and failures may be this old
        "metrics.fetcher.update-interval": 0,
        "io.tmp.dirs": folder / "tmp",
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


class Cluster:
    """The JobManager in PyFlink's client JVM, N TaskManagers in JVMs of their own, and one job on them.

    Or that job on a cluster that is there already, whose machines see the same files at the same paths.
    """

    def __init__(self, job: Job):
        self.job = job
        self.folder = Path(tempfile.mkdtemp(dir=job.workdir, prefix="flink-"))
        self.rpc_port, self.rest_port = child.free_ports(2)
        self.host = HOST
        if job.processor_address:
            self.host, _, port = job.processor_address.rpartition(":")
            self.rest_port = int(port)
        self.workers: list[subprocess.Popen] = []
        self.gateway_pid = None
        self.direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy for the loopback

    def __enter__(self) -> Cluster:
        if self.job.processor_address:
            self._check_slots()
        from pyflink.find_flink_home import _find_flink_home
        from pyflink.java_gateway import get_gateway
        from pyflink.pyflink_gateway_server import read_from_config

        home = Path(_find_flink_home())
        opens = read_from_config("env.java.opts.all", "", str(home / "conf"))
        self._write(home, opens)
        java_home = self.job.java_home or jvm.find().home
        conf, lib, scratch = (str(self.folder / name) for name in ("conf", "lib", "tmp"))
        options = [*JVM_OPTIONS, f"-Djava.io.tmpdir={scratch}"]
        os.environ.update(
            JAVA_HOME=java_home,
            FLINK_CONF_DIR=conf,
            FLINK_LIB_DIR=lib,
            FLINK_LOG_DIR=scratch,
            LOG4J_PROPERTIES=f"{conf}/log4j.properties",
            JVM_ARGS=" ".join([*options, *JOBMANAGER_OPTIONS]),
            TMPDIR=scratch,
        )
        log = f"-Dlog4j.configurationFile={conf}/log4j.properties"
        command = [
            str(Path(java_home, "bin", "java")),
            *options,
            *TASKMANAGER_OPTIONS,
            *opens.split(),
            log,
            "-cp",
            f"{lib}/*",
        ]
        command += ["org.apache.flink.runtime.taskexecutor.TaskManagerRunner", "--configDir", conf]
        for _ in range(0 if self.job.processor_address else slots(self.job.spec)[0]):
            self.workers.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=child.die_with_parent()))
        self.jvm = get_gateway().jvm
        self.gateway_pid = self.jvm.java.lang.ProcessHandle.current().pid()
        self.configuration = self.jvm.org.apache.flink.configuration.GlobalConfiguration.loadConfiguration(conf)
        if not self.job.processor_address:
            entry = self.jvm.org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint(self.configuration)
            entry.startCluster()
        return self

    def _check_slots(self) -> None:
        """CrayfishError unless the Flink that is there already answers and has as many slots free as the job takes."""
        free, needed = self.ask("/overview")["slots-available"], math.prod(slots(self.job.spec))
        if free < needed:
            raise CrayfishError(
                f"flink: {self.host}:{self.rest_port} has {free} free slots, and the job takes {needed}: start more"
                " TaskManagers there, or lower run.parallelism"
            )

    def _write(self, home: Path, opens: str) -> None:
        """The conf and lib folders: what bin/taskmanager.sh would find, plus the job's jars."""
        for name in ("conf", "lib", "tmp"):
            (self.folder / name).mkdir()
        settings = {**_settings(self.job, self.folder), "env.java.opts.all": opens}
        settings |= {
            "jobmanager.rpc.port": self.rpc_port,
            "rest.address": self.host,
            "rest.port": self.rest_port,
            "rest.bind-port": self.rest_port,
        }
        text = "".join(f"{json.dumps(key)}: {json.dumps(str(value))}\n" for key, value in settings.items())
        (self.folder / "conf" / "config.yaml").write_text(text)
        (self.folder / "conf" / "log4j.properties").write_text(LOGGING)
        for jar in [
            *(home / "lib").glob("*.jar"),
            *(home / "opt").glob("flink-python*.jar"),
            *map(Path, self.job.jars),
        ]:
            (self.folder / "lib" / jar.name).symlink_to(jar.resolve())

    def submit(self) -> None:
        """Submit the job; it restores the group's newest checkpoint, if there is one."""
        from pyflink.datastream import StreamExecutionEnvironment
        from pyflink.java_gateway import get_gateway

        own = {Path(jar).name for jar in self.job.jars}
        shipped = [str(jar) for jar in (self.folder / "lib").iterdir() if jar.name in own or "flink-python" in jar.name]
        jars = get_gateway().new_array(self.jvm.java.lang.String, len(shipped) if self.job.processor_address else 0)
        for place in range(len(jars)):
            jars[place] = shipped[place]
        remote = self.jvm.org.apache.flink.streaming.api.environment.RemoteStreamEnvironment
        environment = StreamExecutionEnvironment(remote(self.host, self.rest_port, self.configuration, jars))
        environment.set_parallelism(self.job.spec.parallelism)
        _topology(environment, self.job)
        self.job_id = str(environment.execute_async(self.job.group).get_job_id())

    def rest(self, path: str, method: str = "GET") -> dict:
        """Ask the JobManager about the job."""
        return self.ask(f"/jobs/{self.job_id}{path}", method)

    def ask(self, path: str, method: str = "GET") -> dict:
        """Ask the JobManager."""
        request = urllib.request.Request(f"http://{self.host}:{self.rest_port}{path}", method=method)
        try:
            with self.direct.open(request, timeout=REST_DEADLINE_S) as answer:
                return json.load(answer)
        except OSError as error:
            raise CrayfishError(
                f"flink: the JobManager does not answer {method} {request.full_url}: {error}"
            ) from error

    def tasks(self) -> dict[str, dict[str, int]]:
        """How many instances of each part of the job are in which state."""
        return {part["name"]: {k: v for k, v in part["tasks"].items() if v} for part in self.rest("")["vertices"]}

    def all_running(self) -> bool:
        """Whether all instances of every part run."""
        return all(set(states) == {"RUNNING"} for states in self.tasks().values())

    def check(self) -> None:
        """CrayfishError if a TaskManager is gone or the job no longer lives; the job's root cause tells why."""
        for worker in self.workers:
            if worker.poll() is not None:
                raise CrayfishError(
                    f"flink: a TaskManager (process {worker.pid}) ended with status {worker.returncode}; see the log"
                )
        state = self.rest("/status")["status"]
        if state in ("FAILING", "FAILED", "CANCELED", "FINISHED", "SUSPENDED"):
            trace = self._failure()
            cause = root_cause(trace) if trace else "Flink gives no reason"
            hint = f"; check that the broker {self.job.bootstrap_servers} runs" if ".kafka." in cause else ""
            raise CrayfishError(f"flink: the job is {state}: {cause}{hint}")

    def _failure(self) -> str | None:
        """The job's newest failure as a stack trace; the JobManager tells it a moment after the job's state."""
        end = time.monotonic() + FAILURE_DEADLINE_S
        while not (entries := self.rest("/exceptions")["exceptionHistory"]["entries"]):
            if time.monotonic() > end:
                return None
            time.sleep(0.05)
        return entries[0]["stacktrace"]

    def cancel(self) -> None:
        """Cancel the job and wait until its tasks have closed."""
        self.rest("?mode=cancel", "PATCH")
        end = time.monotonic() + STOP_DEADLINE_S
        while self.rest("/status")["status"] not in ("CANCELED", "FAILED") and time.monotonic() < end:
            time.sleep(0.02)

    def __exit__(self, *error: object) -> None:
        for worker in self.workers:
            worker.kill()
        if self.gateway_pid:
            from pyflink.java_gateway import get_gateway

            get_gateway().shutdown()
            os.kill(self.gateway_pid, signal.SIGKILL)
            os.waitpid(self.gateway_pid, 0)
        for worker in self.workers:
            worker.wait()


PROCESSOR = Processor(
    display_name="Flink",
    color="#0072B2",
    line="-",
    run=run,
    refuse=refuse,
    resolved_execution=execution,
    deliveries=("at_least_once", "exactly_once"),
    executions=("thread", "process"),
    parallelism_models=("data", "task"),
    transports=("kafka", "in_engine"),
    asynchronous=True,
    address="host:port of its JobManager's REST interface",
    jars=("flink",),
    java={"in_engine": "FlinkInEngine.java"},
    java_jars=("flink_api",),
    original="f",
)
