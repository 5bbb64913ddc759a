"""Ray: actors that consume, score and produce in batches, on a Ray of this process's own.

Delivery     at_least_once: offsets are committed every commit_interval_ms, only after the broker acknowledged the
             predictions for all that they cover. Started again with the same group, Ray goes on from the committed
             offsets; kill -9 loses nothing, and repeats what came after the last commit.
Parallelism  Each of N instances owns every Nth partition (assigned: no rebalances). fused (auto): an instance is one
             actor. pipeline: three actors, source -> scoring -> sink, as the original is built, but with one call per
             batch. Ready: all actors have loaded and know their offsets.
Buffers      What the consumer has fetched, at most 64 MiB. A batch is what lies there, at most 512 events or 4 MiB (or
             async_calls events if that is more); nothing waits for it to fill. pipeline: an instance has at most 4
             batches in flight. Predictions are sent after linger_ms. With engine_batch_max a batch is so many events of
             all its partitions, or what has come engine_batch_wait_ms after the first; a commit waits until it is
             scored. The wait that is told ends when the batch is handed to the scorer, in a pipeline to its actor.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from crayfish.engine import batches, kafka, ray_node
from crayfish.engine.kafka import BROKER_DEADLINE_S
from crayfish.engine.scoring import ScoringOperator, events_at_once
from crayfish.spec.contracts import GIB, Processor
from crayfish.spec.errors import CrayfishError

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import Consumer, KafkaError
    from ray import ObjectRef
    from ray.actor import ActorHandle

    from crayfish.spec.run_spec import Job

BATCH_EVENTS, BATCH_BYTES = 512, 4 * 1024 * 1024
CALLS = 4  # batches in flight of an instance of the pipeline
POLL_S = 0.1  # how soon an idle source sees that it is to stop or to commit
STOP_DEADLINE_S = 8.0
WATCH_S = 0.1


def run(job: Job, stop: threading.Event, ready: Callable[[], None]) -> None:
    """Move events until `stop` is set."""
    count = job.spec.parallelism
    workers = 3 * count if job.spec.execution == "pipeline" else count
    if job.processor_address:
        node = ray_node.joined(job)
    else:
        head = (job.head, job.secret) if job.head and job.secret else None
        node = ray_node.started(Path(job.workdir), workers, job.spec.ready_timeout_s, head, job.members)
    with node as check:
        from ray.exceptions import RayError

        try:
            _drive(job, stop, ready, check)
        except RayError as error:
            raise CrayfishError(f"ray: {ray_node.reason(error)}") from error


def _drive(job: Job, stop: threading.Event, ready: Callable[[], None], check: Callable[[], None]) -> None:
    """Start the actors and watch them until `stop`; RayError is what an actor failed with."""
    import ray

    spread = {"scheduling_strategy": "SPREAD"} if job.processor_address or job.head else {}

    def actor(kind: type, *arguments: object, threads: int = 1) -> ActorHandle:
        return ray.remote(kind).options(num_cpus=0, max_concurrency=threads, **spread).remote(*arguments)

    def downstream() -> Fused | Pipeline:
        return Pipeline(actor(Scoring, job), actor(Sink, job)) if job.spec.execution == "pipeline" else Fused(job)

    sources = [actor(Source, job, number, downstream(), threads=3) for number in range(job.spec.parallelism)]
    runs = [source.run.remote() for source in sources]
    starting = [source.await_ready.remote() for source in sources]
    while not stop.is_set():
        ray.get(ray.wait(runs, timeout=WATCH_S)[0])
        check()
        if starting:
            starting = ray.wait(starting, num_returns=len(starting), timeout=0)[1]
            if not starting:
                ready()
    for source in sources:
        source.stop.remote()
    ended, running = ray.wait(runs, num_returns=len(runs), timeout=STOP_DEADLINE_S)
    ray.get(ended)
    if running:
        raise CrayfishError(f"ray: {len(running)} of {len(runs)} sources did not stop within {STOP_DEADLINE_S:g} s")


# --- what the actors do ----------------------------------------------------------------------------------------------


def _client(job: Job, on_error: Callable[[KafkaError], None]) -> dict[str, object]:
    """What consumer and producer share."""
    return {
        **kafka.LIBRDKAFKA_CLIENT,
        **kafka.librdkafka_broker(job),
        "error_cb": on_error,
    }


class Source:
    """Consumes its share of the partitions and hands batches downstream. An actor of three threads."""

    def __init__(self, job: Job, number: int, downstream: Fused | Pipeline):
        self._job, self._downstream = job, downstream
        self._share = range(number, job.spec.partitions, job.spec.parallelism)
        self._most = job.spec.engine_batch_max or events_at_once(job, BATCH_EVENTS, BATCH_BYTES)
        self._ready, self._stop = threading.Event(), threading.Event()
        self._doubt = False  # whether librdkafka has lost the broker since it was last asked

    def await_ready(self) -> None:
        self._ready.wait()

    def stop(self) -> None:
        self._stop.set()

    def run(self) -> None:
        """Move events until stop(); CrayfishError if the broker is gone or scoring fails."""
        from confluent_kafka import Consumer, KafkaException

        settings = {
            **_client(self._job, self._on_error),
            **kafka.librdkafka_consumer(self._job),
            "group.id": self._job.group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,  # _move() says itself what is committed
            "auto.offset.reset": "earliest",
        }
        kafka.record(self._job, "processor consumer", kafka.librdkafka_effective(settings))
        consumer = Consumer(settings)
        try:
            with self._downstream as downstream:
                consumer.assign(self._start_of(consumer))
                self._ready.set()
                self._move(consumer, downstream)
        except KafkaException as error:
            raise CrayfishError(f"the broker at {self._job.bootstrap_servers}: {error.args[0].str()}") from error
        finally:
            consumer.close()

    def _on_error(self, error: KafkaError) -> None:
        from confluent_kafka import KafkaError

        self._doubt |= error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT)

    def _start_of(self, consumer: Consumer) -> list:
        """The share with its committed offsets; the start of what was never committed."""
        from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

        self._ask(consumer)
        share = [TopicPartition(self._job.input_topic, partition) for partition in self._share]
        moving = (
            KafkaError.NOT_COORDINATOR,
            KafkaError.COORDINATOR_NOT_AVAILABLE,
            KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        )
        deadline = time.monotonic() + BROKER_DEADLINE_S
        while True:
            try:
                committed = consumer.committed(share, timeout=BROKER_DEADLINE_S)
                for partition in committed:
                    if partition.error:
                        raise KafkaException(partition.error)
                break
            except KafkaException as error:  # a broker's first groups: it names a coordinator that is not one yet
                if error.args[0].code() not in moving or time.monotonic() >= deadline or self._stop.wait(POLL_S):
                    raise
        for partition in committed:
            if partition.offset < 0:
                partition.offset = OFFSET_BEGINNING
        return committed

    def _ask(self, consumer: Consumer) -> None:
        """CrayfishError unless the broker answers in time and has the topics."""
        from confluent_kafka import KafkaException

        address = self._job.bootstrap_servers
        for name in (self._job.input_topic, self._job.output_topic):
            try:
                topic = consumer.list_topics(name, timeout=BROKER_DEADLINE_S).topics[name]
            except KafkaException as error:
                raise CrayfishError(
                    f"the broker at {address} does not answer, asked for {BROKER_DEADLINE_S:g} s"
                    f" ({error.args[0].str()}): check its address and that it runs"
                ) from error
            if topic.error:
                raise CrayfishError(f"the broker at {address} does not offer the topic {name}: {topic.error.str()}")
        self._doubt = False

    def _move(self, consumer: Consumer, downstream: Fused | Pipeline) -> None:
        from confluent_kafka import KafkaException

        interval_s, waits_ms = self._job.spec.commit_interval_ms / 1000, batches.wait_ms(self._job.spec)
        uncommitted, next_commit = False, time.monotonic() + interval_s
        while not self._stop.is_set():
            first = consumer.poll(POLL_S)
            if first is not None:
                began_ns = time.monotonic_ns()
                messages = batches.gather(consumer, first, self._most, waits_ms, self._stop.is_set, POLL_S)
                for message in messages:
                    if message.error() is not None:
                        raise KafkaException(message.error())
                events = [message.value() or b"" for message in messages]
                downstream.forward(events, (time.monotonic_ns() - began_ns) // 1000)
                uncommitted = True
            if time.monotonic() >= next_commit:
                downstream.settle()
                if uncommitted:
                    consumer.commit(offsets=self._consumed(consumer), asynchronous=True)
                uncommitted, next_commit = False, time.monotonic() + interval_s
            if self._doubt:
                self._ask(consumer)
        downstream.settle()
        if uncommitted:
            consumer.commit(offsets=self._consumed(consumer), asynchronous=False)

    def _consumed(self, consumer: Consumer) -> list:
        """Up to where each partition is consumed now: without offsets an asynchronous commit looks this up later, in
        librdkafka's own thread, and covers what was consumed in the meantime and is not answered yet.
        """
        return [partition for partition in consumer.position(consumer.assignment()) if partition.offset >= 0]


class Scoring:
    """Scores batches. An actor of the pipeline."""

    def __init__(self, job: Job):
        self._operator = ScoringOperator(job)

    def load(self) -> None:
        self._operator.__enter__()

    def score(self, events: list[bytes], waited_us: int) -> list[bytes]:
        return self._operator.score_events(events, waited_us)

    def ping(self) -> None:
        """Answers that the actor is alive."""


class Sink:
    """Produces predictions. An actor of the pipeline, and a part of a fused instance."""

    def __init__(self, job: Job):
        self._job = job
        self._failure: KafkaError | None = None

    def load(self) -> None:
        from confluent_kafka import Producer

        settings = {
            **_client(self._job, lambda error: None),
            **kafka.librdkafka_producer(self._job),
            "delivery.report.only.error": True,  # what is acknowledged costs no call of Python
            "on_delivery": self._on_failure,
        }
        kafka.record(self._job, "processor producer", kafka.librdkafka_effective(settings))
        self._producer = Producer(settings)

    def _on_failure(self, error: KafkaError | None, message: object) -> None:
        self._failure = self._failure or error

    def produce(self, predictions: list[bytes]) -> None:
        """Hands them to the producer; waits only where its buffer is full."""
        produce, topic = self._producer.produce, self._job.output_topic
        for prediction in predictions:
            try:
                produce(topic, prediction)
            except BufferError:
                self.flush()
                produce(topic, prediction)
        self._producer.poll(0)
        self._check()

    def flush(self) -> None:
        """Until all predictions are acknowledged."""
        left = self._producer.flush(BROKER_DEADLINE_S + self._job.spec.linger_ms / 1000 + 1)
        self._check()
        if left:
            raise CrayfishError(self._lost(f"{left} predictions are not acknowledged"))

    def _check(self) -> None:
        if self._failure is not None:
            raise CrayfishError(self._lost(self._failure.str()))

    def _lost(self, why: str) -> str:
        return (
            f"the broker at {self._job.bootstrap_servers} took no predictions for {BROKER_DEADLINE_S:g} s ({why}):"
            " check that it runs"
        )


class Fused:
    """What is downstream of a source: scoring and sink in its own process."""

    def __init__(self, job: Job):
        self._job = job

    def __enter__(self) -> Fused:
        self._operator, self._sink = ScoringOperator(self._job), Sink(self._job)
        self._sink.load()
        self._operator.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._operator.__exit__(*error)

    def forward(self, events: list[bytes], waited_us: int) -> None:
        """Score and produce a batch, whose first event has waited so long."""
        self._sink.produce(self._operator.score_events(events, waited_us))

    def settle(self) -> None:
        """Until all predictions are acknowledged."""
        self._sink.flush()


class Pipeline:
    """What is downstream of a source: an actor that scores and one that produces, to which it hands its predictions."""

    def __init__(self, scoring: ActorHandle, sink: ActorHandle):
        self._scoring, self._sink = scoring, sink
        self._calls: deque[ObjectRef] = deque()

    def __enter__(self) -> Pipeline:
        import ray

        self._get = ray.get
        self._get([self._scoring.load.remote(), self._sink.load.remote()])
        return self

    def __exit__(self, *error: object) -> None:
        pass  # the actors end with the processor

    def forward(self, events: list[bytes], waited_us: int) -> None:
        """The same by the actors; waits only while CALLS batches are in flight."""
        if len(self._calls) == CALLS:
            self._get(self._calls.popleft())
        self._calls.append(self._sink.produce.remote(self._scoring.score.remote(events, waited_us)))

    def settle(self) -> None:
        """Until all predictions are acknowledged; also how a dead actor is noticed when no events come."""
        self._get([*self._calls, self._scoring.ping.remote()])
        self._calls.clear()
        self._get(self._sink.flush.remote())


PROCESSOR = Processor(
    display_name="Ray",
    color="#CC79A7",
    line=(0, (1, 1.2)),
    run=run,
    deliveries=("at_least_once",),
    executions=("fused", "pipeline"),
    asynchronous=True,
    address="host:port of its head node; this machine is one of its nodes",
    spreads=True,
    join=ray_node.join,
    original="r",
    memory=3 * GIB // 2,  # its daemons and the object store
    instance_memory=GIB // 2,  # an actor, and of a pipeline three, of which one scores
)
