"""One instance of Kafka Streams: a stream thread in this process. A program, where there are several of them."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from crayfish.engine import batches, jvm, kafka
from crayfish.engine.kafka import BROKER_DEADLINE_MS, BROKER_DEADLINE_S
from crayfish.engine.scoring import ScoringOperator, event_bytes, events_at_once
from crayfish.processors.kafka_streams import CLOSE_DEADLINE_S, STARTING_S, WATCH_S
from crayfish.spec import errors
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import MAX_MESSAGE_BYTES, Job, default

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

GUARANTEES = {"at_least_once": "at_least_once", "exactly_once": "exactly_once_v2"}
POLL_RECORDS = 1000
BATCH_RECORDS, BATCH_BYTES = 512, 4 * 1024 * 1024
BUFFER_BYTES = 1024 * 1024  # of the predictions, at first
EOS_TIMEOUT_MS = 10_000  # of a transaction, Kafka Streams' default
ASK_BROKER_S = 5.0
STREAMS_SETTINGS = ("processing.guarantee", "commit.interval.ms", "num.stream.threads", "poll.ms", "max.task.idle.ms")


def partition_bytes(job: Job) -> int:
    """Room for the events of one partition whose requests are in flight; as JSON an event is up to 4 times as long."""
    return 4 * job.spec.async_calls * event_bytes(job)


def fetched_bytes(job: Job) -> int:
    """Of a partition in a fetch: run.fetch_partition_bytes, and by default no less than async_calls takes."""
    chosen = job.spec.fetch_partition_bytes
    return max(chosen, partition_bytes(job)) if chosen == default("fetch_partition_bytes") else chosen


def bounds(job: Job) -> tuple[int, int, int]:
    """Of a batch: records and bytes at most; and how long it waits, ms, where all partitions share one, else -1."""
    if job.spec.engine_batch_max:  # which the plan has held to one message, as JSON too
        return job.spec.engine_batch_max, MAX_MESSAGE_BYTES, batches.wait_ms(job.spec)
    return max(BATCH_RECORDS, job.spec.async_calls), max(BATCH_BYTES, partition_bytes(job)), -1


def settings(job: Job, instance: int) -> dict[str, object]:
    """The settings of one instance; what is not here is Kafka Streams' default."""
    consumer = {
        **kafka.java_consumer(job),
        # A static member that starts again takes its place back immediately, however it ended.
        "group.instance.id": instance,
        "interceptor.classes": "crayfish.KafkaStreamsBatching$Polled",
        "auto.offset.reset": "earliest",
        # A poll is worked off before a commit or a stop: no more than one batch of large events.
        "max.poll.records": max(events_at_once(job, POLL_RECORDS, BATCH_BYTES), job.spec.engine_batch_max),
        "max.partition.fetch.bytes": fetched_bytes(job),
        "heartbeat.interval.ms": 200,  # how soon a member notices a rebalance
        "session.timeout.ms": 10_000,
    }
    producer = kafka.java_producer(job)
    if job.spec.delivery == "exactly_once":  # whose transactions have to outlast the time between two commits
        producer["transaction.timeout.ms"] = max(EOS_TIMEOUT_MS, 2 * job.spec.commit_interval_ms)
    return {
        **kafka.JAVA_CLIENT,
        "application.id": job.group,
        **kafka.java_broker(job),
        "client.id": f"{job.group}-{instance}",
        "processing.guarantee": GUARANTEES[job.spec.delivery],
        "commit.interval.ms": job.spec.commit_interval_ms,
        "num.stream.threads": 1,
        "state.dir": Path(job.workdir, f"state-{instance}"),
        "task.timeout.ms": BROKER_DEADLINE_MS,
        **kafka.prefixed("main.consumer.", consumer),
        "consumer.default.api.timeout.ms": BROKER_DEADLINE_MS,
        **kafka.prefixed("producer.", producer),
    }


def java_map(values: Mapping[str, object]) -> Any:
    """A java.util.Map with texts as values, which Kafka parses."""
    import jpype

    return jpype.JClass("java.util.HashMap")({key: str(value) for key, value in values.items()})


