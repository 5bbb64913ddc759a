"""Warming up a broker, whose code Java compiles only while it is used: the largest error of all if it is measured cold.

`warm` lets events go round a relay inside this process, as fast as they come back, until the broker's CPU time an event
no longer falls.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack

import psutil
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from crayfish.engine import kafka
from crayfish.harness import broker

PARTITIONS = 8
EVENT = bytes(3184)  # as large as an event of the smallest model
IN_FLIGHT = 32  # so many events go round: small requests, as those of a paced load are
BLOCK_S = 2.0
GAIN = 0.05  # a block of less CPU an event than the best one by this share shows that the broker is not warm yet
STEADY_BLOCKS = 3  # so many blocks without a gain
AT_MOST_S = 90.0


def warm(admin: AdminClient, servers: str, pid: int, watch: Callable[[], object], at_most_s: float = AT_MOST_S) -> dict:
    """Warm the broker with this PID up; `watch` is called meanwhile and may raise.

    Returns how long it took (`seconds`), and its CPU us an event in each block (`cpu_us_per_event`).
    """
    began, process = time.monotonic(), psutil.Process(pid)
    topics = [f"crayfish-warm-{uuid.uuid4().hex[:12]}-{name}" for name in ("input", "output")]
    broker.make_topics(admin, topics, PARTITIONS)
    costs: list[float] = []
    with ExitStack() as stack:
        stack.callback(broker.remove_topics, admin, topics)
        loop = stack.enter_context(Loop(servers, *topics))
        while not steady(costs) and time.monotonic() - began < at_most_s:
            times, events = process.cpu_times(), loop.events
            until = time.monotonic() + BLOCK_S
            while time.monotonic() < until:
                watch()
                time.sleep(0.1)
            after = process.cpu_times()
            if loop.events > events:
                seconds = after.user + after.system - times.user - times.system
                costs.append(round(1e6 * seconds / (loop.events - events), 1))
    return {"seconds": round(time.monotonic() - began, 1), "cpu_us_per_event": costs}


def steady(costs: list[float]) -> bool:
    """Whether the last STEADY_BLOCKS costs, of blocks in their order, are no less than the best one before, by GAIN."""
    before, last = costs[:-STEADY_BLOCKS], costs[-STEADY_BLOCKS:]
    return bool(before) and min(last) >= (1 - GAIN) * min(before)


class Loop:
    """Threads that pass events on from topic to topic, round and round; `events` counts the rounds."""

    def __init__(self, servers: str, first: str, second: str):
        self._servers, self._topics, self.events = servers, (first, second), 0
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._pass_on, args=pair) for pair in ((first, second), (second, first))
        ]

    def __enter__(self) -> Loop:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _pass_on(self, source: str, target: str) -> None:
        common = {"bootstrap.servers": self._servers, **kafka.LIBRDKAFKA_CLIENT}
        settings = {"group.id": source, "enable.auto.commit": False, "fetch.queue.backoff.ms": 1}
        consumer, producer = Consumer({**common, **settings}), Producer({**common, "linger.ms": 0})
        consumer.assign([TopicPartition(source, number, 0) for number in range(PARTITIONS)])
        try:
            if source == self._topics[0]:
                for number in range(IN_FLIGHT):
                    producer.produce(source, EVENT, partition=number % PARTITIONS)
            while not self._stop.is_set():
                for message in consumer.consume(IN_FLIGHT, 0.1):
                    if message.error() is None:
                        producer.produce(target, message.value())
                        self.events += source == self._topics[0]
                producer.poll(0)
        finally:
            producer.flush(5)
            consumer.close()
