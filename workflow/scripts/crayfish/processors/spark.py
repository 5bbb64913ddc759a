"""Spark Structured Streaming by PySpark: Kafka source -> mapInArrow -> Kafka sink in one local Spark.

Delivery     at_least_once: every commit_interval_ms progress is written to a checkpoint in the stage's folder, beside
             the stream (asynchronous progress tracking); the sink flushes at the end of each task. Started again there,
             the job goes on from what was written last. Real time writes it when a batch ends, after 5 s or more.
Parallelism  N: local[N], or N executors of one core of a Spark that runs already, or is the run's own on several
             nodes. A micro-batch has N tasks at most,
             each with its own Python worker, which loads the model once and keeps it over the micro-batches.
Buffers      A micro-batch: what has come since the last one, at most 10 000 events or 32 MiB. It crosses into Python in
             Arrow batches of at most 1000 events or 4 MiB (of async_calls events if that is more). The sink sends
             predictions as they come back, after linger_ms. fetch_wait_ms is 1: a task asks one partition after the
             other, with a seek before each read, so that a fetch that waits for data holds up the next one. With
             engine_batch_max that many events are an Arrow batch; the last one of a task has the rest. Spark waits for
             a micro-batch, not for one of these: until there are engine_batch_max times N events for it, or for
             engine_batch_wait_ms since the last one began. So no event waits longer for others, and where micro-batches
             take longer than that, none does. How long the first one of an Arrow batch has waited is not known.
Execution    micro_batch (auto), or real_time: Spark's trigger(realTime=...) with its shortest batch of 5 s and one task
             per partition, so N is the number of partitions. Its tasks take events as they come, but hand on a Python
             worker's predictions only when the batch ends: at 512 events/s in 2 partitions p50 was 1.8 s (2.8 s with
             Arrow batches of 1000 events instead of one), against 0.12 s by micro-batches.
"""

from __future__ import annotations

import functools
import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from crayfish.engine import batches, child, jvm, kafka, turns
from crayfish.engine.child import HOST, SCRIPTS
from crayfish.engine.kafka import BROKER_DEADLINE_MS
from crayfish.engine.scoring import ScoringOperator, event_bytes, events_at_once
from crayfish.spec.contracts import GIB, Processor
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import MAX_MESSAGE_BYTES, default
from crayfish.spec.waiting import wait_until

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    import pyarrow
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming import StreamingQuery

    from crayfish.spec.run_spec import Job, RunSpec

SCHEMA = "value binary"
REAL_TIME_MS = 5000  # the least that Spark allows
FETCH_WAIT_MS = 1
MICRO_BATCH_EVENTS, MICRO_BATCH_BYTES = 10_000, 32 * 1024 * 1024
ARROW_EVENTS, ARROW_BYTES = 1000, 4 * 1024 * 1024
WATCH_S = 0.2
START_DEADLINE_S, STOP_DEADLINE_S = 60.0, 5.0
SOCKET_FOLDER = 60  # characters: a Unix socket's whole path may have 107
HEAP = "2g"  # of the driver, which in local mode is the executor too
JVM_OPTIONS = ("-XX:+UseSerialGC", "-XX:-UsePerfData")
DRIVER_OPTIONS = ("-Xms1g", *JVM_OPTIONS)
LOGGING = """\
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
logger.native.name = org.apache.hadoop.util.NativeCodeLoader
logger.native.level = error
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss.SSS} %-5p %c{1} %m%n%throwable
"""


def refuse(spec: RunSpec) -> str | None:
    """Why this engine cannot run this spec, or None."""
    if spec.execution == "real_time" and spec.parallelism != spec.partitions:
        return (
            f"execution 'real_time' runs a task a partition: set parallelism and partitions ({spec.partitions}) alike"
        )
    if spec.fetch_wait_ms not in (FETCH_WAIT_MS, default("fetch_wait_ms")):
        return (
            f"fetch_wait_ms {spec.fetch_wait_ms}: Spark's tasks ask one partition after the other, and a fetch that"
            f" waits holds up the next one: it is {FETCH_WAIT_MS} there; leave it out"
        )
    if spec.engine_batch_max and spec.execution == "real_time":
        return (
            f"engine_batch_max {spec.engine_batch_max}: in execution 'real_time' a batch that is not full waits until"
            f" Spark's own ends, after {REAL_TIME_MS} ms or more: use execution 'micro_batch', or leave it out"
        )
    interval_ms = spec.commit_interval_ms
    if spec.execution == "real_time" and interval_ms < REAL_TIME_MS and interval_ms != default("commit_interval_ms"):
        return (
            f"commit_interval_ms {interval_ms}: execution 'real_time' writes its progress when a batch ends, after"
            f" {REAL_TIME_MS} ms at the earliest: set that or more, or leave it out"
        )
    return None


