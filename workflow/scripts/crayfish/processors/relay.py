"""Relay: a plain consume-and-produce loop with no engine and no scoring, the floor of what is measured.

Its answers are those of the scorer noop, made without decoding the event. What a run of it costs, and how long its
events take, is the measuring system's own: broker, generator and sink.

Delivery     at_least_once: offsets are committed every commit_interval_ms, only after the broker acknowledged the
             predictions for all that they cover.
Parallelism  N processes, which this one, or one on each node, starts, watches and stops; each owns every Nth partition
             (assigned: no rebalances). Ready: each has its partitions.
Buffers      What the consumer has fetched, at most 64 MiB; at most 512 events are handed on at once, and nothing waits
             for them to be as many. Predictions are sent after linger_ms.
"""

from __future__ import annotations

import argparse
import functools
import gc
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from crayfish.engine import child, kafka
from crayfish.spec import discovery, errors
from crayfish.spec.contracts import GIB, Processor
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import Job, RunSpec

BATCH_EVENTS = 512
SCORER = "noop"
POLL_S = 0.1  # how soon an idle instance sees that it is to stop
STARTING_S, WATCH_S = 0.02, 0.2
STOP_DEADLINE_S = kafka.BROKER_DEADLINE_S + 5.0


def refuse(spec: RunSpec) -> str | None:
    """See crayfish.spec.contracts.Processor."""
    if spec.scorer != SCORER:
        return f"it scores nothing: what it measures is the measuring system's own cost; allowed: scorer {SCORER}"
    return None


def run(job: Job, stop: threading.Event, ready: Callable[[], None]) -> None:
    """Move events until `stop` is set."""
    job_file = job.write(Path(job.workdir, "instances.json"))
    flags = {number: Path(job.workdir, f"ready-{number}") for number in job.instances}
    command = [sys.executable, "-m", __name__, "--job", str(job_file)]
    child.watch(
        [child.start([*command, "--instance", str(number), "--flag", str(flag)]) for number, flag in flags.items()],
        stop,
        is_ready=lambda: all(flag.exists() for flag in flags.values()),
        ready=ready,
        ended=lambda place, status, starting: (
            f"relay: instance {job.instances[place]} of {job.spec.parallelism} ended with exit status {status}: what it"
            " said stands above in this log"
        ),
        every_s=(STARTING_S, WATCH_S),
        deadline_s=STOP_DEADLINE_S,
    )


def answering(job: Job) -> Callable[[bytes], bytes]:
    """The function that makes the prediction of an event; MalformedEvent for what is none."""
    from numpy import float32, full, ndarray

    from crayfish.spec.events import codec_of

    codec, answer = codec_of(job), discovery.scorer(SCORER).answer

    @functools.cache
    def outputs(points: int) -> ndarray:
        return full((points, job.outputs), answer, float32)

    return lambda event: codec.encode_prediction(event, outputs(codec.points(event)))


def run_instance(job: Job, number: int, stop: threading.Event, ready: Callable[[], None]) -> None:
    """Every Nth partition, until `stop` is set; CrayfishError if the broker is gone."""
    from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

    failures: list[KafkaError] = []

    def refused(error: KafkaError | None, message: object) -> None:
        if error is not None:
            failures.append(error)

    def settle() -> None:
        """Until all predictions are acknowledged; then commit what they answer."""
        left = producer.flush(kafka.BROKER_DEADLINE_S + 1)
        if failures or left:
            raise CrayfishError(
                f"relay: the broker at {job.bootstrap_servers} did not take {left or len(failures)} predictions"
                f" ({failures[0].str() if failures else 'no answer'}): check that it runs"
            )
        consumed = [each for each in consumer.position(consumer.assignment()) if each.offset >= 0]
        if consumed:
            consumer.commit(offsets=consumed, asynchronous=False)

    common = {**kafka.librdkafka_broker(job), **kafka.LIBRDKAFKA_CLIENT}
    reading = {"group.id": job.group, "enable.auto.commit": False, "auto.offset.reset": "earliest"}
    reading = {**common, **kafka.librdkafka_consumer(job), **reading}
    writing = {**common, **kafka.librdkafka_producer(job), "delivery.report.only.error": True, "on_delivery": refused}
    kafka.record(job, "processor consumer", kafka.librdkafka_effective(reading))
    kafka.record(job, "processor producer", kafka.librdkafka_effective(writing))
    answer, interval_s = answering(job), job.spec.commit_interval_ms / 1000
    consumer, producer = Consumer(reading), Producer(writing)
    produce, topic = producer.produce, job.output_topic
    try:
        share = range(number, job.spec.partitions, job.spec.parallelism)
        consumer.assign([TopicPartition(job.input_topic, partition) for partition in share])
        gc.disable()  # nothing here makes cycles
        ready()
        uncommitted, next_commit = False, time.monotonic() + interval_s
        while not stop.is_set():
            first = consumer.poll(POLL_S)
            for message in [first, *consumer.consume(BATCH_EVENTS - 1, 0)] if first else ():
                if (error := message.error()) is not None:
                    raise KafkaException(error)
                prediction = answer(message.value() or b"")
                while True:
                    try:
                        produce(topic, prediction)
                        break
                    except BufferError:  # until there is room, or a prediction is too old: see `settle`
                        producer.poll(0.01)
                uncommitted = True
            producer.poll(0)
            if failures or (uncommitted and time.monotonic() >= next_commit):
                settle()
                uncommitted, next_commit = False, time.monotonic() + interval_s
        settle()
    except KafkaException as error:
        raise CrayfishError(f"relay: the broker at {job.bootstrap_servers}: {error.args[0].str()}") from error
    finally:
        consumer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, required=True)
    parser.add_argument("--instance", type=int, required=True)
    parser.add_argument("--flag", type=Path, required=True, help="the file that says that it is ready")
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run_instance(Job.read(arguments.job), arguments.instance, stop, arguments.flag.touch)


PROCESSOR = Processor(
    display_name="Relay",
    color="#666666",
    line=(0, (1, 3)),
    run=run,
    deliveries=("at_least_once",),
    refuse=refuse,
    spreads=True,
    memory=GIB // 2,
    instance_memory=GIB // 8,
    floor=True,
)


if __name__ == "__main__":
    errors.main(main)
