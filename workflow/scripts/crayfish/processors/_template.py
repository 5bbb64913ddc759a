"""TEMPLATE: a loop around a Kafka client; input topic -> batches -> output topic.

Delivery     at_least_once: offsets are committed every commit_interval_ms, after the predictions for all that they
             cover are acknowledged.
Parallelism  N threads, each with its own share of the partitions. Ready: each has loaded the model.
Buffers      at most BATCH_EVENTS events, which are scored before the next are polled; predictions are sent after
             linger_ms.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from crayfish.engine import batches, kafka
from crayfish.engine.scoring import ScoringOperator
from crayfish.spec.contracts import Processor
from crayfish.spec.errors import CrayfishError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from confluent_kafka import Consumer, Producer

    from crayfish.spec.run_spec import Job

BATCH_EVENTS = 500
POLL_S = 0.1


def run(job: Job, stop: threading.Event, ready: Callable[[], None]) -> None:
    """Move events until `stop` is set: see crayfish.spec.contracts.Processor."""
    loaded: list[int] = []
    with ThreadPoolExecutor(len(job.instances)) as pool:
        instances = [pool.submit(run_instance, job, number, stop, loaded.append) for number in job.instances]
        starting = True
        while not stop.wait(POLL_S) and not any(instance.done() for instance in instances):
            if starting and len(loaded) == len(instances):
                ready()
                starting = False
        stop.set()  # the end of one ends all
        for instance in instances:
            instance.result()


def run_instance(job: Job, number: int, stop: threading.Event, loaded: Callable[[int], None]) -> None:
    """Every N-th partition, until `stop` is set; CrayfishError if the broker is gone or scoring fails."""
    from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

    broker = {**kafka.librdkafka_broker(job), **kafka.LIBRDKAFKA_CLIENT}
    reading = {"group.id": job.group, "enable.auto.commit": False, "auto.offset.reset": "earliest"}
    reads, writes = (
        {**broker, **kafka.librdkafka_consumer(job), **reading},
        {**broker, **kafka.librdkafka_producer(job)},
    )
    kafka.record(job, "processor consumer", kafka.librdkafka_effective(reads))
    kafka.record(job, "processor producer", kafka.librdkafka_effective(writes))
    consumer, producer = Consumer(reads), Producer(writes)
    share = range(number, job.spec.partitions, job.spec.parallelism)
    try:
        with ScoringOperator(job) as operator:
            consumer.assign([TopicPartition(job.input_topic, partition) for partition in share])
            loaded(number)
            interval_s = job.spec.commit_interval_ms / 1000
            uncommitted, next_commit = False, time.monotonic() + interval_s
            while not stop.is_set():
                if uncommitted and time.monotonic() >= next_commit:
                    settle(job, consumer, producer)
                    uncommitted, next_commit = False, time.monotonic() + interval_s
                first = consumer.poll(POLL_S)
                if first is None:
                    continue
                most, began_ns = job.spec.engine_batch_max or BATCH_EVENTS, time.monotonic_ns()
                messages = batches.gather(consumer, first, most, batches.wait_ms(job.spec), stop.is_set, POLL_S)
                for message in messages:
                    if message.error() is not None:
                        raise KafkaException(message.error())
                events, waited_us = (
                    [message.value() or b"" for message in messages],
                    (time.monotonic_ns() - began_ns) // 1000,
                )
                for prediction in operator.score_events(events, waited_us):
                    producer.produce(job.output_topic, prediction)
                producer.poll(0)
                uncommitted = True
            if uncommitted:
                settle(job, consumer, producer)
    except KafkaException as error:
        raise CrayfishError(f"TEMPLATE: the broker at {job.bootstrap_servers}: {error.args[0].str()}") from error
    finally:
        consumer.close()


def settle(job: Job, consumer: Consumer, producer: Producer) -> None:
    """Wait until all predictions are acknowledged, and commit the offsets that they cover."""
    if left := producer.flush(kafka.BROKER_DEADLINE_S + job.spec.linger_ms / 1000):
        raise CrayfishError(
            f"TEMPLATE: the broker at {job.bootstrap_servers} did not take {left} predictions within"
            f" {kafka.BROKER_DEADLINE_S:g} s: check that it runs"
        )
    consumer.commit(asynchronous=False)


PROCESSOR = Processor(
    display_name="TEMPLATE",
    color="#009E73",
    line=(0, (6, 1, 1, 1)),
    run=run,
    deliveries=("at_least_once",),
    spreads=True,
    asynchronous=True,  # the operator has several events at hand
)