@contextlib.contextmanager
def open_admin(job: Job) -> Iterator[Any]:
    """Kafka's admin client, whose requests fail after BROKER_DEADLINE_MS."""
    import jpype

    deadline = {"default.api.timeout.ms": BROKER_DEADLINE_MS}
    values = {**kafka.java_broker(job), **kafka.JAVA_CLIENT, **deadline}
    try:
        admin = jpype.JClass("org.apache.kafka.clients.admin.Admin").create(java_map(values))
    except jpype.JException as error:
        raise CrayfishError(
            f"kafka_streams: {job.bootstrap_servers} is no broker's address: {jvm.reason(error)}"
        ) from error
    try:
        yield admin
    finally:
        admin.close(jpype.JClass("java.time.Duration").ZERO)


def check_topics(job: Job, admin: Any, meanwhile: Callable[[], object]) -> None:
    """CrayfishError unless the broker answers in time and has the job's topics; `meanwhile` runs while it is asked."""
    import jpype

    answer = admin.describeTopics([job.input_topic, job.output_topic]).allTopicNames()
    meanwhile()
    try:
        answer.get()
    except jpype.JException as error:
        raise CrayfishError(
            f"kafka_streams: {job.bootstrap_servers} does not offer the topics {job.input_topic} and"
            f" {job.output_topic}: {jvm.reason(error.getCause())}\n"
            "Check its address, that it runs, and that both topics exist."
        ) from error


class BrokerWatch:
    """Kafka Streams waits for a lost broker for ever; this asks for the cluster every ASK_BROKER_S."""

    def __init__(self, admin: Any):
        self._admin = admin
        self._answer = None
        self._next = time.monotonic()

    def problem(self) -> str | None:
        """What an answer failed with, at most BROKER_DEADLINE_MS after its question. Never blocks."""
        if self._answer is None and time.monotonic() >= self._next:
            self._answer = self._admin.describeCluster().clusterId()
        if self._answer is None or not self._answer.isDone():
            return None
        if self._answer.isCompletedExceptionally():
            return f"the broker no longer answers, asked for {BROKER_DEADLINE_S} s: check that it runs"
        self._answer, self._next = None, time.monotonic() + ASK_BROKER_S
        return None


def make_scorer(operator: ScoringOperator) -> Any:
    """Python's side of the border, an object of the Java interface Scorer; its `failure` is what scoring raised."""
    import jpype

    @jpype.JImplements("crayfish.KafkaStreamsBatching$Scorer")
    class Scorer:
        def __init__(self) -> None:
            self.failure: Exception | None = None
            self._allocate(BUFFER_BYTES)

        def _allocate(self, size: int) -> None:
            self._memory = bytearray(size)
            self._buffer = jpype.nio.convertToDirectBuffer(self._memory)

        @jpype.JOverride
        def score(self, events: Any, count: int, waited_us: int) -> Any:
            try:
                unpacked = batches.unpack(memoryview(events), count)
                packed = batches.pack(operator.score_events(unpacked, waited_us))
                if len(packed) > len(self._memory):
                    self._allocate(2 * len(packed))
                memoryview(self._memory)[: len(packed)] = packed
                return self._buffer
            except Exception as error:  # whatever it is, it ends the stream thread, and run_instance reports it
                self.failure = error
                raise

    return Scorer()


def make_streams(job: Job, instance: int, scorer: Any) -> tuple[Any, list[str]]:
    """The KafkaStreams object, not started, and the list that receives what its stream thread dies of."""
    import jpype

    failures: list[str] = []
    response = jpype.JClass(
        "org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler$StreamThreadExceptionResponse"
    )

    @jpype.JImplements("org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler")
    class Handler:
        @jpype.JOverride
        def handle(self, error: Any) -> Any:
            failures.append(f"its stream thread died: {jvm.reason(error)}")
            return response.SHUTDOWN_CLIENT

    batching = jpype.JClass("crayfish.KafkaStreamsBatching")(scorer, *bounds(job))
    properties = jpype.JClass("java.util.Properties")()
    properties.putAll(java_map(settings(job, instance)))
    properties.put(f"main.consumer.{batching.CONFIG}", batching)
    topology = batching.topology(job.input_topic, job.output_topic)
    streams = batching.streams(topology, properties)
    record_clients(job, properties)
    streams.setUncaughtExceptionHandler(Handler())
    return streams, failures


