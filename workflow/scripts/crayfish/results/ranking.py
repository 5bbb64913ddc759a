"""Ranking the systems of a panel: by a blocked model of their repetitions, never by whether intervals overlap.

A panel is what a figure compares at one place (one value of its axes). Its model: the logarithm of a metric (the plain
value, of a metric that can be 0 or negative) = system + round + error. A round is one repetition of all systems, so
that what drifts from round to round falls out. Where it lowers the residual variance (F test, 5 %), the logarithm of
the machine's speed beside the run is a covariate. The errors' variance is pooled over the systems; where Bartlett's
test finds the systems' variances unequal, each system has its own, shrunk towards the common one (empirical Bayes;
Smyth 2004). Differences have simultaneous 95 % intervals: Tukey and Kramer's, with variances of their own Games and
Howell's. Whoever's interval leaves out 1 (0) is ahead; else the two are not told apart.

A twin (the same system under another name, RunSpec.twin) is in the model, but ranked against its own system only, with
the interval of a single comparison: it is ranked in 5 % of panels if the model is right. A floor (a processor without
scoring) is in no ranking.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from polars import selectors

from crayfish.results import looks
from crayfish.results.tables import first_rows
from crayfish.results.variances import LEAST_VARIANCE, prior_freedom
from crayfish.spec.metrics import Interval

LEVEL = 0.05
SPEED, POSITION = "machine_speed", "position"
RATES = ("rate_events_per_s", "peak_rate_events_per_s")


VERDICTS = {  # told, without an interval
    (True, False): "ahead",
    (False, False): "not told apart",
    (False, True): "not ranked",
}


class Value(NamedTuple):
    """A metric in one repetition: in which round, its place in the round's order, the machine's speed beside it."""

    round: int
    value: float
    position: float | None = None
    speed: float | None = None


class Pair(NamedTuple):
    """Two systems of a panel, the better first: ratio (of a metric that can be 0: difference) of the worse to the
    better or the better to the worse, so that it is at least 1 (0), with its simultaneous interval.

    detectable: the least ratio (difference) that these repetitions could have told. Empty (None) without an interval.
    """

    first: str
    second: str
    ratio: float
    low: float | None
    high: float | None
    detectable: float | None
    twins: bool = False
    plain: bool = False  # a difference in the metric's unit, not a ratio

    @property
    def told(self) -> bool:
        """Whether the first is ahead."""
        return self.low is not None and self.low > (0 if self.plain else 1)


@dataclass(frozen=True)
class Panel:
    """What was found at one place: the pairs, and how."""

    place: tuple
    order: tuple[str, ...]  # the systems that are ranked, the best first
    pairs: tuple[Pair, ...]
    rounds: int
    freedom: int = 0  # of the residual variance
    speed: bool = False  # the machine's speed is a covariate
    unequal: bool = False  # each system has its own variance
    position_p: float | None = None  # of the effect of the position in a round; None: too few repetitions to test

    @property
    def ranked(self) -> list[Pair]:
        """The pairs of different systems."""
        return [pair for pair in self.pairs if not pair.twins]

    @property
    def twins(self) -> list[Pair]:
        return [pair for pair in self.pairs if pair.twins]


@dataclass(frozen=True)
class Ranking:
    """The panels of a figure by one metric."""

    metric: str
    keys: tuple[str, ...]  # the columns of a panel's place
    panels: tuple[Panel, ...] = ()
    labels: dict[tuple[str, int], str] = field(default_factory=dict)  # run and segment -> its system

    def between(self, row: dict[str, Any], other: dict[str, Any]) -> Pair | None:
        """The pair of two rows of the table, in either order; None where one of them is ranked with nothing."""
        names = {self.labels.get((each["run"], each["segment"])) for each in (row, other)}
        place = tuple(row[name] for name in self.keys)
        pairs = (pair for panel in self.panels if panel.place == place for pair in panel.pairs)
        return next((pair for pair in pairs if {pair.first, pair.second} == names), None)

    def relative(self, row: dict[str, Any], other: dict[str, Any]) -> Interval | None:
        """A row's metric as a multiple of the other's, with its interval; None where they are not ranked."""
        pair = self.between(row, other)
        if pair is None or pair.plain or pair.low is None or pair.high is None:
            return None
        larger = pair.first if looks.column(self.metric).higher else pair.second
        interval = Interval(pair.ratio, pair.low, pair.high, 0)
        if self.labels[row["run"], row["segment"]] == larger:
            return interval
        return Interval(1 / pair.ratio, 1 / pair.high, 1 / pair.low, 0)


Ranks = Callable[[str], Ranking]  # metric -> the ranking of a figure's systems


# --- the model --------------------------------------------------------------------------------------------------------


@lru_cache
def tukey(systems: int, freedom: int) -> float:
    """The factor of a standard error in Tukey's simultaneous 95 % intervals of all pairs of at least 2 systems."""
    from scipy import optimize, special, stats  # scipy.stats takes a second to import

    # Between that of one comparison and Bonferroni's; the distribution's own inverse takes a hundred times as long.
    single, most = (-special.stdtrit(freedom, LEVEL / 2 / n) for n in (1, systems * (systems - 1) / 2))
    if systems == 2:
        return float(single)

    def excess(factor: float) -> float:
        return float(stats.studentized_range.sf(factor * math.sqrt(2), systems, freedom)) - LEVEL

    return float(optimize.brentq(excess, single, most, xtol=1e-3))


