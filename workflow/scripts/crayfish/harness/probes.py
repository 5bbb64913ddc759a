"""Proof that the whole path works: one probe event to every partition, until all their predictions have returned.

A probe is a real event with a flag; it counts nowhere. Its sequence is its partition's number, and its images are those
of an event with that sequence.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition

from crayfish.engine import kafka
from crayfish.harness.checker import Checker
from crayfish.spec.errors import CrayfishError
from crayfish.spec.events import codec_of
from crayfish.spec.run_spec import MAX_MESSAGE_BYTES, Job
from crayfish.spec.waiting import wait_until

SEND_DEADLINE_S = 30.0


def send(job: Job, pool: np.ndarray) -> None:
    """One probe to every partition of the input topic; returns when the broker has them."""
    codec = codec_of(job)
    batch_size = job.spec.segments[0].batch_size
    producer = Producer({**kafka.librdkafka_broker(job), "message.max.bytes": MAX_MESSAGE_BYTES, "log_level": 3})
    failures: list[str] = []

    def delivered(error, message) -> None:
        if error is not None:
            failures.append(error.str())

    for partition in range(job.spec.partitions):
        images = np.arange(partition * batch_size, (partition + 1) * batch_size) % len(pool)
        value = codec.stamp(codec.encode_body(pool[images]), batch_size, partition, time.time_ns(), probe=True)
        producer.produce(job.input_topic, value, partition=partition, on_delivery=delivered)
    if producer.flush(SEND_DEADLINE_S) or failures:
        raise CrayfishError(f"probes: the broker did not take them: {', '.join(failures) or 'no answer'}")


def await_answers(job: Job, checker: Checker, deadline_s: float, watch: Callable[[], object]) -> None:
    """Wait until every probe is answered, rightly; `watch` is called meanwhile and may raise."""
    consumer = Consumer(
        {
            **kafka.librdkafka_broker(job),
            "group.id": f"{job.group}-probes",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "receive.message.max.bytes": 2 * MAX_MESSAGE_BYTES,
            "log_level": 3,
        }
    )
    missing = set(range(job.spec.partitions))

    def all_answered() -> bool:
        messages = [message for message in consumer.consume(1000, 0.05) if message.error() is None]
        if values := [value for message in messages if (value := message.value()) is not None]:
            sequences, probes, correct, _ = checker.check(values)
            refuse_wrong(sequences[probes & ~correct])
            missing.difference_update(sequences[probes].tolist())
        return not missing

    def error() -> CrayfishError:
        return CrayfishError(
            f"probes: no prediction for partitions {sorted(missing)} within {deadline_s:g} s;"
            f" see the log of {job.spec.processor}"
        )

    try:
        consumer.assign([TopicPartition(job.output_topic, number, 0) for number in range(job.spec.partitions)])
        wait_until(all_answered, deadline_s, error, watch, pause_s=0)
    finally:
        consumer.close()


def refuse_wrong(sequences: np.ndarray) -> None:
    """CrayfishError unless there are none: sequences, int64[n], of the probes whose predictions are wrong."""
    if sequences.size:
        raise CrayfishError(f"probes: the predictions of probes {sorted(sequences.tolist())} are wrong")
