"""Config -> the runs of every experiment. Pure: nothing is started, and what cannot run is refused here."""

from __future__ import annotations

import ast
import difflib
import functools
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import jsonschema
import yaml

from crayfish import discovery
from crayfish.errors import CrayfishError
from crayfish.run_spec import CHOICES, Load, RunSpec

FIXED_COST_S = 30  # of a run, for the estimate
PRELOAD_S_PER_S = 1.0  # writing a backlog takes about as long as draining it
NARROWED = {"processors": "processor", "scorers": "scorer", "models": "model"}
LIBRARY = Path(__file__).parent
PROCESSES = ("execution", "worker", "producer", "consumer", "janitor")  # of a run, beside what it chooses
SCHEMA = Path(__file__).parents[3] / "config" / "schema.yaml"


@dataclass(frozen=True)
class Experiment:
    """Its runs, in the order in which they are plotted, and how often each is repeated."""

    name: str
    runs: tuple[str, ...]
    repetitions: int


@dataclass(frozen=True)
class Plan:
    """All runs by their identifiers, the pilot of each run whose backlog needs one, and the experiments."""

    runs: dict[str, RunSpec]
    pilots: dict[str, str]
    experiments: dict[str, Experiment]
    figures: dict[str, dict] = field(default_factory=dict)

    def repetitions(self, run: str) -> int:
        """How often a run is repeated: as the most demanding of its experiments asks. Pilots run once."""
        return max([each.repetitions for each in self.experiments.values() if run in each.runs], default=1)

    def jobs(self) -> list[tuple[str, int]]:
        """Every (run, repetition), interleaved: the first repetition of all, then the second of all."""
        pilots = [(run, 1) for run in dict.fromkeys(self.pilots.values())]
        measured = [run for run in self.runs if run not in self.pilots.values()]
        most = max(map(self.repetitions, measured), default=0)
        return pilots + [
            (run, number) for number in range(1, most + 1) for run in measured if number <= self.repetitions(run)
        ]

    def seconds(self) -> float:
        """A rough estimate of how long all of it takes on an idle machine."""
        return sum(_seconds(self.runs[run]) for run, _ in self.jobs())


def _seconds(spec: RunSpec) -> float:
    load = sum(load.warmup_s + load.measure_s for load in spec.segments)
    return FIXED_COST_S + load * (1 + PRELOAD_S_PER_S * (spec.saturated and spec.transport == "kafka"))


