"""A plain Kafka relay: consumes every message of the input topic and produces the same bytes to the output topic.

What any stream processor is compared with. `python relay.py --job FILE --events N`; reports, of the last three quarters
of the N messages, how many, in how many seconds, for how much user + system CPU of this process.
"""

import argparse
import os
import time
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from crayfish.engine import child
from crayfish.spec import errors
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import Job

STALL_S = 30.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, required=True)
    parser.add_argument("--events", type=int, required=True)
    arguments = parser.parse_args()
    report = child.reporter()
    job = Job.read(arguments.job)
    common = {"bootstrap.servers": job.bootstrap_servers, "log_level": 3}
    consumer = Consumer({**common, "group.id": job.group, "enable.auto.commit": False})
    consumer.assign([TopicPartition(job.input_topic, number, 0) for number in range(job.spec.partitions)])
    producer = Producer({**common, "linger.ms": 5, "queue.buffering.max.messages": 1_000_000})
    done, start, last = 0, None, time.monotonic()
    while done < arguments.events:
        messages = consumer.consume(1000, 0.1)
        for message in messages:
            while True:
                try:
                    producer.produce(job.output_topic, message.value())
                    break
                except BufferError:
                    producer.poll(0.01)
        producer.poll(0)
        done += len(messages)
        now = time.monotonic()
        if messages:
            last = now
        elif now - last > STALL_S:
            raise CrayfishError(f"relay: no message for {STALL_S:g} s after {done} of {arguments.events}")
        if start is None and done >= arguments.events // 4:
            start = (done, now, sum(os.times()[:2]))
    producer.flush()
    first, began, cpu = start
    report(event="done", events=done - first, seconds=time.monotonic() - began, cpu_s=sum(os.times()[:2]) - cpu)


if __name__ == "__main__":
    errors.main(main)
