"""Intervals of systems that were measured alike: their variances are shrunk towards a common one (empirical Bayes;
Smyth 2004).

Three repetitions tell little of a system's own spread: its variance has two degrees of freedom, and Student's t then
takes 4.3 standard errors. What all systems of an experiment show together is worth so many degrees more; how many, the
spread of the variances themselves tells. Where that is what chance gives, the systems share one variance; where they
differ, each keeps most of its own. A system that is noisier than the others together (F test, 5 % over all of them)
neither shares its variance nor takes theirs, nor does one whose repetitions are all equal: Student's t of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from crayfish.spec import metrics
from crayfish.spec.metrics import Interval

LEVEL = 0.05
LEAST_VARIANCE = 0.02  # of one system, as a share of the common one: an unbiased estimate may be 0 or negative
ROUNDING = 1e-12  # a share by which values that are equal may differ
LEAST_SYSTEMS = 3  # of fewer, the spread of the variances cannot be told


def prior_freedom(own: np.ndarray, freedom: np.ndarray) -> float:
    """How many degrees of freedom a common variance is worth beside variances of this freedom, both float[k]; infinity
    where they differ by no more than chance."""
    from scipy import optimize, special

    # The variances' logarithms spread by trigamma(d/2) by chance alone; what they spread more is the prior's.
    spread = float(np.var(np.log(own), ddof=1) - np.mean(special.polygamma(1, freedom / 2)))
    if spread <= special.polygamma(1, 1e6):
        return math.inf
    return 2 * float(optimize.brentq(lambda half: special.polygamma(1, half) - spread, 1e-3, 1e6))


def alike(own: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Which systems share their variance: all but those that are noisier than the others together, bool[k]."""
    from scipy import special

    kept = np.ones(len(own), bool)
    while kept.sum() > LEAST_SYSTEMS:
        places = np.flatnonzero(kept)
        noisiest = places[np.argmax(own[places])]
        others = places[places != noisiest]
        ratio = own[noisiest] / np.average(own[others], weights=freedom[others])
        if len(places) * special.fdtrc(freedom[noisiest], freedom[others].sum(), ratio) >= LEVEL:
            break
        kept[noisiest] = False
    return kept


def shrunk(own: np.ndarray, freedom: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances of this freedom, both float[k], shrunk towards their mean, and their new freedom."""
    common = float(np.average(own, weights=freedom))
    own = np.maximum(own, common * LEAST_VARIANCE)
    prior = prior_freedom(own, freedom)
    if math.isinf(prior):
        return np.full(len(own), common), np.full(len(own), freedom.sum())
    return (prior * common + freedom * own) / (prior + freedom), np.minimum(freedom + prior, freedom.sum())


def intervals(repetitions: Sequence[Sequence[float]], plain: bool = False) -> list[Interval]:
    """The interval of each of several systems' mean: metrics.mean_interval, with shrunk variances where the values are
    positive and 3 systems or more have an interval. repetitions: [system][repetition] of a metric, at least one each;
    plain: it can be 0 or negative."""
    found = [metrics.mean_interval(values, plain) for values in repetitions]
    if plain or any(value <= 0 for values in repetitions for value in values):
        return found
    places = [place for place, values in enumerate(repetitions) if max(values) > min(values) * (1 + ROUNDING)]
    logs = {place: np.log(np.asarray(repetitions[place], float)) for place in places}
    own = np.array([logs[place].var(ddof=1) for place in places])
    freedom = np.array([len(logs[place]) - 1.0 for place in places])
    if len(places) < LEAST_SYSTEMS:
        return found
    kept = alike(own, freedom)
    sharing = [place for place, shares in zip(places, kept, strict=True) if shares]
    for place, variance, own_freedom in zip(sharing, *shrunk(own[kept], freedom[kept]), strict=True):
        mean, count = float(logs[place].mean()), len(logs[place])
        half = metrics.t_quantile(float(own_freedom)) * math.sqrt(variance / count)
        found[place] = Interval(math.exp(mean), math.exp(mean - half), math.exp(mean + half), count)
    return found
