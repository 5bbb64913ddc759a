"""Config -> the runs of every experiment. Pure: nothing is started, and what cannot run is refused here."""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from crayfish.spec import config as checks
from crayfish.spec import discovery, paths, placement
from crayfish.spec.errors import CrayfishError
from crayfish.spec.own_models import DATASET, Declared, declared
from crayfish.spec.run_spec import INSTANCES, RunSpec, Segment, default, flat

SLOW = 6  # how many times the estimate a run may take: two tries more, of twice the time
FIXED_COST_S = 11  # of a run, for the estimate: 15 with a broker of its own, which takes 4 to start
PRELOAD_S_PER_S = 0.45  # writing a backlog takes about that much of the time that draining it takes
PILOT_BYTES = 10**9  # that a pilot writes at most: one of a large model has fewer events
LEAST_ROUNDS = 3  # where a precision is asked for: of fewer, an interval's width says little
SEARCH_WARMUP_S = 25  # of bursts before a search probes, about
# The part of an experiment's table, as its name ends -> how the report calls it, which sorts by that.
TABLE_PARTS = {
    "": "table",
    "_series": "table by the second",
    "_curves": "table of quantiles",
    "_repetitions": "table of repetitions",
}
RANKING = "_ranking"  # how the table of a figure's ranking ends
# Digest -> which part of the experiments' tables it is made of.
DIGESTS = {"sustained_throughput": "", "latency_percentiles": "", "recovery_times": "_series", "accounting": ""}
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
    experiments, the figures with those that are drawn unless others are asked for, and what a word such as `all` would
    have made that some part refuses: experiment -> reason -> how many runs."""

    runs: dict[str, RunSpec]
    sized_by: dict[str, str]
    experiments: dict[str, Experiment]
    figures: dict[str, dict] = field(default_factory=dict)
    drawn: tuple[str, ...] = ()
    left_out: dict[str, Counter[str]] = field(default_factory=dict)
    seed: int = 0  # of the order within each round
    precision: float | None = None  # the share of its mean that a headline interval may be wide to each side
    at_most: int = 1  # rounds, where there is a precision
    narrowing: str = ""  # the keys that keep some parts alone, with their values
    own: dict[str, Declared] = field(
        default_factory=dict
    )  # folder of a model of the user's own -> what the config says

    @functools.cached_property
    def _repetitions(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for experiment in self.experiments.values():
            for run in experiment.runs:
                found[run] = max(experiment.repetitions, found.get(run, 1), LEAST_ROUNDS if self.precision else 1)
        return found

    def repetitions(self, run: str) -> int:
        """How often a run is repeated: as its most demanding experiment asks; one that only sizes others, once. Where
        there is a precision, it is the least."""
        return self._repetitions.get(run, 1)

    def most(self, run: str) -> int:
        """How often a run is repeated at most."""
        again = self.precision and run in self._repetitions
        return max(self.at_most, self.repetitions(run)) if again else self.repetitions(run)

    def judged_rounds(self, experiment: str) -> range:
        """The rounds after which it is judged which of an experiment's runs need another."""
        least = min((self.repetitions(run) for run in self.experiments[experiment].runs), default=self.at_most)
        return range(least, self.at_most) if self.precision else range(0)

    def experiments_of(self, figures: Iterable[str]) -> list[str]:
        """The experiments that some figures draw."""
        return list(dict.fromkeys(self.figures[name]["experiment"] for name in figures))

    def jobs(self, experiments: Iterable[str] | None = None, most: bool = False) -> list[tuple[str, int]]:
        """Every (run, repetition) of some experiments, or of all, the least of them or the most: first what sizes
        others, then round by round: the first repetition of all, the second of all, and so on, each round in a random
        order of its own, drawn from the seed.

        A run's place among others does not depend on which further experiments are wanted.
        """

        def drawn_place(job: tuple[str, int]) -> tuple[int, bytes]:
            run, number = job
            return number, hashlib.sha256(f"{self.seed}/{number}/{run}".encode()).digest()

        named = self.experiments if experiments is None else experiments
        measured = dict.fromkeys(run for name in named for run in self.experiments[name].runs)
        sizing = dict.fromkeys(self.sized_by[run] for run in measured if run in self.sized_by)
        count = self.most if most else self.repetitions
        repeated = [(run, number) for run in measured for number in range(1, count(run) + 1)]
        return list(dict.fromkeys([*((run, 1) for run in sizing), *sorted(repeated, key=drawn_place)]))

    def require_drawn(self) -> None:
        """CrayfishError if no run is left of any figure that is to be drawn."""
        if not self.drawn:
            raise CrayfishError(
                f"draw: no run is left of the figures that are drawn, with {self.narrowing or 'these'}: name more"
                " parts, or draw a figure that has some"
            )

    @property
    def drawn_experiments(self) -> list[str]:
        """The experiments of the figures that are drawn."""
        return self.experiments_of(self.drawn)

    def sizing(self, run: str) -> list[str]:
        """The pilot or the search that finds the rate of a run's load; empty where the rate is given."""
        return [self.sized_by[run]] if run in self.sized_by else []

    def kept(self, figure: str) -> dict[str, list]:
        """Field of a run -> the values that a figure draws."""
        where = self.figures[figure].get("where", {})
        return {name: list(checks.expanded(name, values)) for name, values in where.items()}

    def wanted(self, targets: Iterable[str]) -> list[str]:
        """The experiments whose figures and tables are among Snakemake's targets; those that are drawn if none is."""
        named: dict[str, set[str]] = {"figures": set(), "tables": set()}
        for target in map(PurePosixPath, targets):
            if target.parent.name in named:
                named[target.parent.name].add(target.stem)
        tables = {name.removesuffix(part) for name in named["tables"] for part in TABLE_PARTS}
        named["figures"] |= {name.removesuffix(RANKING) for name in named["tables"] if name.endswith(RANKING)}
        figures = self.experiments_of(name for name in self.figures if name in named["figures"])
        return [name for name in self.experiments if name in {*figures, *tables}] or self.drawn_experiments

    def numbered_jobs(self, targets: Iterable[str]) -> dict[tuple[str, int], int]:
        """(run, repetition) of all that Snakemake's targets may want -> its number, from 1."""
        return {job: number for number, job in enumerate(self.jobs(self.wanted(targets), most=True), start=1)}

    def estimate(self, targets: Iterable[str]) -> list[str]:
        """What is printed before the first run: each run with its repetitions and seconds, and the sum."""
        names = self.wanted(targets)
        jobs = self.jobs(names)
        repeated = Counter(run for run, _ in jobs)
        lines = [f"  {count} x {self.seconds([(run, 1)]):4.0f} s  {run}" for run, count in repeated.items()]
        number, minutes = f"{len(jobs)}", f"about {self.seconds(jobs) / 60:.0f} minutes"
        if self.precision:
            most = self.jobs(names, most=True)
            number = f"{number} to {len(most)}"
            minutes = f"at least about {self.seconds(jobs) / 60:.0f}, at most {self.seconds(most) / 60:.0f} minutes"
        return [
            *lines,
            f"Crayfish: {number} runs for {', '.join(names)}: if none is there yet {minutes}, environments and models"
            " apart.",
        ]

    def left_out_lines(self) -> list[str]:
        """What is printed of combinations that a word such as `all` would have made, and of experiments without any."""
        empty = [name for name, experiment in self.experiments.items() if not experiment.runs]
        left_out = [
            f"Crayfish: left out of {name}: {count} runs: {reason}"
            for name, reasons in self.left_out.items()
            for reason, count in reasons.items()
        ]
        return left_out + [f"Crayfish: no run is left of {', '.join(empty)} with {self.narrowing}"] * bool(empty)

    def tables(self, results: str, part: str = "") -> list[str]:
        """A part of the table of every experiment that is drawn."""
        return [paths.table(results, name + part) for name in self.drawn_experiments]

    def all_tables(self, results: str) -> list[str]:
        """The tables of what is drawn: those of the experiments and of their repetitions, the digests, and those of
        every run and model."""
        digests = (paths.table(results, name) for name in (*DIGESTS, "runs", "models"))
        return [*self.tables(results), *self.tables(results, "_repetitions"), *digests]

    def figure_files(self, results: str, *suffixes: str) -> list[str]:
        """The files of the figures that are drawn."""
        return [paths.figure(results, name, suffix) for name in self.drawn for suffix in suffixes]

    def runs_of(self, table: str) -> list[str]:
        """The runs of an experiment's table, or of the table "runs": all that are drawn. What only sizes other runs is
        in no table."""
        names = self.drawn_experiments if table == "runs" else [table]
        return list(dict.fromkeys(run for name in names for run in self.experiments[name].runs))

    def made(self, table: str, read: Callable[[str, int], Iterable[str]], before: int | None = None) -> dict[str, int]:
        """Run of a table -> how often it is made. read(experiment, round): the runs that need another one after this
        round; it is asked about rounds before `before` alone, if that is given."""
        found: dict[str, int] = {}
        for experiment in self.drawn_experiments if table == "runs" else [table]:
            counts = {run: self.repetitions(run) for run in self.experiments[experiment].runs}
            for number in self.judged_rounds(experiment):
                if before is not None and number >= before:
                    break
                if not any(count >= number for count in counts.values()):
                    break
                counts |= {run: number + 1 for run in read(experiment, number) if counts[run] == number}
            found |= counts
        return found

    @staticmethod
    def files(results: str, made: Mapping[str, int], name: str) -> list[str]:
        """This file of every repetition of some runs. made: run -> how often it is made."""
        return [
            paths.run_file(results, run, repetition, name)
            for run, count in made.items()
            for repetition in range(1, count + 1)
        ]

    @staticmethod
    def words(results: str, made: Mapping[str, int], name: str) -> list[str]:
        """The same as bash's braces: a command line is no longer than 128 KB, and there may be thousands of runs."""
        runs: dict[int, list[str]] = {}
        for run, count in made.items():
            runs.setdefault(count, []).append(run)
        return [
            paths.run_file(results, braces(names), braces(range(1, count + 1)), name)
            for count, names in sorted(runs.items())
        ]

    def formats(self, table: str) -> dict[str, list[str]]:
        """Model (its folder) -> its formats that a table of models tells: "all_models", or "models": those that drawn
        runs read."""
        if table == "all_models":
            return {name: list(discovery.model(name).formats) for name in discovery.names("models")}
        used: dict[str, set[str]] = {}
        for spec in (self.runs[run] for run in self.runs_of("runs")):
            read = discovery.scorer(spec.scorer).format
            used.setdefault(spec.model_folder, set()).update([read] if read else [])
        return {name: sorted(found) for name, found in sorted(used.items())}

    def seconds(self, jobs: Iterable[tuple[str, int]]) -> float:
        """A rough estimate of how long they take on an idle machine."""
        return sum(seconds_of(self.runs[run]) for run, _ in jobs)


