"""Whether a run may be believed: lost cores, a late load generator, and events that were not answered once. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from crayfish.spec import metrics
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import RunSpec
from crayfish.spec.samples import CLOCK_STEP_MS, machine_during

LATE_SHARE = 0.01  # of the events: if more are late, the bound is below the 99th percentile of lateness
LOST_CORES = 0.25  # that other processes may use, or the hypervisor withhold, in a segment before the run says so
THROTTLED_CORES = 0.01  # the same of a quota: it stops all threads at once, for tens of ms each time


def lost_cores_warnings(samples: dict, segments: Mapping[int, dict], node: int = 0) -> list[str]:
    """Warnings about cores that a run lost while it measured: to other processes of the CPUs that it may use, to the
    hypervisor, or to the quota of its control group.

    samples: what machine.Sampler.finish returns. segments: by number, from 0, with load_start_ns and end_ns. node: of
    which the samples are.
    """
    where = f"on node {node} " if node else ""
    told = {
        "other_cores": ("other processes used", LOST_CORES),
        "stolen_cores": ("the hypervisor withheld", LOST_CORES),
        "throttled_cores": ("the CPU quota of a control group withheld", THROTTLED_CORES),
    }
    found = []
    for number, segment in segments.items():
        lost = machine_during(samples, segment["load_start_ns"], segment["end_ns"])
        found += [
            f"segment {number + 1}: {where}{who} {lost[name]:.2f} cores while it was measured"
            for name, (who, bound) in told.items()
            if (lost[name] or 0.0) > bound
        ]
    return found


def clock_warnings(samples: dict, segments: Mapping[int, dict]) -> list[str]:
    """A warning for each segment in or before which the wall clock stepped, so that append times do not fit the others.

    samples and segments: as above.
    """
    found = []
    for number, segment in segments.items():
        step_ms = machine_during(samples, segment["load_start_ns"], segment["end_ns"])["clock_step_ms"]
        if abs(step_ms or 0.0) > CLOCK_STEP_MS:
            found.append(
                f"segment {number + 1}: the wall clock stepped by {step_ms:.1f} ms since the run began: what is told by"
                " append times is wrong by that much"
            )
    return found


def lateness_warnings(
    segment_of: np.ndarray,
    due_ns: np.ndarray,
    input_append_ms: np.ndarray,
    bound_ms: float,
    segments: Mapping[int, dict],
) -> list[str]:
    """A warning for each segment of which more than LATE_SHARE of the events were in the input topic later than
    bound_ms after they were due: generator and broker delayed them, and not the processor.

    The arrays are int[n], one value an event: its segment's number, when it was to be sent, and the broker's append
    time of it (-1: unknown, and nothing is said of its segment). Events of a segment's warm-up do not count. segments:
    as above.
    """
    found = []
    for number, segment in segments.items():
        own = (segment_of == number) & (due_ns >= segment["load_start_ns"]) & (due_ns < segment["end_ns"])
        late_ms = metrics.lateness_ms(due_ns[own], input_append_ms[own])
        if late_ms is None or not len(late_ms):
            continue
        if (share := metrics.late_share(late_ms, bound_ms)) > LATE_SHARE:
            found.append(
                f"segment {number + 1}: {share:.1%} of the events were in the input topic more than {bound_ms:g} ms"
                f" after they were due (at most {late_ms.max():.0f} ms)"
            )
    return found


def sharing_warnings(spec: RunSpec) -> list[str]:
    """A warning where instances have unequal numbers of partitions: those with more bound the whole."""
    if spec.parallelism_model != "data" or spec.partitions % spec.parallelism == 0:
        return []
    return [f"{spec.partitions} partitions are shared unevenly by {spec.parallelism} instances"]


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
