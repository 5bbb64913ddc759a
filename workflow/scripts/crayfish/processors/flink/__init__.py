"""Apache Flink by PyFlink: KafkaSource -> scoring -> KafkaSink on a standalone cluster of the run's own.

Delivery     at_least_once: a checkpoint every commit_interval_ms flushes the sink and commits the offsets.
             exactly_once: one Kafka transaction per checkpoint, so predictions become visible that much later. Started
             again with the same group, the job goes on from the last checkpoint in the stage's folder; without one,
             from the group's committed offsets.
Parallelism  data (N-N-N): N TaskManagers of one slot, each a JVM with its own Python; source, scoring and sink form one
             chain in it (several slots of one TaskManager would share one interpreter's lock). On several nodes each
             has its share of them, and the first the JobManager. task (P-N-P): source and sink run at P, the topics'
             number of partitions, scoring at N, on one TaskManager of P slots. A Flink that runs already keeps its
             slots; thread execution needs TaskManagers of one slot each.
Buffers      What the consumer has fetched. The sink sends after linger_ms; predictions that are made while in_flight
             requests are under way go with the next one. Only process execution gathers events: 1000 (fewer if large)
             or 2 ms (5 ms with async_calls). The task model adds Flink's network buffers between its tasks.
             With engine_batch_max a Java operator before the Python one (FlinkBatching.java) gathers so many events of
             all partitions of its instance, or what comes within engine_batch_wait_ms of the first (0: what the source
             has at hand), and another one behind it cuts the predictions apart; a checkpoint sends on what waits. In
             process execution Python's own 2 ms come on top. Without it, vectorised scoring goes through the Table API,
             whose batches are the bundles of process execution; how long their first event has waited is not known.
Execution    thread: Python runs inside the TaskManager's JVM, one call per event. process: a Python worker beside it,
             which loads its model at the first event. auto: thread, if the run can. With async_calls, Flink's
             asynchronous operator (unordered) keeps that many requests to an external server in flight. Its queue,
             emitter and event loop alone take 31 us of Python's CPU for an event that does nothing, and some 180 us
             with a gRPC call that takes 130 us without it. With a deadline of its own the operator would take 230 and
             470 us.
Transport    kafka; in_engine: a source that makes the events and a sink that keeps the predictions replace KafkaSource
             and KafkaSink. Both are Java (FlinkInEngine.java) and hand over byte[] as Kafka's do, so the same bytes
             cross into Python. Each instance pays for a thread that releases events at their intended send times (it
             spins for the last 0.1 ms), one copy of each event from a mapped file, and 16 bytes and the prediction into
             a buffered file. Delivery is at_least_once: nothing is restored, so each event is answered once, or the run
             fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crayfish.spec import discovery, placement
from crayfish.spec.contracts import GIB, Processor
from crayfish.spec.errors import CrayfishError
from crayfish.spec.waiting import wait_until

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from crayfish.spec.run_spec import Job, RunSpec

STARTING_S, WATCH_S = 0.05, 0.25
BATCHING = "flink/FlinkBatching.java"


def _needs_process(spec: RunSpec) -> str | None:
    """Why this RunSpec cannot run in thread execution, or None."""
    if spec.scoring == "vectorised" and not spec.engine_batch_max:
        return (
            "in thread execution Flink hands one event at a time to Python, so there is nothing to score together"
            " without an engine_batch_max"
        )
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
    if spec.scoring == "vectorised" and not spec.engine_batch_max and spec.parallelism_model == "task":
        return (
            "vectorised scoring goes through the Table API, which does not offer parallelism_model 'task':"
            " set engine_batch_max, or use scoring 'per_event'"
        )
    if spec.parallelism_model == "task" and len(placement.parsed(spec.placement)["processor"]) > 1:
        return "parallelism_model 'task' has one TaskManager, which is on one node: use 'data', or name one node"
    if spec.transport == "in_engine" and spec.delivery == "exactly_once":
        return "exactly_once is a promise of the Kafka sink, which transport 'in_engine' has not: use 'at_least_once'"
    return None


def execution(spec: RunSpec) -> str:
    """ "thread" or "process": what `auto` stands for."""
    if spec.execution == "auto":
        return "process" if _needs_process(spec) else "thread"
    return spec.execution


def run(job: Job, stop: threading.Event, ready: Callable[[], None]) -> None:
    """Move events until `stop` is set; a CrayfishError tells Flink's root cause."""
    from crayfish.processors.flink.cluster import Cluster

    with Cluster(job) as cluster:
        cluster.submit()
        wait_until(
            lambda: stop.is_set() or cluster.all_running(),
            job.spec.ready_timeout_s,
            lambda: CrayfishError(
                f"flink: not all {job.spec.parallelism} instances ran within {job.spec.ready_timeout_s:g} s:"
                f" {cluster.tasks()}; see the log, or raise run.ready_timeout_s"
            ),
            cluster.check,
            STARTING_S,
        )
        if not stop.is_set():
            ready()
        while not stop.wait(WATCH_S):
            cluster.check()
        cluster.cancel()


def join(job: Job, stop: threading.Event, ready: Callable[[], None]) -> None:
    """The same of a node that has TaskManagers alone."""
    from crayfish.processors.flink.cluster import Cluster

    cluster = Cluster(job)
    cluster.join()
    try:
        ready()
        while not stop.wait(WATCH_S):
            cluster.check_workers()
    finally:
        cluster.kill_workers()


def withdraw(job: Job) -> None:
    """Cancel the job at the given address, if it still runs."""
    from crayfish.processors.flink.cluster import ask

    for each in ask(str(job.processor_address), "/jobs/overview")["jobs"]:
        if each["name"] == job.group and each["state"] in ("CREATED", "RUNNING", "RESTARTING"):
            ask(str(job.processor_address), f"/jobs/{each['jid']}?mode=cancel", "PATCH")


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
    withdraw=withdraw,
    spreads=True,
    join=join,
    jars=("flink",),
    java={"kafka": (BATCHING,), "in_engine": (BATCHING, "flink/FlinkInEngine.java")},
    java_jars=("flink_api",),
    original="f",
    memory=5 * GIB // 4,  # the JobManager, in the client's JVM, and its Python
    instance_memory=GIB,  # a TaskManager: heap of 768 MiB, metaspace, network and managed memory, Python
)