def braces(alternatives: Iterable[object]) -> str:
    """What bash expands to each of them."""
    words = [str(each) for each in alternatives]
    return f"{{{','.join(words)}}}" if len(words) > 1 else words[0]


def seconds_of(spec: RunSpec) -> float:
    """A rough estimate of how long one run takes on an idle machine."""
    load = sum(load.warmup_s + load.measure_s for load in spec.segments)
    if at_most := spec.segments[0].at_most_s:
        load = min(load, at_most)
    if spec.searches:
        load += SEARCH_WARMUP_S + spec.segments[0].search_s  # the last probe ends after that
    return FIXED_COST_S + load * (1 + PRELOAD_S_PER_S * (spec.saturated and spec.transport == "kafka"))


def minutes(spec: RunSpec) -> int:
    """How long one run may take at most, tries that others disturb included, on a machine that is slow."""
    waiting = spec.broker_warmup_s + spec.ready_timeout_s + spec.drain_timeout_s
    return math.ceil((SLOW * seconds_of(spec) + waiting) / 60)


def _segments(where: str, load: dict | list, searched: dict) -> tuple[Segment, ...]:
    """The segments of one run: the product of the load's lists, in their order; those of several loads in turn."""
    if isinstance(load, list):
        return tuple(segment for each in load for segment in _segments(where, each, searched))
    if load.get("kind") == "search":
        load = {**searched, **load}
    combinations = itertools.product(*(checks.listed(value) for value in load.values()))
    loads = [_plain_rates(where, dict(zip(load, values, strict=True))) for values in combinations]
    return RunSpec.loads([_completed(where, each) for each in loads])


