"""The clocks that a run's times come from: this machine's monotonic and wall clock, and those of parts elsewhere.

Producer and sink read the monotonic clock, and add the run's anchor (wall minus monotonic clock) to it, or on another
node an anchor that makes the run's time of that node's clock. The broker stamps with the wall clock, so a step of that
(the monotonic clock has none) falsifies what is told by append times.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from crayfish.engine import child, secure
from crayfish.spec.errors import CrayfishError
from crayfish.spec.waiting import wait_until

READINGS = 9
PROBES = 40
PROBE_PAUSE_S = 0.0137  # no divisor of a millisecond, so that the broker's truncated times begin anywhere in theirs
PROBE_DEADLINE_S = 10.0
QUESTIONS, BYTES = 200, 8  # to a process on another node, and of each answer
NS_PER_MS = 1_000_000


def anchor() -> int:
    """The wall clock minus the monotonic clock, ns; of several readings the one that took the least time."""
    readings = []
    for _ in range(READINGS):
        before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        readings.append((after - before, wall - (before + after) // 2))
    return min(readings)[1]


def offset(probes: Iterable[tuple[int, int, int]]) -> dict[str, float]:
    """How far a broker's clock is ahead of the run's, from probes: when each was sent, and when the broker's answer was
    there, both ns by the run's clock, and its append time, ms, truncated, by the broker's.

    An event was appended between the two, so each probe bounds the offset from both sides, and all of them together
    bound it best. Returns `offset_ms` and `uncertainty_ms` (it lies that much above or below at most), and `probes`.
    Bounds that contradict each other, as after a step of a clock, give the distance between them as the uncertainty.
    """
    bounds = [(ms * NS_PER_MS - after, (ms + 1) * NS_PER_MS - before) for before, after, ms in probes]
    low, high = _common(bounds)
    return {
        "offset_ms": (low + high) / 2 / NS_PER_MS,
        "uncertainty_ms": (high - low) / 2 / NS_PER_MS,
        "probes": len(bounds),
    }


def _common(bounds: list[tuple[int, int]]) -> tuple[int, int]:
    """What all bounds allow; of such as contradict each other, all that any of them allows."""
    low, high = max(low for low, _ in bounds), min(high for _, high in bounds)
    return (low, high) if low <= high else (min(low for low, _ in bounds), max(high for _, high in bounds))


def merged(found: Iterable[dict[str, float]]) -> dict[str, float] | None:
    """One offset for the whole run, from those before and after it: what each of them allows, and all between them.

    None of none.
    """
    if not (offsets := list(found)):
        return None
    ends = [each["offset_ms"] + sign * each["uncertainty_ms"] for each in offsets for sign in (-1, 1)]
    low, high = min(ends), max(ends)
    return {
        "offset_ms": (low + high) / 2,
        "uncertainty_ms": (high - low) / 2,
        "probes": sum(each["probes"] for each in offsets),
    }


# --- of a process on another node -------------------------------------------------------------------------------------


def answer() -> int:
    """From now on tell this process's monotonic clock to who asks at its node's address; the port."""
    server = socket.create_server((child.HOST, 0), family=child.FAMILY)

    def tell() -> None:
        while True:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
                while connection.recv(1):
                    connection.sendall(time.monotonic_ns().to_bytes(BYTES, "big"))

    threading.Thread(target=tell, daemon=True).start()
    return server.getsockname()[1]


def ask(host: str, port: int, anchor_ns: int) -> tuple[int, int]:
    """Between which two anchors the one lies by which that process's monotonic clock tells the run's time, ns.

    anchor_ns: the run's. CrayfishError where it does not answer.
    """
    bounds = []
    try:
        with socket.create_connection((host, port), PROBE_DEADLINE_S) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            answers = connection.makefile("rb")
            for _ in range(QUESTIONS):
                before = time.monotonic_ns() + anchor_ns
                connection.sendall(b"?")
                told = answers.read(BYTES)
                after = time.monotonic_ns() + anchor_ns
                if len(told) < BYTES:
                    raise OSError("it hung up")
                theirs = int.from_bytes(told, "big")
                bounds.append((before - theirs, after - theirs))
    except OSError as error:
        raise CrayfishError(f"{host}:{port} does not tell its clock: {error}") from error
    return _common(bounds)


def known(bounds: tuple[int, int], anchor_ns: int) -> dict[str, float]:
    """How far a clock that is read with this anchor is ahead of the run's, from `ask`; as `offset` tells it."""
    low, high = bounds
    return {
        "offset_ms": (anchor_ns - (low + high) // 2) / NS_PER_MS,
        "uncertainty_ms": (high - low) / 2 / NS_PER_MS,
        "probes": QUESTIONS,
    }


# --- of a broker ------------------------------------------------------------------------------------------------------


def probe(
    servers: str,
    topic: str,
    anchor_ns: int,
    watch: Callable[[], object],
    client_file: str | None = None,
    partition: int = 0,
) -> dict[str, float]:
    """The offset of the clock of the broker that leads a partition, by events sent to it one at a time.

    The topic is of this use alone, and has LogAppendTime.

    client_file: as crayfish.engine.secure reads it. Raises CrayfishError where the broker does not take one; `watch` is
    called meanwhile and may raise.
    """
    from confluent_kafka import Producer

    settings = {"bootstrap.servers": servers, **secure.librdkafka(client_file), "linger.ms": 0, "log_level": 3}
    producer = Producer({**settings, "socket.nagle.disable": True})
    found: list[tuple[int, int, int]] = []
    for number in range(PROBES + 1):
        answers: list[tuple[object, int, int]] = []

        def delivered(error: object, message: object, answers: list = answers) -> None:
            answers.append((error, time.monotonic_ns() + anchor_ns, message.timestamp()[1]))  # type: ignore[attr-defined]

        before = time.monotonic_ns() + anchor_ns
        producer.produce(topic, b"", partition=partition, on_delivery=delivered)
        wait_until(
            lambda answers=answers: producer.poll(0.05) and answers,  # type: ignore[misc]
            PROBE_DEADLINE_S,
            lambda: CrayfishError(f"the broker at {servers} did not answer within {PROBE_DEADLINE_S:g} s: is it up?"),
            watch,
            pause_s=0,
        )
        error, after, append_ms = answers[0]
        if error is not None:
            raise CrayfishError(f"the broker at {servers} refused an event that asks for its time: {error}")
        if number:  # the first one found no connection yet
            found.append((before, after, append_ms))
        time.sleep(PROBE_PAUSE_S)
    return offset(found)
