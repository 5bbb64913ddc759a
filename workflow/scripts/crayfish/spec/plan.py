"""Config -> the runs of every experiment. Pure: nothing is started, and what cannot run is refused here."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace

from crayfish.spec import config as checks
from crayfish.spec import discovery
from crayfish.spec.errors import CrayfishError
from crayfish.spec.run_spec import RunSpec, Segment

FIXED_COST_S = 15  # of a run, for the estimate
PRELOAD_S_PER_S = 0.45  # writing a backlog takes about that much of the time that draining it takes
PILOT_BYTES = 10**9  # that a pilot writes at most: one of a large model has fewer events
PROBES, CONFIRMATIONS = 15, 3  # of a search, about: short probes, and the longer ones that confirm
NARROWED = {"processors": "processor", "scorers": "scorer", "models": "model"}


@dataclass(frozen=True)
class Experiment:
    """Its runs, in the order in which they are plotted, and how often each is repeated."""

    name: str
    runs: tuple[str, ...]
    repetitions: int


@dataclass(frozen=True)
class Plan:
    """All runs by their identifiers, the run (a pilot, a search) that finds the rate of each whose load needs one, the
    experiments, and the figures with those that are drawn unless others are asked for."""

    runs: dict[str, RunSpec]
    sized_by: dict[str, str]
    experiments: dict[str, Experiment]
    figures: dict[str, dict] = field(default_factory=dict)
    drawn: tuple[str, ...] = ()

    def repetitions(self, run: str) -> int:
        """How often a run is repeated: as its most demanding experiment asks; one that only sizes others, once."""
        return max([each.repetitions for each in self.experiments.values() if run in each.runs], default=1)

    def experiments_of(self, figures: Iterable[str]) -> list[str]:
        """The experiments that some figures draw."""
        return list(dict.fromkeys(self.figures[name]["experiment"] for name in figures))

    def jobs(self, experiments: Iterable[str] | None = None) -> list[tuple[str, int]]:
        """Every (run, repetition) of some experiments, or of all: first what sizes others, then the first repetition of
        all, the second of all, and so on: interleaved."""
        named = self.experiments if experiments is None else experiments
        measured = dict.fromkeys(run for name in named for run in self.experiments[name].runs)
        sizing = dict.fromkeys(self.sized_by[run] for run in measured if run in self.sized_by)
        most = max(map(self.repetitions, measured), default=0)
        repeated = [
            (run, number) for number in range(1, most + 1) for run in measured if number <= self.repetitions(run)
        ]
        return list(dict.fromkeys([*((run, 1) for run in sizing), *repeated]))

    def seconds(self, jobs: Iterable[tuple[str, int]]) -> float:
        """A rough estimate of how long they take on an idle machine."""
        return sum(seconds_of(self.runs[run]) for run, _ in jobs)


def seconds_of(spec: RunSpec) -> float:
    """A rough estimate of how long one run takes on an idle machine."""
    load = sum(load.warmup_s + load.measure_s for load in spec.segments)
    if at_most := spec.segments[0].at_most_s:
        load = min(load, at_most)
    if spec.searches:
        load = PROBES * load + CONFIRMATIONS * spec.segments[0].confirm_s * 4 / 3
    return FIXED_COST_S + load * (1 + PRELOAD_S_PER_S * (spec.saturated and spec.transport == "kafka"))


def _segments(where: str, load: dict | list, searched: dict) -> tuple[Segment, ...]:
    """The segments of one run: the product of the load's lists, in their order; those of several loads in turn."""
    if isinstance(load, list):
        return tuple(segment for each in load for segment in _segments(where, each, searched))
    checks.check_keys(where, load, [each.name for each in fields(Segment) if each.name != "of"])
    if load.get("kind") == "search":
        load = {**searched, **load}
        checks.check_keys(
            "search", searched, [each.name for each in fields(Segment) if each.name not in ("kind", "of")]
        )
    combinations = itertools.product(*(checks.listed(value) for value in load.values()))
    return RunSpec.loads([_plain_rates(where, dict(zip(load, values, strict=True))) for values in combinations])


def _plain_rates(where: str, load: dict) -> dict:
    """The load with {fraction: 0.7, of: sustainable} as the number 0.7 and the load's field `of`."""
    relative = {name: load[name] for name in ("rate", "peak_rate") if isinstance(load.get(name), dict)}
    if not relative:
        return load
    for name, rate in relative.items():
        if rate.keys() != {"fraction", "of"}:
            raise CrayfishError(
                f"{where}.{name}: {rate!r} is no rate: allowed are a number and {{fraction: 0.7, of: sustainable}}"
            )
    others = [name for name in ("rate", "peak_rate") if name in load and name not in relative]
    if others or len({rate["of"] for rate in relative.values()}) > 1:
        raise CrayfishError(f"{where}: rate and peak_rate are both numbers, or both fractions of the same")
    return {**load, **{name: rate["fraction"] for name, rate in relative.items()}, "of": rate["of"]}


def _products(where: str, block: dict) -> Iterable[dict]:
    """The fields that vary, of one run each: the product of their lists, or of several products one after the other."""
    for product in checks.listed(block["vary"]):
        checks.check_fields(f"{where}.vary", product)
        vary = {key: checks.known(f"{where}.vary.{key}", key, checks.listed(value)) for key, value in product.items()}
        yield from (dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values()))


def _narrowing(config: dict) -> dict[str, list]:
    """Field of RunSpec -> the values that the whole config keeps."""
    return {
        singular: checks.known(plural, singular, config[plural])
        for plural, singular in NARROWED.items()
        if config.get(plural) is not None
    }