def run(job: Job, stop: threading.Event, ready: Callable[[], None]) -> None:
    """Move events until `stop` is set."""
    from py4j.protocol import Py4JError, Py4JJavaError
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    daemons = [start_daemon(job, "Master"), start_daemon(job, "Worker")] if job.head else []
    process = start_jvm(job)
    try:
        applications = at_work(job) if job.processor_address else list
        turns.await_turn(job, applications)
        session = SparkSession.builder.getOrCreate()
        turns.check_turn(job, applications())
        load_scorers(session, job)
        query = start_query(session, job)
        ready()
        while query.isActive and not stop.wait(WATCH_S):
            check_daemons(daemons)
        if not stop.is_set():
            query.awaitTermination()
        query.stop()
        session.stop()
    except (PySparkException, Py4JJavaError) as error:
        raise CrayfishError(f"spark: {root_cause(error, job)}") from error
    except (Py4JError, OSError) as error:
        raise CrayfishError(f"spark: its JVM no longer answers: {error}; see the log") from error
    finally:
        end_jvm(process)
        child.stop(daemons, STOP_DEADLINE_S)


def join(job: Job, stop: threading.Event, ready: Callable[[], None]) -> None:
    """On another node: a worker with its share of the executors, until `stop` is set."""
    worker = start_daemon(job, "Worker")
    try:
        ready()
        while not stop.wait(WATCH_S):
            check_daemons([worker])
    finally:
        child.stop([worker], STOP_DEADLINE_S)


def start_daemon(job: Job, kind: str) -> subprocess.Popen:
    """A Master at job.head, or a Worker of it with this node's share of the instances, each an executor of one core."""
    import pyspark

    home, java_home = str(Path(pyspark.__file__).parent), jvm.home_of(job)
    page, *_ = child.free_ports(1)
    options = ["--host", HOST, "--webui-port", str(page)]
    if kind == "Master":
        options += ["--port", str(job.head).rpartition(":")[2]]
    else:
        child.await_listener(job.head, START_DEADLINE_S)
        size = ("--cores", str(len(job.instances)), "--memory", f"{len(job.instances)}g")
        options += [*size, "--work-dir", str(Path(job.workdir, "work")), f"spark://{job.head}"]
    environment = {"SPARK_HOME": home, "SPARK_SCALA_VERSION": "2.13", "SPARK_LOCAL_IP": HOST, "JAVA_HOME": java_home}
    environment |= {"SPARK_LOCAL_DIRS": job.workdir}
    log4j = Path(job.workdir, "log4j2.properties")
    log4j.write_text(LOGGING)
    java = [jvm.executable(java_home), "-Xmx512m", f"-Djava.io.tmpdir={job.workdir}", "-cp", f"{home}/jars/*"]
    main = [f"-Dlog4j2.configurationFile={log4j}", f"org.apache.spark.deploy.{kind.lower()}.{kind}"]
    return child.start([*java, *main, *options], env={**os.environ, **environment})


def check_daemons(daemons: list[subprocess.Popen]) -> None:
    """CrayfishError if one of them has ended."""
    for daemon in daemons:
        if daemon.poll() is not None:
            raise CrayfishError(f"spark: a master or worker ended with status {daemon.returncode}; see the log")


# --- in the Python workers -------------------------------------------------------------------------------------------


@functools.cache
def operator_of(job: Job) -> ScoringOperator:
    """This worker's operator: made for its first task and kept until the worker ends."""
    return ScoringOperator(job).__enter__()