@dataclass(frozen=True)
class Fit:
    """Least squares of y: float[n] on a design: float[n, k]."""

    design: np.ndarray
    inverse: np.ndarray  # of design' design: float[k, k]
    effects: np.ndarray
    residuals: np.ndarray
    freedom: int

    @property
    def variance(self) -> float:
        return float(self.residuals @ self.residuals) / self.freedom


def fitted(y: np.ndarray, *columns: np.ndarray) -> Fit:
    """The least-squares fit of y: float[n] on columns: float[n] or float[n, m], which may depend on each other."""
    design = np.column_stack(columns)
    inverse = np.linalg.pinv(design.T @ design)
    effects = inverse @ design.T @ y
    rank = int(np.linalg.matrix_rank(design))
    return Fit(design, inverse, effects, y - design @ effects, len(y) - rank)


def improves(smaller: Fit, larger: Fit) -> float | None:
    """The p value (F test) of what a larger model has more; None where it leaves no freedom or adds nothing."""
    from scipy import stats

    more = smaller.freedom - larger.freedom
    left = float(larger.residuals @ larger.residuals)
    if larger.freedom < 1 or more < 1 or not left > 0:
        return None
    gained = float(smaller.residuals @ smaller.residuals) - left
    return float(stats.f.sf(gained / more / (left / larger.freedom), more, larger.freedom))


def own_variances(fit: Fit, system: np.ndarray) -> np.ndarray | None:
    """Unbiased variances of each system's errors, float[k], some perhaps negative; None where the design tells none.

    From E[e_i^2] = sum of M_ij^2 var_j, where M makes residuals of errors (Rao's MINQUE).
    """
    maker = np.eye(len(system)) - fit.design @ fit.inverse @ fit.design.T
    of = np.eye(system.max() + 1)[system]
    shares = of.T @ maker**2 @ of
    if len(shares) < 3 or np.linalg.cond(shares) > 1e6:
        return None
    return np.linalg.solve(shares, of.T @ fit.residuals**2)


