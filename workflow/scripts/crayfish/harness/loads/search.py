"""The search for the sustainable rate: paced probes, each a segment, until one is confirmed; see
crayfish.harness.search."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from crayfish.harness.loads.constant import due
from crayfish.spec.contracts import Load
from crayfish.spec.errors import CrayfishError

if TYPE_CHECKING:
    from crayfish.harness import search
    from crayfish.harness.parts import Consumer, Producer
    from crayfish.harness.run import Run
    from crayfish.spec.run_spec import Segment

FIRST_BYTES_PER_S = 2_000_000  # the search begins no higher: large events belong to large models
log = logging.getLogger("crayfish")


def drive(run: Run) -> None:
    """See crayfish.harness.loads. What was found is in run.search; of the segments the last one is the result."""
    from crayfish.harness import paced, search
    from crayfish.spec.run_spec import Segment

    wanted = run.spec.segments[0]
    found: list[search.Probe] = []
    first = min(wanted.rate, FIRST_BYTES_PER_S / run.spec.event_bytes)
    processor, producer, consumer = paced.start(run)
    while step := search.next_rate(found, first):
        rate, confirming = step
        length_s = wanted.confirm_s if confirming else wanted.measure_s
        warmup_s = max(wanted.warmup_s, length_s / 3)  # the quarter that is left out anyhow: all of length_s counts
        load = Segment("constant", rate, wanted.batch_size, warmup_s, length_s)
        title = f"{'confirming' if confirming else 'probing'} {rate:g} events/s"
        paced.send_segment(run, load, producer, consumer, title)
        found.append(_judged(run, load, confirming, producer, consumer))
        log.info("%s  %s: %s", run.places.title, title, found[-1].reason or "sustained")
    run.search = search.result(found)
    run.warnings += search.warnings_of(found)
    run.finish(processor, producer, consumer)


def _judged(run: Run, load: Segment, confirming: bool, producer: Producer, consumer: Consumer) -> search.Probe:
    """What the newest segment says of its rate."""
    import numpy as np
    import pyarrow.parquet as pq

    from crayfish.harness import search

    producer.write()
    consumer.write()
    segment = run.segments[-1]
    events = pq.read_table(run.folder / "producer.parquet")
    events = events.slice(len(events) - segment["events"])
    answers = pq.read_table(run.folder / "consumer.parquet")
    due, sent, appended = (events[name].to_numpy() for name in ("due_ns", "sent_ns", "input_append_ms"))
    place = answers["sequence"].to_numpy() - events["sequence"][0].as_py()
    first = np.flatnonzero(place >= 0)[::-1]  # backwards, so that of duplicates the first one stays
    received, answered = np.full((2, len(due)), -1)
    received[place[first]] = answers["received_ns"].to_numpy()[first]
    answered[place[first]] = answers["output_append_ms"].to_numpy()[first]
    if (received < 0).any():
        raise CrayfishError(
            f"the search for the sustainable rate stopped at {load.rate:g} events/s: {run.spec.processor} did not"
            f" answer them within {run.spec.drain_timeout_s:g} s; begin lower (search.rate), or raise"
            " run.drain_timeout_s"
        )
    return search.judge(
        load.rate,
        confirming,
        run.spec.segments[0].objective_ms,
        due,
        sent,
        received,
        appended,
        answered,
        segment["load_start_ns"],
        run.spec.lateness_bound_ms,
    )


LOAD = Load(
    due=due,
    drive=drive,
    positive=("rate", "objective_ms", "confirm_s"),
    fractions=False,
    alone=True,
    searches=True,
)
