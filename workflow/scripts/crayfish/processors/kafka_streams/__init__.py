"""Kafka Streams: its own Java library in this process through JPype; input topic -> batches -> output topic.

Delivery     at_least_once, or exactly_once (exactly_once_v2: one transaction per commit). It commits every
             commit_interval_ms, and never before the broker has acknowledged the predictions for all that this covers.
Parallelism  N instances of one stream thread each: this process if N is 1, else N processes that this one starts,
             watches and stops, as threads would share one Python. Ready: each runs and has its share of the partitions.
Buffers      What a poll handed over, at most 1000 records or 4 MiB. Batches of at most 512 records or 4 MiB cross into
             Python (of async_calls records if that is more). A batch leaves when its partition's part of the poll is
             done: no timer. The producer sends after linger_ms. With async_calls, fetch_partition_bytes is by default
             as much as the events of a partition whose requests may be in flight take, if that is more. With
             engine_batch_max all partitions of an instance share one batch of so many records, or of what has come
             engine_batch_wait_ms after the first (0: of what the polls have handed over); a commit flushes it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from crayfish.engine import child
from crayfish.spec.contracts import GIB, Processor

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from crayfish.spec.run_spec import Job

INSTANCE = f"{__name__}.instance"  # a module that is a program
STARTING_S, WATCH_S = 0.02, 0.2
CLOSE_DEADLINE_S = 10.0
JVM_OPTIONS = (
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.streams.StreamsConfig=error",  # it warns of Kafka 5.0's defaults
)


def run(job: Job, stop: threading.Event, ready: Callable[[], None]) -> None:
    """Move events until `stop` is set."""
    if job.spec.parallelism == 1:
        from crayfish.processors.kafka_streams.instance import run_instance

        run_instance(job, 0, stop, ready)
    else:
        run_instances(job, stop, ready)


def run_instances(job: Job, stop: threading.Event, ready: Callable[[], None]) -> None:
    """N processes, or on each of several nodes its share, each one instance; the end of any of them ends all, with a
    CrayfishError."""
    job_file = job.write(Path(job.workdir, "instances.json"))
    flags = {number: Path(job.workdir, f"ready-{number}") for number in job.instances}
    for flag in flags.values():
        flag.unlink(missing_ok=True)
    command = [sys.executable, "-m", INSTANCE, "--job", str(job_file)]
    child.watch(
        [child.start([*command, "--instance", str(number), "--flag", str(flag)]) for number, flag in flags.items()],
        stop,
        is_ready=lambda: all(flag.exists() for flag in flags.values()),
        ready=ready,
        ended=lambda place, status, starting: (
            f"kafka_streams: instance {job.instances[place]} of {job.spec.parallelism} ended with exit status {status}:"
            " what it said stands above in this log"
        ),
        every_s=(STARTING_S, WATCH_S),
        deadline_s=CLOSE_DEADLINE_S + 2,
    )


PROCESSOR = Processor(
    display_name="Kafka Streams",
    color="#D55E00",
    line=(0, (5, 1.5)),
    run=run,
    deliveries=("at_least_once", "exactly_once"),
    asynchronous=True,
    spreads=True,
    jars=("kafka_streams",),
    java={"kafka": ("kafka_streams/KafkaStreamsBatching.java",)},
    jvm_options=JVM_OPTIONS,
    original="k",
    memory=GIB // 4,
    instance_memory=3 * GIB // 4,  # a process of its own: what its JVM's heap of at most 1 GiB grows to, and Python
)
