"""Whether a run may be believed: lost cores, a late load generator, and events that were not answered once. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from crayfish.spec import metrics
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import RunSpec

LATE_SHARE = 0.01  # of the events: more than that sent late, and p99 shows the generator
LOST_CORES = 0.25  # that other processes may use, or the hypervisor withhold, in a segment before the run says so


def lost_cores_warnings(samples: dict, segments: Mapping[int, dict]) -> list[str]:
    """Warnings about cores that a run lost while it measured: to other processes of the machine, or to the hypervisor.

    samples: what machine.Sampler.finish returns. segments: by number, from 0, with load_start_ns and end_ns.
    """
    times = np.array(samples["machine"]["time_ns"])

    def cores_used(cpu_s: list[float], segment: dict) -> float:
        edges = np.interp([segment["load_start_ns"], segment["end_ns"]], times, cpu_s)
        return float(edges[1] - edges[0]) / ((segment["end_ns"] - segment["load_start_ns"]) / 1e9)

    found = []
    for number, segment in segments.items():
        if len(times) < 2 or segment["end_ns"] <= segment["load_start_ns"]:
            continue
        own = sum(cores_used(stage["cpu_s"], segment) for stage in samples["stages"].values())
        lost = {
            "other processes used": cores_used(samples["machine"]["cpu_s"], segment) - own,
            "the hypervisor withheld": cores_used(samples["machine"]["stolen_s"], segment),
        }
        found += [
            f"segment {number + 1}: {who} {cores:.2f} cores while it was measured"
            for who, cores in lost.items()
            if cores > LOST_CORES
        ]
    return found


def lateness_warnings(
    segment_of: np.ndarray, due_ns: np.ndarray, sent_ns: np.ndarray, bound_ms: float, segments: Mapping[int, dict]
) -> list[str]:
    """A warning for each segment of which more than LATE_SHARE of the events were sent later than bound_ms.

    The arrays are int[n], one value an event: its segment's number, when it was to be sent, when it was. Events of a
    segment's warm-up do not count. segments: as above.
    """
    late_ms, found = (sent_ns - due_ns) / 1e6, []
    for number, segment in segments.items():
        measured = late_ms[(segment_of == number) & (due_ns >= segment["load_start_ns"])]
        if (share := metrics.late_share(measured, bound_ms)) > LATE_SHARE:
            found.append(
                f"segment {number + 1}: {share:.1%} of the events were sent more than {bound_ms:g} ms late"
                f" (at most {measured.max():.0f} ms)"
            )
    return found


def account(spec: RunSpec, sent: int, predictions: dict[str, int]) -> dict[str, int]:
    """How many events were sent, and how many were answered how often.

    predictions: how many were received, distinct, wrong and malformed. Raises CrayfishError where answers are wrong, or
    lost or duplicated against the run's delivery guarantee.
    """
    received, distinct, system = predictions["received"], predictions["distinct"], f"{spec.scorer} in {spec.processor}"
    if predictions["wrong"] or predictions["malformed"]:
        raise CrayfishError(
            f"{predictions['wrong']} predictions are wrong and {predictions['malformed']} are malformed: {system}"
        )
    left = 0
    if spec.segments[0].at_most_s:  # what a backlog's time did not suffice for counts nowhere
        sent, left = distinct, sent - distinct
    if distinct != sent:
        raise CrayfishError(
            f"{sent - distinct} of {sent} events were never answered, which violates {spec.delivery}: {system}; if it"
            f" was only slow, raise run.drain_timeout_s ({spec.drain_timeout_s:g} s)"
        )
    if spec.delivery == "exactly_once" and received != sent:
        raise CrayfishError(f"{received - sent} predictions came twice, which violates exactly_once: {system}")
    return {
        "sent": sent,
        "received_once": distinct,
        "lost": 0,
        "left": left,
        "duplicated": received - distinct,
        "wrong": 0,
    }