def _completed(where: str, load: dict) -> dict:
    """The load with what its kind finds out at the start."""
    kind = load.get("kind")
    if kind not in discovery.names("harness/loads"):
        return load
    if "trace" in load:
        load = {**load, "trace": checks.path(load["trace"])}
    try:
        return discovery.load(kind).completed(load)
    except CrayfishError as error:
        raise CrayfishError(f"{where}: {error}") from error


def _plain_rates(where: str, load: dict) -> dict:
    """The load with {fraction: 0.7, of: sustainable} as the number 0.7 and the load's field `of`."""
    rates = [name for name in checks.RATES if name in load]
    relative = {name: load[name] for name in rates if isinstance(load[name], dict)}
    if not relative:
        return load
    if len(relative) < len(rates) or len({rate["of"] for rate in relative.values()}) > 1:
        raise CrayfishError(f"{where}: rate and peak_rate are both numbers, or both fractions of the same")
    (base,) = {rate["of"] for rate in relative.values()}
    return {**load, **{name: rate["fraction"] for name, rate in relative.items()}, "of": base}


@dataclass(frozen=True)
class Combination:
    """The fields of one run that vary. Those in `by_word` are there because a word such as `all` stands for them."""

    values: dict[str, Any]
    by_word: frozenset[str]


def _products(block: dict, models: list[str]) -> Iterator[list[Combination]]:
    """The combinations of each product of an experiment. models: those that it has where it names none itself."""
    first, *others = checks.listed(block["vary"])
    for product in (first, *others, *({**first, **beside} for beside in checks.listed(block.get("beside", [])))):
        vary = {name: checks.expanded(name, checks.listed(values)) for name, values in product.items()}
        if models:
            vary.setdefault("model", dict.fromkeys(models, False))  # as a word brings them
        yield [
            Combination(
                dict(zip(vary, values, strict=True)),
                frozenset(name for name, value in zip(vary, values, strict=True) if not vary[name][value]),
            )
            for values in itertools.product(*vary.values())
        ]