def record_clients(job: Job, properties: Any) -> None:
    """Note for the manifest what Kafka Streams makes of its properties for its clients; instances are alike but for
    their names."""
    import jpype

    streams = jpype.JClass("org.apache.kafka.streams.StreamsConfig")(properties)
    name = str(properties.get("client.id"))
    made = {
        "consumer": streams.getMainConsumerConfigs(job.group, name, 0),
        "producer": streams.getProducerConfigs(name),
    }
    for kind, values in made.items():
        given = {str(each.getKey()): str(each.getValue()) for each in values.entrySet() if each.getValue() is not None}
        kafka.record(job, f"processor {kind}", kafka.java_effective(jpype.JClass, kind, given))
    own = streams.values()
    kafka.record(job, "Kafka Streams", {key: str(own.get(key)) for key in STREAMS_SETTINGS})


def run_instance(job: Job, instance: int, stop: threading.Event, ready: Callable[[], None]) -> None:
    """One stream thread in this process, until `stop` is set; CrayfishError if it dies."""
    jvm.start(job)
    operator = ScoringOperator(job)
    with contextlib.ExitStack() as stack:
        admin = stack.enter_context(open_admin(job))
        check_topics(job, admin, meanwhile=lambda: stack.enter_context(operator))
        scorer = make_scorer(operator)
        streams, failures = make_streams(job, instance, scorer)
        streams.start()
        await_end(job, streams, failures, BrokerWatch(admin), stop, ready)
        close(streams, scorer.failure, failures)


def await_end(
    job: Job, streams: Any, failures: list[str], broker: BrokerWatch, stop: threading.Event, ready: Callable[[], None]
) -> None:
    """Until `stop` is set or something fails; calls ready() once, when the instance has its share of partitions."""
    import jpype

    running = jpype.JClass("org.apache.kafka.streams.KafkaStreams$State").RUNNING
    least, rest = divmod(job.spec.partitions, job.spec.parallelism)
    shares = {least, least + 1} if rest else {least}
    starting = True
    while not failures and not stop.wait(STARTING_S if starting else WATCH_S):
        if starting and streams.state() == running:
            share = sum(thread.activeTasks().size() for thread in streams.metadataForLocalThreads())
            if share in shares:
                ready()
                starting = False
        if problem := broker.problem():
            failures.append(problem)


def close(streams: Any, scoring_failure: Exception | None, failures: list[str]) -> None:
    """Close the stream thread; CrayfishError tells the first of all failures, that of scoring before any other."""
    import jpype

    closed = streams.close(jpype.JClass("java.time.Duration").ofMillis(int(CLOSE_DEADLINE_S * 1000)))
    if not closed:
        failures.append(f"it did not close within {CLOSE_DEADLINE_S:g} s")
    if scoring_failure is not None:
        traceback.print_exception(scoring_failure)
        failures.insert(0, f"scoring failed: {scoring_failure!r}")
    if not closed:
        print(f"error: kafka_streams: {'; '.join(failures)}", file=sys.stderr, flush=True)
        os._exit(1)  # a stream thread that hangs would keep this process alive
    if failures:
        raise CrayfishError(f"kafka_streams: {failures[0]}") from scoring_failure


def main() -> None:
    """One instance of several, as a process."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--job", type=Path, required=True)
    parser.add_argument("--instance", type=int, required=True)
    parser.add_argument("--flag", type=Path, required=True, help="file that is made when the instance is ready")
    options = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run_instance(Job.read(options.job), options.instance, stop, options.flag.touch)


if __name__ == "__main__":
    errors.main(main)
