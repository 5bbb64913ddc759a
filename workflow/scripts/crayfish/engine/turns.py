"""Turns on an engine that is there already: one run at once works there, whoever's it is and whichever Kafka it uses.

A run gives what it starts there its own name. Whoever finds another's there waits, and who finds an older one beside
its own leaves again: so two that come at once do not both stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crayfish.spec.errors import NotMade
from crayfish.spec.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from crayfish.spec.run_spec import Job

PREFIX = "crayfish-"  # of every run's name
PAUSE_S = 0.5


def patience_s(job: Job) -> float:
    """How long to wait for a turn: the rest of its deadline is for the processor's start."""
    return job.spec.ready_timeout_s / 3


def others(job: Job, names: list[str]) -> list[str]:
    """Those of these names that are of other runs."""
    return [name for name in names if name.startswith(PREFIX) and name != job.group]


def await_turn(job: Job, names: Callable[[], list[str]]) -> None:
    """Wait until what works on the engine is of no run; NotMade, with whose it is, if that does not come."""
    wait_until(lambda: not others(job, names()), patience_s(job), lambda: refusal(job, names()), pause_s=PAUSE_S)


def check_turn(job: Job, names: list[str]) -> None:
    """NotMade if one of these names, what works on the engine from the oldest on, is of a run that came before."""
    earlier = names[: names.index(job.group)] if job.group in names else names
    if others(job, earlier):
        raise refusal(job, earlier)


def refusal(job: Job, names: list[str]) -> NotMade:
    """That another run works there: the first of these names."""
    other = next(iter(others(job, names)), "it has just ended")
    return NotMade(
        f"{job.spec.processor}: another Crayfish run measures on {job.processor_address} ({other}), and two at once"
        " would disturb each other: wait for it or stop it, then repeat the command"
    )
