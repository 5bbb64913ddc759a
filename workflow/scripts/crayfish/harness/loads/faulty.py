"""Events at equal distances, `rate` of them a second, while a part fails: run.fault, `between_s` after the warm-up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crayfish.harness.loads.constant import due
from crayfish.spec.contracts import Load

if TYPE_CHECKING:
    from crayfish.harness.run import Run
    from crayfish.spec.run_spec import Segment


def drive(run: Run) -> None:
    """An open loop, in which the fault strikes; see crayfish.harness.faults."""
    from crayfish.harness import paced, sizing

    sizing.require_disk(run, paced.most_events(run.spec))
    processor, producer, consumer = paced.start(run)
    (load,), fault = run.spec.segments, run.open_fault()
    strike_s = bursts(load)[0][0]

    def begun(start_ns: int) -> None:
        fault.strike_at = start_ns + int(strike_s * 1e9)

    paced.send_segment(run, load, producer, consumer, run.spec.fault, steady=False, begun=begun)
    run.finish(processor, producer, consumer)


def bursts(segment: Segment) -> list[tuple[float, float]]:
    """When the fault strikes, as a burst without a length: its recovery is counted from there."""
    strike_s = segment.warmup_s + segment.between_s
    return [(strike_s, strike_s)]


LOAD = Load(due=due, drive=drive, bursts=bursts, positive=("rate", "between_s"), fractions=False, alone=True)