def _suggest(key: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(key, allowed, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _explain(error: jsonschema.ValidationError) -> str:
    where = ".".join(map(str, error.absolute_path)) or "config"
    if error.validator == "additionalProperties":
        allowed = sorted(error.schema.get("properties", {}))
        unknown = [key for key in error.instance if key not in allowed]
        prefix = "" if where == "config" else f"{where}."
        return "; ".join(
            f"{prefix}{key}: unknown key{_suggest(str(key), allowed)} (allowed: {', '.join(allowed)})"
            for key in unknown
        )
    if error.validator == "enum":
        return f"{where}: {error.instance!r} is not allowed (allowed: {', '.join(map(str, error.validator_value))})"
    if error.validator == "type":
        wanted = error.validator_value if isinstance(error.validator_value, str) else " or ".join(error.validator_value)
        return f"{where}: {error.instance!r} is not of the type {wanted}"
    return f"{where}: {error.message}"


def validate(config: dict, schema: Path = SCHEMA) -> None:
    """Refuse a config with an unknown key, a missing one or a wrong type; every fault is named."""
    validator = jsonschema.Draft202012Validator(yaml.safe_load(schema.read_text()))
    if faults := sorted(_explain(error) for error in validator.iter_errors(config)):
        raise CrayfishError("the config is refused:\n" + "\n".join(f"  {fault}" for fault in faults))


def parsed(value: object) -> object:
    """The value with texts that are YAML numbers, truths or nulls as such: nested `--config` values come as texts."""
    if isinstance(value, dict):
        return {key: parsed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [parsed(each) for each in value]
    if isinstance(value, str):
        try:
            plain = yaml.safe_load(value)
        except yaml.YAMLError:
            return value
        return plain if plain is None or isinstance(plain, bool | int | float) else value
    return value


def _listed(value: object) -> list:
    return value if isinstance(value, list) else [value]


def _known(where: str, field_name: str, values: list) -> list:
    allowed = CHOICES.get(field_name)
    for value in values:
        if allowed and value not in allowed:
            raise CrayfishError(
                f"{where}: {value!r} is not known{_suggest(str(value), list(allowed))} (allowed: {', '.join(allowed)})"
            )
    return values


def _segments(where: str, load: dict) -> tuple[Load, ...]:
    """The segments of one run: the product of the load's lists, in the order of the lists."""
    allowed = [each.name for each in fields(Load)]
    for key in load:
        if key not in allowed:
            raise CrayfishError(f"{where}.{key}: unknown key{_suggest(key, allowed)} (allowed: {', '.join(allowed)})")
    combinations = itertools.product(*(_listed(value) for value in load.values()))
    return RunSpec.loads([dict(zip(load, values, strict=True)) for values in combinations])


def _specs(name: str, block: dict, config: dict) -> list[RunSpec]:
    where = f"experiments.{name}"
    allowed = [each.name for each in fields(RunSpec) if each.name != "segments"]
    vary = {key: _listed(value) for key, value in block.get("vary", {}).items()}
    fixed = {**config.get("run", {}), **block.get("fix", {})}
    for part, keys in (("vary", vary), ("fix", block.get("fix", {})), ("run", config.get("run", {}))):
        for key in keys:
            if key not in allowed:
                place = "run" if part == "run" else f"{where}.{part}"
                raise CrayfishError(
                    f"{place}.{key}: unknown key{_suggest(key, allowed)} (allowed: {', '.join(allowed)})"
                )
    for plural, singular in NARROWED.items():
        values = _known(f"{where}.vary.{singular}", singular, vary.get(singular, []))
        if config.get(plural) is not None and values:
            vary[singular] = [value for value in values if value in config[plural]]
    segments = _segments(f"{where}.load", block["load"])
    specs = []
    for values in itertools.product(*vary.values()):
        chosen = {**fixed, **dict(zip(vary, values, strict=True)), "dataset": config["dataset"], "seed": config["seed"]}
        try:
            specs.append(RunSpec.from_dict({**chosen, "segments": [vars(load) for load in segments]}))
        except CrayfishError as error:
            raise CrayfishError(f"{where} is refused: {error}") from error
    return specs


def _pilot(spec: RunSpec, config: dict) -> RunSpec | None:
    """The short run whose rate sizes this run's backlog; None where the rate is given."""
    load = spec.segments[0]
    if load.kind != "backlog" or load.rate:
        return None
    seconds = config["pilot"]["seconds"]
    short = Load("backlog", config["pilot"]["rate"], load.batch_size, warmup_s=0.8 * seconds, measure_s=0.2 * seconds)
    return replace(spec, segments=(short,))


def _check_weights(weights: dict) -> None:
    """Refuse a file of weights for a model that takes none."""
    for name in _known("weights", "model", list(weights)):
        if not hasattr(discovery.load("models", name), "load"):
            able = [each for each in discovery.names("models") if hasattr(discovery.load("models", each), "load")]
            raise CrayfishError(f"weights.{name}: {name} is trained here (allowed: {', '.join(able)})")


def make_plan(config: dict) -> Plan:
    """The plan of a whole config. CrayfishError names the key, the value and what is allowed."""
    validate(config)
    for plural, singular in NARROWED.items():
        _known(plural, singular, config.get(plural) or [])
    _check_weights(config.get("weights") or {})
    runs: dict[str, RunSpec] = {}
    pilots: dict[str, str] = {}
    experiments: dict[str, Experiment] = {}
    for name, block in config["experiments"].items():
        specs = _specs(name, block, config)
        for spec in specs:
            runs[spec.identifier] = spec
            if pilot := _pilot(spec, config):
                runs[pilot.identifier] = pilot
                pilots[spec.identifier] = pilot.identifier
        repetitions = block.get("repetitions", config["repetitions"])
        experiments[name] = Experiment(name, tuple(dict.fromkeys(spec.identifier for spec in specs)), repetitions)
    for name, figure in config["figures"].items():
        if figure["experiment"] not in experiments:
            raise CrayfishError(
                f"figures.{name}.experiment: {figure['experiment']!r} is not an experiment"
                f" (allowed: {', '.join(experiments)})"
            )
    figures = {name: figure for name, figure in config["figures"].items() if experiments[figure["experiment"]].runs}
    return Plan(runs, pilots, experiments, figures)


@functools.cache
def imported(module: str) -> frozenset[str]:
    """What of the library a module of it imports, itself included, all the way down: "scoring", "scorers/onnx", ..."""
    found, ahead = set(), [module]
    while ahead:
        name = ahead.pop()
        name = f"{name}/__init__" if (LIBRARY / name).is_dir() else name
        if name in found or not (LIBRARY / f"{name}.py").exists():
            continue
        found.add(name)
        for node in ast.walk(ast.parse((LIBRARY / f"{name}.py").read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("crayfish"):
                inside = node.module.removeprefix("crayfish").lstrip(".").replace(".", "/")
                ahead += [inside] if inside and (LIBRARY / f"{inside}.py").exists() else []
                ahead += ["/".join(filter(None, (inside, alias.name))) for alias in node.names]
    return frozenset(found)


def files_of(modules: Iterable[str]) -> list[str]:
    """The files of some modules and of what they import, as paths from the project's root."""
    return sorted(f"workflow/scripts/crayfish/{name}.py" for name in set().union(*map(imported, modules)))


def library_files(spec: RunSpec) -> list[str]:
    """What of the library a run uses: only these can make it run again. Paths from the project's root."""
    chosen = [f"processors/{spec.processor}", *scorer_modules(spec.scorer), f"models/{spec.model}"]
    return files_of([*PROCESSES, *chosen])


def scorer_modules(scorer: str) -> list[str]:
    """The module of a scorer, and that of its server if it calls one with what that starts."""
    if not discovery.load("scorers", scorer).EXTERNAL:
        return [f"scorers/{scorer}"]
    return [f"scorers/{scorer}", f"servers/{scorer}", *getattr(discovery.load("servers", scorer), "STARTS", ())]


def jar_sets(spec: RunSpec, room: str) -> list[str]:
    """The jar sets of a run's processor or of its scorer: room is "processors" or "scorers"."""
    part = spec.processor if room == "processors" else spec.scorer
    return sorted(getattr(discovery.load(room, part), "JARS", ()))


def java_source(spec: RunSpec) -> str | None:
    """The Java source that is compiled for a run's processor, or None."""
    return getattr(discovery.load("processors", spec.processor), "JAVA", {}).get(spec.transport)
