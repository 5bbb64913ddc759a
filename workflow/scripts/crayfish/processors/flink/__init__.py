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

import time
from typing import TYPE_CHECKING

from crayfish.spec import discovery
from crayfish.spec.contracts import Processor
from crayfish.spec.errors import CrayfishError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from crayfish.spec.run_spec import Job, RunSpec

STARTING_S, WATCH_S = 0.05, 0.25


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


def run(job: Job, stop: threading.Event, ready: Callable[[], None]) -> None:
    """Move events until `stop` is set; a CrayfishError carries Flink's root cause."""
    from crayfish.processors.flink.cluster import Cluster

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
            time.sleep(STARTING_S)
        if not stop.is_set():
            ready()
        while not stop.wait(WATCH_S):
            cluster.check()
        cluster.cancel()


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
    java={"in_engine": "flink/FlinkInEngine.java"},
    java_jars=("flink_api",),
    original="f",
)