def load(job: Job, batches: Iterable[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
    """Make this worker's operator."""
    operator_of(job)
    yield from ()


def score(job: Job, batches: Iterable[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
    """Events to predictions, both as batches of one column of bytes."""
    import pyarrow

    score_events = operator_of(job).score_events
    for batch in batches:
        predictions = score_events(unpack(batch.column(0)))
        yield pyarrow.RecordBatch.from_arrays([pyarrow.array(predictions, pyarrow.binary())], ["value"])


def unpack(values: pyarrow.BinaryArray) -> list[bytes]:
    """The values of a column without nulls, cut out of its one buffer."""
    _, offsets, content = values.buffers()
    if content is None:
        return [b""] * len(values)
    ends = memoryview(offsets).cast("i")[values.offset : values.offset + len(values) + 1].tolist()
    view = memoryview(content)
    return [bytes(view[start:end]) for start, end in itertools.pairwise(ends)]


# --- in the driver ---------------------------------------------------------------------------------------------------


def arrow_events(job: Job) -> int:
    """How many events an Arrow batch may hold: one in real time, where no event waits for another."""
    return job.spec.engine_batch_max or events_at_once(
        job, 1 if job.spec.execution == "real_time" else ARROW_EVENTS, ARROW_BYTES
    )


def settings(job: Job) -> dict[str, object]:
    """The settings of the session; for all others Spark's defaults hold."""
    folder = Path(job.workdir)
    log4j = folder / "log4j2.properties"
    log4j.write_text(LOGGING)
    java = [*DRIVER_OPTIONS, f"-Djava.io.tmpdir={folder}", f"-Dlog4j2.configurationFile={log4j}"]
    return {
        **(_on_cluster(job, master) if (master := master_of(job)) else _local(job)),
        "spark.app.name": job.group,
        "spark.driver.memory": HEAP,
        "spark.driver.extraClassPath": ":".join(job.jars),
        "spark.driver.extraJavaOptions": " ".join(java),
        "spark.sql.warehouse.dir": folder / "warehouse",
        "spark.executorEnv.OMP_NUM_THREADS": job.spec.scorer_threads,  # which Spark would set itself
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.streaming.ui.enabled": "false",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.codegen.wholeStage": "false",  # each micro-batch is planned anew, and its code generated again
        "spark.sql.streaming.pollingDelay": "1ms",
        "spark.sql.streaming.noDataMicroBatches.enabled": "false",
        "spark.sql.streaming.minBatchesToRetain": 2,
        "spark.sql.streaming.realTimeMode.allowlistCheck": "false",  # which has no Python operator
        "spark.sql.execution.arrow.maxRecordsPerBatch": arrow_events(job),
        "spark.sql.execution.arrow.maxBytesPerBatch": MAX_MESSAGE_BYTES,
    }


def _local(job: Job) -> dict[str, object]:
    """Of a Spark of this process's own, on the loopback."""
    return {
        "spark.master": f"local[{job.spec.parallelism}]",
        "spark.driver.host": HOST,
        "spark.driver.bindAddress": HOST,
        "spark.authenticate": "true",  # by a secret that Spark draws for itself
        "spark.python.unix.domain.socket.enabled": str(len(job.workdir) < SOCKET_FOLDER).lower(),
    }


def master_of(job: Job) -> str | None:
    """The URL of the master: of a Spark that is there already, or of the run's own on several nodes; None: local."""
    return f"spark://{job.head}" if job.head else job.processor_address


def _on_cluster(job: Job, master: str) -> dict[str, object]:
    """Of a Spark whose workers see the same files at the same paths."""
    own = {"spark.driver.host": HOST, "spark.driver.bindAddress": HOST} if job.head else {}
    return {
        **own,
        "spark.master": master,
        "spark.cores.max": job.spec.parallelism,
        "spark.executor.cores": 1,
        "spark.executor.extraClassPath": ":".join(job.jars),
        "spark.executor.extraJavaOptions": " ".join(JVM_OPTIONS),
        "spark.executorEnv.PYTHONPATH": SCRIPTS,
        "spark.scheduler.barrier.maxConcurrentTasksCheck.interval": "1s",  # executors are still being started
        "spark.scheduler.barrier.maxConcurrentTasksCheck.maxFailures": int(job.spec.ready_timeout_s),
    }


def start_jvm(job: Job) -> subprocess.Popen:
    """Spark's JVM, by the command that Spark's own launcher gives; PySpark will find it by environment variables.

    What bin/spark-submit would do, but the JVM ends with this process, and needs no incubating Java module.
    """
    java_home, answer = jvm.home_of(job), Path(job.workdir, "gateway")
    answer.unlink(missing_ok=True)
    environment = _environment(job, java_home, answer)
    command = _command(job, jvm.executable(java_home), environment)
    kafka.record(job, "driver JVM", [part for part in command if part.startswith(("-X", "-D"))])
    if master_of(job):
        kafka.record(job, "executor JVM", JVM_OPTIONS)
    process = child.start(command, env=environment, stdin=subprocess.PIPE)
    wait_until(lambda: answer.exists() or process.poll() is not None, START_DEADLINE_S)
    if not answer.exists():
        process.kill()
        raise CrayfishError(f"spark: the JVM of {jvm.executable(java_home)} did not start; see the log")
    _tell_pyspark(answer)
    return process


def _environment(job: Job, java_home: str, answer: Path) -> dict[str, str]:
    """The variables of Spark's JVM, which writes to the file `answer` where it listens."""
    import pyspark

    # A site's SPARK_LOCAL_IP, of several addresses the one that a given cluster reaches, is the only one inherited.
    loopback = {} if job.processor_address else {"SPARK_LOCAL_IP": HOST}
    return (
        os.environ
        | loopback
        | {
            "SPARK_HOME": str(Path(pyspark.__file__).parent),
            "SPARK_SCALA_VERSION": "2.13",
            "JAVA_HOME": java_home,
            "SPARK_LOCAL_DIRS": job.workdir,
            "_PYSPARK_DRIVER_CONN_INFO_PATH": str(answer),
        }
    )


def _command(job: Job, java: str, environment: dict[str, str]) -> list[str]:
    """The command line of Spark's JVM, as its launcher tells it."""
    jars = f"{environment['SPARK_HOME']}/jars/*"
    launcher = [java, "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", jars, "org.apache.spark.launcher.Main"]
    options = [part for name, value in settings(job).items() for part in ("--conf", f"{name}={value}")]
    asked = [*launcher, "org.apache.spark.deploy.SparkSubmit", *options, "pyspark-shell"]
    told = subprocess.run(asked, env=environment, stdout=subprocess.PIPE, text=True)
    if told.returncode:
        raise CrayfishError(f"spark: its launcher fails with {java}; see the log")
    parts = told.stdout.strip("\0\n").split("\0")
    return [part for part in parts if part != "--add-modules=jdk.incubator.vector"]


def _tell_pyspark(answer: Path) -> None:
    """Where the JVM listens, and what it asks for, as PySpark looks for it."""
    from pyspark.serializers import UTF8Deserializer, read_int

    with answer.open("rb") as file:
        os.environ["PYSPARK_GATEWAY_PORT"] = str(read_int(file))
        os.environ["PYSPARK_GATEWAY_SECRET"] = UTF8Deserializer().loads(file)
    os.environ["PYSPARK_PYTHON"] = sys.executable


def end_jvm(process: subprocess.Popen) -> None:
    """The gateway's JVM ends when its standard input does."""
    from pyspark import SparkContext

    if SparkContext._gateway:  # else py4j tells the JVM of each object that Python drops, and complains that it is gone
        SparkContext._gateway.shutdown()
    if process.stdin:
        process.stdin.close()
    child.await_end([process], STOP_DEADLINE_S)


def at_work(job: Job) -> Callable[[], list[str]]:
    """A function that tells the names of the applications on a given Spark, from the oldest on.

    It asks by the protocol of Spark's own clients: the master's pages are at a port that nobody has told.
    """
    from pyspark import SparkContext

    SparkContext._ensure_initialized()
    java: Any = SparkContext._jvm
    spark, load = java.org.apache.spark, java.java.lang.Class.forName

    def scala(name: str) -> Any:
        return load(f"{name}$").getField("MODULE$").get(None)

    conf, messages = spark.SparkConf(), "org.apache.spark.deploy.DeployMessages$"
    secret_file = scala("org.apache.spark.internal.config.package").AUTH_SECRET_FILE()
    security = spark.SecurityManager(conf, java.scala.Option.empty(), secret_file)
    client = spark.rpc.RpcEnv.create("crayfish", child.HOST, 0, conf, security, True)
    master = client.setupEndpointRef(spark.rpc.RpcAddress.fromSparkURL(job.processor_address), "Master")
    question = scala(f"{messages}RequestMasterState")
    answer = scala("scala.reflect.ClassTag").apply(load(f"{messages}MasterStateResponse"))

    def applications() -> list[str]:
        found = [
            (each.startTime(), each.id(), each.desc().name()) for each in master.askSync(question, answer).activeApps()
        ]
        return [name for *_, name in sorted(found)]

    return applications


def load_scorers(session: SparkSession, job: Job) -> None:
    """Start the N Python workers and load the model in each: a broken one shows before any event is taken."""
    count = job.spec.parallelism
    rows = session.range(0, count, 1, count)
    rows.mapInArrow(functools.partial(load, job), SCHEMA, barrier=True).collect()


def source_settings(job: Job) -> dict[str, object]:
    """Of the Kafka source; what is not here is Spark's or Kafka's default."""
    consumer = {
        **kafka.JAVA_CLIENT,
        **kafka.java_consumer(job),
        **kafka.java_broker(job),
        "fetch.max.wait.ms": FETCH_WAIT_MS,
    }
    source = {
        **kafka.prefixed("kafka.", consumer),
        "subscribe": job.input_topic,
        "startingOffsets": "earliest",
        "fetchOffset.numRetries": 1,  # each has the clients' whole deadline, as a task that asks has
        "kafkaConsumer.pollTimeoutMs": BROKER_DEADLINE_MS,
    }
    if job.spec.execution != "real_time":
        wanted = job.spec.engine_batch_max * job.spec.parallelism
        most = max(1, wanted, min(MICRO_BATCH_EVENTS, MICRO_BATCH_BYTES // event_bytes(job)))
        source["maxOffsetsPerTrigger"] = most
        if waits_ms := batches.wait_ms(job.spec):
            source |= {"minOffsetsPerTrigger": wanted, "maxTriggerDelay": f"{waits_ms}ms"}
    return source


def sink_settings(job: Job) -> dict[str, object]:
    """Of the Kafka sink; what is not here is Spark's or Kafka's default."""
    producer = {
        **kafka.JAVA_CLIENT,
        **kafka.java_producer(job),
        **kafka.java_broker(job),
    }
    sink = {
        **kafka.prefixed("kafka.", producer),
        "topic": job.output_topic,
        "checkpointLocation": str(Path(job.workdir, "checkpoint", job.group)),
    }
    if job.spec.execution != "real_time":
        sink["asyncProgressTrackingEnabled"] = "true"
        sink["asyncProgressTrackingCheckpointIntervalMs"] = job.spec.commit_interval_ms
    return sink


def record_clients(session: SparkSession, job: Job) -> None:
    """Note for the manifest what the clients of the job take these settings for."""

    def java(name: str) -> Any:
        return functools.reduce(getattr, name.split("."), session._jvm)

    own = {"consumer": source_settings(job), "producer": sink_settings(job)}
    own["consumer"] |= {
        "kafka.enable.auto.commit": "false",
        "kafka.auto.offset.reset": "none",
    }  # Spark sets them itself
    for kind, settings in own.items():
        given = {name.removeprefix("kafka."): value for name, value in settings.items()}
        kafka.record(job, f"processor {kind}", kafka.java_effective(java, kind, given))


def start_query(session: SparkSession, job: Job) -> StreamingQuery:
    """The topology, running."""
    real_time = job.spec.execution == "real_time"
    record_clients(session, job)
    batch_ms = max(REAL_TIME_MS, job.spec.commit_interval_ms)
    trigger = {"realTime": f"{batch_ms} milliseconds"} if real_time else {"processingTime": "0 seconds"}
    events = session.readStream.format("kafka").options(**source_settings(job)).load().select("value")
    events = events if real_time else events.coalesce(job.spec.parallelism)
    scored = events.mapInArrow(functools.partial(score, job), SCHEMA).writeStream.outputMode("update")
    return scored.format("kafka").options(**sink_settings(job)).queryName("score").trigger(**trigger).start()


def root_cause(error: Exception, job: Job) -> str:
    """What an exception of PySpark or py4j tells people: its innermost cause, in Java or in a Python worker."""
    from py4j.protocol import Py4JJavaError
    from pyspark.errors.exceptions.captured import CapturedException

    if isinstance(error, Py4JJavaError):
        cause = error.java_exception
    elif isinstance(error, CapturedException) and error._origin is not None:
        cause = error._origin
    else:
        return str(error)
    text = jvm.innermost(cause)
    hint = f"; check that the broker {job.bootstrap_servers} runs and has both topics" if "kafka" in text else ""
    return text + hint


PROCESSOR = Processor(
    display_name="Spark",
    color="#009E73",
    line=(0, (5, 1.5, 1, 1.5)),
    run=run,
    refuse=refuse,
    asks_user=True,  # Hadoop does, for its own login
    deliveries=("at_least_once",),
    executions=("micro_batch", "real_time"),
    asynchronous=True,
    address="its master's URL, spark://host:port",
    spreads=True,
    join=join,
    jars=("spark",),
    original="s",
    memory=5 * GIB // 2,  # one JVM, with a heap of 2 GiB at most
    instance_memory=GIB // 4,  # a Python worker
)