def _narrowing(config: dict) -> dict[str, Iterable]:
    """Field of RunSpec -> the values that the whole config keeps."""
    return {
        singular: checks.expanded(singular, config[plural])
        for plural, singular in NARROWED.items()
        if config[plural] is not None
    }


def _specs(name: str, block: dict, config: dict, left_out: Counter[str], own: Mapping[str, Declared]) -> list[RunSpec]:
    """The runs of an experiment. What a part refuses is an error where the config names that part; where only a word
    such as `all` does, the combination is left out and counted, as long as the word also stands for one that fits. So
    is what a model of the user's own does not fit, where only `models` brings it in."""
    where = f"experiments.{name}"
    fixed = {**flat(config["run"]), **flat(block.get("fix", {})), "dataset": config["dataset"], "seed": config["seed"]}
    segments = _segments(f"{where}.load", block["load"], config["search"])
    kept, specs = _narrowing(config), []
    kept_models = list(kept.get("model", ()))
    models = [each for each in kept_models if each in own or each == default("model")]
    if "model" in fixed or not own.keys() & models:
        models = []

    def made(combination: Combination) -> RunSpec:
        values = {**fixed, **combination.values}
        if config["placement"] and "placement" not in values and _places(values):
            scorer = values.get("scorer")
            external = scorer in discovery.names("scorers") and discovery.scorer(scorer).external
            most = {part: values.get(name, default(name)) for part, name in INSTANCES.items()}
            values["placement"] = placement.text(config["placement"], external, most)
        if values.get("model") in own:
            values |= _of_own(own[values["model"]], values)
        return RunSpec.from_dict({**values, "segments": segments})

    for combinations in _products(block, models):
        for combination in combinations:
            fields_of = {**fixed, **combination.values}
            if any(fields_of.get(field_name) not in wanted for field_name, wanted in kept.items()):
                continue
            try:
                specs.append(made(combination))
            except CrayfishError as error:
                brought = "model" in combination.by_word and fields_of["model"] in own
                if not brought and not any(_works(made, each) for each in _alternatives(combination, combinations)):
                    raise CrayfishError(f"{where} is refused: {error}") from error
                left_out[str(error)] += 1
    return [spec for spec in specs if not spec.twin or replace(spec, twin=0) in specs]