def _specs(name: str, block: dict, config: dict) -> list[RunSpec]:
    where = f"experiments.{name}"
    checks.check_fields(f"{where}.fix", block.get("fix", {}))
    fixed = {**config.get("run", {}), **block.get("fix", {}), "dataset": config["dataset"], "seed": config["seed"]}
    segments = [vars(load) for load in _segments(f"{where}.load", block["load"], config["search"])]
    kept, specs = _narrowing(config), []
    for values in _products(where, block):
        fields_of = {**fixed, **values}
        if any(fields_of.get(name) not in wanted for name, wanted in kept.items()):
            continue
        try:
            specs.append(RunSpec.from_dict({**fields_of, "segments": segments}))
        except CrayfishError as error:
            raise CrayfishError(f"{where} is refused: {error}") from error
    return specs


def _sizing(spec: RunSpec, config: dict) -> RunSpec | None:
    """The run that finds the rate of this one's load: a short saturated pilot, or a search; None where it is given."""
    load = spec.segments[0]
    if load.kind == "backlog" and not load.rate:
        rate, seconds = config["pilot"]["rate"], config["pilot"]["seconds"]
        events = min(rate * seconds, max(spec.partitions, PILOT_BYTES // spec.event_bytes))
        times = {"warmup_s": 0.8 * seconds, "measure_s": 0.2 * seconds, "at_most_s": seconds}
        return replace(spec, segments=(Segment("backlog", events / seconds, load.batch_size, **times),))
    if spec.relative:
        search = {"kind": "search", "batch_size": load.batch_size}
        return replace(spec, segments=_segments("search", search, config["search"]))
    return None


def _check_weights(weights: dict) -> None:
    """Refuse a file of weights for a model that takes none."""
    for name in checks.known("weights", "model", list(weights)):
        if discovery.model(name).load is None:
            able = [each for each in discovery.names("models") if discovery.model(each).load]
            raise CrayfishError(f"weights.{name}: {name} is trained here (allowed: {', '.join(able)})")


def _addresses() -> dict[str, str]:
    """What of a run may be there already -> what its address is."""
    found = {"kafka": "bootstrap servers"}
    for name in discovery.names("processors"):
        if address := discovery.processor(name).address:
            found[name] = address
    external = (name for name in discovery.names("scorers") if discovery.scorer(name).external)
    return found | dict.fromkeys(external, "host:port")


def _check_cluster(given: dict[str, str], runs: Iterable[RunSpec]) -> None:
    """Refuse an address of what has none, and an engine elsewhere with parts that a run would start on the loopback."""
    allowed = _addresses()
    for name in given:
        if name not in allowed:
            told = ", ".join(f"{each}: {address}" for each, address in allowed.items())
            raise CrayfishError(
                f"cluster.{name}: has no address{checks.suggestion(name, list(allowed))} (allowed: {told})"
            )
    for spec in runs:
        needed = ["kafka"] if spec.transport == "kafka" else []
        needed += [spec.scorer] if discovery.scorer(spec.scorer).external else []
        if spec.processor in given and (missing := [name for name in needed if name not in given]):
            raise CrayfishError(
                f"cluster.{spec.processor}: {given[spec.processor]!r} cannot reach what a run starts on its own"
                f" machine: give an address of {' and '.join(missing)} too, narrow `scorers`, or leave {spec.processor}"
                " to the run"
            )


def make_plan(config: dict) -> Plan:
    """The plan of a whole config. CrayfishError names the key, the value and what is allowed."""
    checks.validate(config)
    _narrowing(config)
    _check_weights(config.get("weights") or {})
    checks.check_fields("run", config["run"])
    _segments("search", {"kind": "search"}, config["search"])
    runs: dict[str, RunSpec] = {}
    sized_by: dict[str, str] = {}
    experiments: dict[str, Experiment] = {}
    for name, block in config["experiments"].items():
        specs = _specs(name, block, config)
        for spec in specs:
            runs[spec.identifier] = spec
            if sizing := _sizing(spec, config):
                runs[sizing.identifier] = sizing
                sized_by[spec.identifier] = sizing.identifier
        repetitions = block.get("repetitions", config["repetitions"])
        experiments[name] = Experiment(name, tuple(dict.fromkeys(spec.identifier for spec in specs)), repetitions)
    _check_cluster(config.get("cluster") or {}, runs.values())
    figures = {name: figure for name, figure in config["figures"].items() if _is_drawn(name, figure, experiments, runs)}
    drawn = config["draw"] if config["draw"] is not None else list(config["figures"])
    for name in drawn:
        if name not in config["figures"]:
            known = list(config["figures"])
            raise CrayfishError(
                f"draw: {name!r} is not a figure{checks.suggestion(name, known)} (allowed: {', '.join(known)})"
            )
    return Plan(runs, sized_by, experiments, figures, tuple(name for name in drawn if name in figures))


def _is_drawn(name: str, figure: dict, experiments: dict[str, Experiment], runs: dict[str, RunSpec]) -> bool:
    """Whether any run is left for a figure after the narrowing; refuses one whose names are not known."""
    where, kept = f"figures.{name}", figure.get("where", {})
    for key, value, allowed in (
        ("experiment", figure["experiment"], list(experiments)),
        ("kind", figure["kind"], discovery.names("results/figures")),
    ):
        if value not in allowed:
            raise checks.unknown(f"{where}.{key}", value, allowed)
    checks.check_fields(f"{where}.where", kept)
    for field_name, values in kept.items():
        checks.known(f"{where}.where.{field_name}", field_name, values)
    return any(
        all(getattr(runs[run], field_name) in values for field_name, values in kept.items())
        for run in experiments[figure["experiment"]].runs
    )
