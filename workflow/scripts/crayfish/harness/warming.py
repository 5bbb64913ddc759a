"""Warming up a broker, whose code Java compiles only while it is used: the largest error of all if it is measured cold.

`warm` lets events go round a relay inside this process until the broker's CPU time an event no longer falls and its
compilers are idle; in several phases, each with new topics and clients, as each run has its own: as fast as they come
back, and with pauses, as in a paced load. What a broker does for the first time when new clients come makes it throw
compiled code away: after a single phase the next run kept its compilers busy for 25 s.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from crayfish.engine import kafka
from crayfish.harness import broker

PARTITIONS = 8
EVENT = bytes(3184)  # as large as an event of the smallest model
IN_FLIGHT = 32  # so many events go round: small requests, as those of a paced load are
PAUSES_S = (0.0, 0.002, 0.0, 0.002)  # of each phase, before events are passed on
COMPILERS = ("C1 CompilerThre", "C2 CompilerThre")  # as the kernel has the names of the JVM's threads
BLOCK_S = 2.0
GAIN = 0.05  # a block of less CPU an event than the best one by this share shows that the broker is not warm yet
STEADY_BLOCKS = 2  # so many blocks without a gain
IDLE = 0.1  # cores: compilers that take less in a block are done
COMMIT_S = 1.0


def warm(admin: AdminClient, servers: str, pid: int, watch: Callable[[], object], at_most_s: float) -> dict:
    """Warm the broker with this PID up, for at_most_s; `watch` is called meanwhile and may raise.

    Returns how long it took (`seconds`), and of each phase its blocks: the broker's CPU us an event
    (`cpu_us_per_event`) and the cores that its compilers took (`compilers_cores`).
    """
    began, phases = time.monotonic(), list[dict[str, list[float]]]()
    for number, pause_s in enumerate(PAUSES_S if at_most_s else (), start=1):
        first, second = topics = [f"crayfish-warm-{uuid.uuid4().hex[:12]}-{name}" for name in ("input", "output")]
        broker.make_topics(admin, topics, PARTITIONS)
        with ExitStack() as stack:
            stack.callback(broker.remove_topics, admin, topics)
            loop = stack.enter_context(Loop(servers, first, second, pause_s))
            phases.append(_phase(loop, pid, watch, began + number * at_most_s / len(PAUSES_S)))
    return {"seconds": round(time.monotonic() - began, 1), "phases": phases}


def _phase(loop: Loop, pid: int, watch: Callable[[], object], until: float) -> dict[str, list[float]]:
    """Wait until the broker is warm for this loop, or that time has come; its blocks."""
    process, costs, compiling = psutil.Process(pid), list[float](), list[float]()
    while time.monotonic() < until and not (steady(costs) and compiling[-1] < IDLE):
        times, events, compiled = process.cpu_times(), loop.events, compilers_s(pid)
        block_ends = time.monotonic() + BLOCK_S
        while time.monotonic() < block_ends:
            watch()
            time.sleep(0.1)
        after = process.cpu_times()
        if loop.events > events:
            seconds = after.user + after.system - times.user - times.system
            costs.append(round(1e6 * seconds / (loop.events - events), 1))
            compiling.append(round((compilers_s(pid) - compiled) / BLOCK_S, 3))
    return {"cpu_us_per_event": costs, "compilers_cores": compiling}


def steady(costs: list[float]) -> bool:
    """Whether the last STEADY_BLOCKS costs, of blocks in their order, are no less than the best one before, by GAIN."""
    before, last = costs[:-STEADY_BLOCKS], costs[-STEADY_BLOCKS:]
    return bool(before) and min(last) >= (1 - GAIN) * min(before)


def compilers_s(pid: int) -> float:
    """The CPU time that the compilers of a JVM have taken, s."""
    ticks = 0
    for folder in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that has just ended
            name, _, fields = (folder / "stat").read_text().partition("(")[2].rpartition(")")
            if name in COMPILERS:
                ticks += sum(map(int, fields.split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


class Loop:
    """Threads that pass events on from topic to topic, round and round; `events` counts the rounds. Its producers are
    idempotent, as the generator's is: a broker has more to check of these."""

    def __init__(self, servers: str, first: str, second: str, pause_s: float):
        """pause_s: of each thread, before it passes on what has come."""
        self._servers, self._topics, self._pause_s, self.events = servers, (first, second), pause_s, 0
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
        settings["isolation.level"] = ("read_uncommitted", "read_committed")[source == self._topics[1]]  # as the sink
        sending = {"linger.ms": 0, "enable.idempotence": True}
        consumer, producer = Consumer({**common, **settings}), Producer({**common, **sending})
        consumer.assign([TopicPartition(source, number, 0) for number in range(PARTITIONS)])
        try:
            if source == self._topics[0]:
                for number in range(IN_FLIGHT):
                    producer.produce(source, EVENT, partition=number % PARTITIONS)
            next_commit = time.monotonic() + COMMIT_S
            while not self._stop.is_set():
                if self._pause_s:
                    self._stop.wait(self._pause_s)
                first = consumer.poll(0.1)
                for message in [first, *consumer.consume(IN_FLIGHT, 0)] if first else ():
                    if message.error() is None:
                        producer.produce(target, message.value())
                        self.events += source == self._topics[0]
                producer.poll(0)
                if first and time.monotonic() > next_commit:
                    consumer.commit(asynchronous=True)
                    next_commit = time.monotonic() + COMMIT_S
        finally:
            producer.flush(5)
            consumer.close()