def _of_own(model: Declared, values: dict) -> dict[str, Any]:
    """The fields of a run with a model of the user's own; CrayfishError where its scorer cannot serve that."""
    scorer = values.get("scorer")
    reads = discovery.scorer(scorer).format if scorer in discovery.names("scorers") else None
    try:
        own = model.of(reads)
    except CrayfishError as error:
        raise CrayfishError(f"run.scorer: {scorer} {error} (own_models.{model.name}.files)") from error
    if reads == "mar" and model.source(reads) == "onnx" and values.get("device", default("device")) != "cpu":
        raise CrayfishError(
            f"run.device: {scorer} computes an ONNX file on the CPU alone: give a TorchScript file too"
            f" (own_models.{model.name}.files), or use device 'cpu', or the scorer 'onnx'"
        )
    return {"dataset": DATASET, "own": own}


def _places(values: dict) -> bool:
    """Whether a run with these fields has parts that the config's placement can put on nodes."""
    return all(values.get(name, default(name)) == default(name) for name in ("transport", "fault", "brokers"))


def _alternatives(refused: Combination, combinations: list[Combination]) -> Iterator[Combination]:
    """What the words that are in a combination also stand for: the others that differ from it in nothing else."""
    named = [name for name in refused.values if name not in refused.by_word]
    for each in combinations:
        if each is not refused and all(each.values[name] == refused.values[name] for name in named):
            yield each


def _works(make: Callable[[Combination], RunSpec], combination: Combination) -> bool:
    try:
        make(combination)
    except CrayfishError:
        return False
    return True


def _sizing(spec: RunSpec, config: dict) -> RunSpec | None:
    """The run that finds the rate of this one's load: a short saturated pilot, or a search; None where it is given.
    A twin's is its system's."""
    load, spec = spec.segments[0], replace(spec, twin=0)
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
    for name in weights:
        if name not in discovery.names("models"):
            raise checks.unknown("weights", name, discovery.names("models"))
        if discovery.model(name).load is None:
            able = [each for each in discovery.names("models") if discovery.model(each).load]
            raise CrayfishError(f"weights.{name}: {name} is trained here (allowed: {', '.join(able)})")