def moderated(fit: Fit, system: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Each system's variance, shrunk towards the pooled one, and its degrees of freedom; None where Bartlett's test
    finds no difference, or where there are too few repetitions to look for one.

    The test is of own_variances, not of the residuals, which a noisy system spoils for all through the rounds. With few
    rounds it finds differences where there are none; that costs nothing, since such variances are shrunk to the pooled.
    """
    from scipy import stats

    counts = np.bincount(system)
    if counts.min() < 2 or (own := own_variances(fit, system)) is None or not fit.variance > 0:
        return None
    freedom, pooled = (counts - 1).astype(float), fit.variance
    own = np.maximum(own, pooled * LEAST_VARIANCE)
    total, more = freedom.sum(), len(own) - 1
    unequal = total * np.log(freedom @ own / total) - freedom @ np.log(own)
    if stats.chi2.sf(unequal / (1 + ((1 / freedom).sum() - 1 / total) / (3 * more)), more) >= LEVEL:
        return None
    prior = prior_freedom(own, freedom)
    if math.isinf(prior):
        return None
    return (prior * pooled + freedom * own) / (prior + freedom), freedom + prior


def compared(values: dict[str, list[Value]], twins: dict[str, str], higher: bool, plain: bool, place: tuple) -> Panel:
    """The panel of some systems' repetitions. twins: another name of a system -> the system. higher: more is better.

    plain: differences of the values; else their ratios, and every value must be more than 0.
    """
    names = [name for name in values if values[name]]
    family = [name for name in names if name not in twins]
    rows = [(number, value) for number, name in enumerate(names) for value in values[name]]
    rounds = sorted({value.round for _, value in rows})
    found = {name: float(np.mean([_scaled(each.value, plain) for each in values[name]])) for name in names}
    order = tuple(sorted(family, key=lambda name: -found[name] if higher else found[name]))
    pairs = [*itertools.combinations(order, 2), *((twins[name], name) for name in names if twins.get(name) in names)]
    if not pairs:
        return Panel(place, order, (), len(rounds))
    system = np.array([number for number, _ in rows])
    y = np.array([_scaled(value.value, plain) for _, value in rows])
    block = np.array([rounds.index(value.round) for _, value in rows])
    base = [np.eye(len(names))[system], np.eye(len(rounds))[block][:, 1:]]
    fit, speed = fitted(y, *base), False
    if (beside := _column(rows, "speed")) is not None and (beside > 0).all():
        p = improves(fit, larger := fitted(y, *base, np.log(beside)))
        if p is not None and p < LEVEL and larger.variance < fit.variance:
            fit, speed, base = larger, True, [*base, np.log(beside)]
    at = _column(rows, "position")
    position_p = None if at is None else improves(fit, fitted(y, *base, at))
    own = moderated(fit, system) if fit.freedom > 0 else None
    made = []
    for first, second in pairs:
        of_twins = second in twins
        contrast = np.zeros(fit.design.shape[1])
        contrast[[names.index(first), names.index(second)]] = (1, -1) if higher else (-1, 1)
        half = _half_width(fit, contrast, own, system, 2 if of_twins else len(family))
        difference = float(contrast @ fit.effects)
        if of_twins and difference < 0:
            first, second, difference = second, first, -difference
        made.append(_pair(first, second, difference, half, of_twins, plain))
    unequal = own is not None
    return Panel(place, order, tuple(made), len(rounds), fit.freedom, speed, unequal, position_p)


def _scaled(value: float, plain: bool) -> float:
    return value if plain else math.log(value)


def _column(rows: list[tuple[int, Value]], name: str) -> np.ndarray | None:
    """What the repetitions have beside their values; None where one lacks it."""
    found = [getattr(value, name) for _, value in rows]
    return None if None in found else np.array(found, float)


def _half_width(
    fit: Fit, contrast: np.ndarray, own: tuple[np.ndarray, np.ndarray] | None, system: np.ndarray, family: int
) -> float | None:
    """Of a contrast's simultaneous interval among so many systems; None where the repetitions do not support one."""
    weights = fit.design @ fit.inverse @ contrast  # of each repetition in the contrast
    if fit.freedom < 1 or not np.allclose(fit.design.T @ weights, contrast, atol=1e-6):
        return None  # no common round joins the two
    if own is None:
        return tukey(family, fit.freedom) * math.sqrt(fit.variance * float(weights @ weights))
    variances, freedoms = own
    parts = np.bincount(system, weights**2) * variances
    freedom = float(parts.sum() ** 2 / (parts**2 / freedoms).sum())
    return tukey(family, max(1, int(freedom + 1e-9))) * math.sqrt(float(parts.sum()))


def _pair(first: str, second: str, difference: float, half: float | None, twins: bool, plain: bool) -> Pair:
    scale: Callable[[float], float] = float if plain else math.exp
    if half is None:
        return Pair(first, second, scale(difference), None, None, None, twins, plain)
    low, high = scale(difference - half), scale(difference + half)
    return Pair(first, second, scale(difference), low, high, scale(half), twins, plain)


# --- the repetitions of a table ---------------------------------------------------------------------------------------


def rank(table: pl.DataFrame, repetitions: pl.DataFrame | None, axes: tuple[str, ...], metric: str) -> Ranking:
    """The ranking of a table's systems by a metric, apart by the values of the axes.

    table: rows of a part of an experiment's table; repetitions: its part of that name, of at least the same runs; None
    ranks nothing. A rate that is each system's own (`rates_of`) parts no panels.
    """
    relative = "rates_of" in table.columns and table["rates_of"].cast(pl.String).fill_null("").ne("").any()
    keys = tuple(
        name
        for name in axes
        if name in table.columns
        and (repetitions is None or name in repetitions.columns)
        and table[name].n_unique() > 1
        and not (relative and name in RATES)
    )
    if repetitions is None or metric not in repetitions.columns:
        return Ranking(metric, keys)
    values: dict[tuple, dict[str, list[Value]]] = {}
    twins: dict[str, str] = {}
    labels: dict[tuple[str, int], str] = {}
    for system in looks.systems(table, axes):
        if system.twin_of:
            twins[system.label] = system.twin_of
        for row in first_rows(system.rows).iter_rows(named=True):
            labels[row["run"], row["segment"]] = system.label
            found = list(_values(repetitions, row, metric))
            if found and not system.floor:
                values.setdefault(tuple(row[name] for name in keys), {}).setdefault(system.label, []).extend(found)
    higher = looks.column(metric).higher
    made = []
    for place, of in sorted(values.items(), key=lambda item: [(each is None, each) for each in item[0]]):
        least = min(each.value for found in of.values() for each in found)
        made.append(compared(of, twins, higher, looks.column(metric).plain or least <= 0, place))
    return Ranking(metric, keys, tuple(made), labels)


def _values(repetitions: pl.DataFrame, row: dict[str, Any], metric: str) -> Iterator[Value]:
    """The repetitions of a row of another part of the table."""
    own = repetitions.filter((pl.col("run") == row["run"]) & (pl.col("segment") == row["segment"]))
    for each in own.drop_nulls(metric).iter_rows(named=True):
        yield Value(each.get("round") or each["repetition"], each[metric], each.get(POSITION), each.get(SPEED))


def as_table(rankings: list[Ranking]) -> pl.DataFrame:
    """Rankings as a table: a row a metric, place and pair, the better system first; only the header of no ranking.

    `ratio` (of a metric that can be 0: `difference`) with its simultaneous interval `low`, `high`; `detectable`: the
    least that could have been told; `freedom`: degrees of the residual variance; `position_p`: of the F test of the
    position within a round.
    """
    places = dict.fromkeys(name for ranking in rankings for name in ranking.keys)
    rows = [
        {
            "metric": ranking.metric,
            **dict.fromkeys(places),
            **dict(zip(ranking.keys, panel.place, strict=True)),
            "first": pair.first,
            "second": pair.second,
            "verdict": VERDICTS[pair.told, pair.low is None] + (" (twins)" if pair.twins else ""),
            "ratio": None if pair.plain else pair.ratio,
            "difference": pair.ratio if pair.plain else None,
            "low": pair.low,
            "high": pair.high,
            "detectable": pair.detectable,
            "rounds": panel.rounds,
            "freedom": panel.freedom,
            "speed": "covariate" if panel.speed else "not used",
            "variance": "of each system" if panel.unequal else "pooled",
            "position_p": panel.position_p,
        }
        for ranking in rankings
        for panel in ranking.panels
        for pair in panel.pairs
    ]
    names = ["metric", *places, "first", "second", "verdict", "ratio", "difference", "low", "high", "detectable"]
    names += ["rounds", "freedom", "speed", "variance", "position_p"]
    table = pl.DataFrame(rows, names, infer_schema_length=None)
    return table.with_columns(selectors.float().round_sig_figs(4))
