"""The clocks that a run's times come from: this machine's monotonic and wall clock, and that of a broker elsewhere.

Producer and sink read the monotonic clock, and add the run's anchor (wall minus monotonic clock) to it. The broker
stamps with the wall clock, so a step of that (the monotonic clock has none) falsifies what is told by append times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from crayfish.engine import secure
from crayfish.spec.errors import CrayfishError
from crayfish.spec.waiting import wait_until

READINGS = 9
PROBES = 40
PROBE_PAUSE_S = 0.0137  # no divisor of a millisecond, so that the broker's truncated times begin anywhere in theirs
PROBE_DEADLINE_S = 10.0
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
    low, high = max(low for low, _ in bounds), min(high for _, high in bounds)
    if low > high:
        low, high = min(low for low, _ in bounds), max(high for _, high in bounds)
    middle = (low + high) / 2
    return {
        "offset_ms": middle / NS_PER_MS,
        "uncertainty_ms": (high - low) / 2 / NS_PER_MS,
        "probes": len(bounds),
    }


def merged(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """One offset for the whole run, from one before and one after it: what both of them allow, and all between them."""
    ends = [each["offset_ms"] + sign * each["uncertainty_ms"] for each in (before, after) for sign in (-1, 1)]
    low, high = min(ends), max(ends)
    return {
        "offset_ms": (low + high) / 2,
        "uncertainty_ms": (high - low) / 2,
        "probes": before["probes"] + after["probes"],
    }


def probe(
    servers: str, topic: str, anchor_ns: int, watch: Callable[[], object], client_file: str | None = None
) -> dict[str, float]:
    """The offset of a broker's clock, by events sent to a topic of this use alone (LogAppendTime), one at a time.

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
        producer.produce(topic, b"", on_delivery=delivered)
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