def _check_cluster(cluster: dict[str, str], runs: Iterable[RunSpec]) -> None:
    """Refuse an address of what has none, and an engine elsewhere with parts that a run would start on the loopback."""
    allowed = checks.addresses()
    for name in cluster:
        if name not in allowed:
            told = ", ".join(f"{each}: {address}" for each, address in allowed.items())
            raise CrayfishError(f"cluster.{name}: has no address{checks.suggestion(name, allowed)} (allowed: {told})")
    for spec in runs:
        needed = ["kafka"] if spec.transport == "kafka" else []
        needed += [spec.scorer] if discovery.scorer(spec.scorer).external else []
        placed = placement.parsed(spec.placement)
        given = {"broker": "kafka", "processor": spec.processor, "server": spec.scorer}
        for part, name in given.items():
            if name in cluster and placed[part] != placement.HERE:
                raise CrayfishError(
                    f"placement.{part}: {name} is at {cluster[name]!r} already (`cluster`): leave one of them out"
                )
        if spec.processor in cluster and (missing := [name for name in needed if name not in cluster]):
            raise CrayfishError(
                f"cluster.{spec.processor}: {cluster[spec.processor]!r} cannot reach what a run starts on its own"
                f" machine: give an address of {' and '.join(missing)} too, narrow `scorers`, or leave {spec.processor}"
                " to the run"
            )


def _check_rounds(config: dict, experiments: Mapping[str, Experiment]) -> None:
    """Refuse fewer rounds at most than at least."""
    least = max([LEAST_ROUNDS, *(each.repetitions for each in experiments.values())])
    if config["precision"] and config["at_most"] < least:
        raise CrayfishError(f"at_most: {config['at_most']} must be at least {least}, the rounds that are always made")


def make_plan(config: dict) -> Plan:
    """The plan of a whole config. CrayfishError names the key, the value and what is allowed."""
    config = checks.complete(config)
    checks.validate(config)
    _check_weights(config["weights"] or {})
    own = declared(config["own_models"], checks.path)
    _segments("search", {"kind": "search"}, config["search"])
    runs: dict[str, RunSpec] = {}
    sized_by: dict[str, str] = {}
    experiments: dict[str, Experiment] = {}
    left_out: dict[str, Counter[str]] = {}
    for name, block in config["experiments"].items():
        specs = _specs(name, block, config, left_out.setdefault(name, Counter()), own)
        identifiers = [spec.identifier for spec in specs]
        for identifier, spec in zip(identifiers, specs, strict=True):
            runs[identifier] = spec
            if sizing := _sizing(spec, config):
                runs[sizing.identifier] = sizing
                sized_by[identifier] = sizing.identifier
        repetitions = block.get("repetitions", config["repetitions"])
        experiments[name] = Experiment(name, tuple(dict.fromkeys(identifiers)), repetitions)
    _check_rounds(config, experiments)
    _check_cluster(config["cluster"] or {}, runs.values())
    if config["kafka_client"] and "kafka" not in (config["cluster"] or {}):
        raise CrayfishError(
            f"kafka_client: {config['kafka_client']!r} is of no use: a Kafka of the run's own asks nobody who they are;"
            " name the address under cluster.kafka, or leave it out"
        )
    figures = {name: figure for name, figure in config["figures"].items() if _is_drawn(name, figure, experiments, runs)}
    drawn = config["draw"] if config["draw"] is not None else list(config["figures"])
    for name in drawn:
        if name not in config["figures"]:
            raise checks.unknown("draw", name, config["figures"])
    narrowing = ", ".join(f"{name}: {config[name]}" for name in NARROWED if config[name] is not None)
    return Plan(
        runs,
        sized_by,
        experiments,
        figures,
        tuple(name for name in drawn if name in figures),
        {name: reasons for name, reasons in left_out.items() if reasons},
        config["seed"],
        config["precision"],
        config["at_most"],
        narrowing,
        {each.key: each for each in own.values()},
    )


def _is_drawn(name: str, figure: dict, experiments: dict[str, Experiment], runs: dict[str, RunSpec]) -> bool:
    """Whether anything is left of a figure after the config was narrowed."""
    if figure["experiment"] not in experiments:
        raise checks.unknown(f"figures.{name}.experiment", figure["experiment"], experiments)
    kept = {field_name: checks.expanded(field_name, values) for field_name, values in figure.get("where", {}).items()}
    return any(
        all(getattr(runs[run], field_name) in values for field_name, values in kept.items())
        for run in experiments[figure["experiment"]].runs
    )
