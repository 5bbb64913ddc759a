"""The config: its keys, the schema that is made of them, and the checks.

KEYS declares the keys of the top level, the metadata of RunSpec and Segment those of a run and of a load. From these
come the defaults, the closed JSON schema (config/schema.yaml), the tables of docs/configuration.md
(crayfish.spec.documentation) and the errors.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import functools
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from crayfish.spec import discovery, placement
from crayfish.spec.errors import CrayfishError
from crayfish.spec.own_models import FORMATS
from crayfish.spec.run_spec import GROUPS, RELATIVE_TO, Known, RunSpec, Segment, known_fields
from crayfish.spec.values import ITEM_BYTES

Schema = dict[str, Any]
TYPES = {"str": "string", "int": "integer", "float": "number"}
TOLD = {
    "array": "a list (array)",
    "integer": "a whole number (integer)",
    "null": "null",
    "number": "a number",
    "object": "a block of keys (object)",
    "string": "a text (string)",
}
OF_THE_CONFIG = ("dataset", "seed")  # fields of a run that are keys of the top level
RATES = ("rate", "peak_rate")  # of a load: they may be fractions
NAME = "^[a-z][a-z0-9_]*$"
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")  # what people write as one: YAML has 1e3 for a text
# Values that reach a shell or a list of files: no blank, quote, brace or other sign that means something to either.
FOLDER = "^[\\w./+=@%][\\w./+=@%,:-]*$"
URL = "^https?://[\\w.~%@:/+-]+$"
SLURM_NAMES = ("partition", "account", "constraint")
HOST = "^[\\w:][\\w.:-]*$"
ADDRESS = "^[\\w\\[/][\\w.\\[\\]:/,-]*:[0-9]+$"
PATHS = ("results", "dataset_folder", "kafka_client")
WHOLE = ("repetitions", "at_most", "seed")
# Field of a run -> word that stands for several parts -> the parts that it stands for.
WORDS: dict[str, dict[str, Callable[[], list[str]]]] = {
    "processor": {
        "all": lambda: [name for name in discovery.names("processors") if not discovery.processor(name).floor]
    },
    "scorer": {
        "embedded": lambda: [name for name in discovery.names("scorers") if _serves(name, external=False)],
        "external": lambda: [name for name in discovery.names("scorers") if _serves(name, external=True)],
        "all": lambda: list(discovery.names("scorers")),
    },
    "model": {"all": lambda: list(discovery.names("models"))},
}


def _serves(scorer: str, external: bool) -> bool:
    """Whether a scorer is of this kind; one that reads no model is no serving tool."""
    declared = discovery.scorer(scorer)
    return declared.external == external and declared.format is not None


@dataclass(frozen=True)
class Key:
    """A key of the config's top level: what it means, its default, and the schema of its values."""

    doc: str
    default: Any
    schema: Callable[[], Schema]


def _closed(properties: dict[str, Schema], required: Iterable[str] = (), **more: Any) -> Schema:
    needed = {"required": list(required)} if required else {}
    return {"type": "object", "additionalProperties": False, **needed, "properties": properties, **more}


def _one_or_several(value: Schema) -> Schema:
    return {"anyOf": [value, {"type": "array", "minItems": 1, "items": value}]}


def _or_null(value: Schema) -> Schema:
    return {**value, "type": ["null", value["type"]]}


def _described(type_name: str, default: Any, known: Known, words: Iterable[str] = ()) -> Schema:
    """The schema of one value of a field."""
    found: Schema = {"description": known.doc + (f" [{known.unit}]" if known.unit else ""), "type": TYPES[type_name]}
    if known.choices:
        found["enum"] = [*known.allowed, *words]
    if known.above is not None:
        found["exclusiveMinimum"] = known.above
    if known.least is not None:
        found["minimum"] = known.least
    if known.most is not None:
        found["maximum"] = known.most
    if default is not MISSING:
        found["default"] = default
    return found


def run_fields(words: bool = False) -> dict[str, Schema]:
    """Field of a run -> the schema of one value; with the words that stand for several parts, or without.

    What names a model may be, the schema defines: it depends on the config's own ones.
    """
    found = {
        name: _described(*field, words=WORDS.get(name, ()) if words else ())
        for name, field in known_fields(RunSpec).items()
    }
    told = {name: found["model"][name] for name in ("description", "default")}
    return found | {"model": {"$ref": f"#/$defs/{'models' if words else 'model'}", **told}}


def _model_names(own: Iterable[str] | None) -> dict[str, Schema]:
    """The schema's definitions of what a model may be called, with and without words; None: own ones are any names."""
    found = {}
    for name, words in (("model", ()), ("models", tuple(WORDS["model"]))):
        value = _described(*known_fields(RunSpec)["model"], words=words)
        value = {key: value[key] for key in ("type", "enum")}
        if own is None:
            value = {"type": "string", "pattern": NAME, "examples": value["enum"]}
        else:
            value["enum"] += own
        found[name] = value
    return found


def load_fields() -> dict[str, Schema]:
    """Field of a load -> the schema of one value."""
    return {name: _described(*field) for name, field in known_fields(Segment).items()}


def _fields_to_set() -> Schema:
    """Fields of a run with one value each."""
    fields = {name: value for name, value in run_fields().items() if name not in OF_THE_CONFIG}
    groups = {}
    for group in sorted(GROUPS):
        own = {name.removeprefix(f"{group}_"): value for name, value in fields.items() if name.startswith(f"{group}_")}
        groups[group] = _closed({**own, "max": _or_null(own["max"])} if group == "engine_batch" else own)
    return _closed(fields | groups)


def _load() -> Schema:
    fraction = _closed(
        {"fraction": {"type": "number", "exclusiveMinimum": 0}, "of": {"type": "string", "enum": list(RELATIVE_TO)}},
        required=("fraction", "of"),
        description="a fraction of the rate that a search of the system has found: {fraction: 0.7, of: sustainable}",
    )
    fields = load_fields()
    rates = {name: {"anyOf": [fields[name], fraction]} for name in RATES}
    return _closed({name: _one_or_several(value) for name, value in (fields | rates).items()})


def _experiment() -> Schema:
    vary = _closed({name: _one_or_several(value) for name, value in run_fields(words=True).items()})
    return _closed(
        {
            "description": {"type": "string"},
            "vary": _one_or_several(vary)
            | {
                "description": "field of a run -> its values: the runs are their product; a list of such blocks gives"
                " the products of each, one after the other. A word (embedded, external, all) adds the parts that it"
                " stands for; a combination that a part refuses because of a word is left out, and the plan says so"
            },
            "beside": {"anyOf": [vary, {"type": "array", "items": vary}]}
            | {
                "description": "blocks that are laid over that of `vary`, each for further runs: another floor (relay),"
                " or a twin of a system, which is left out where that system itself is not run"
            },
            "fix": _fields_to_set() | {"description": "fields that are the same in all runs of the experiment"},
            "load": _one_or_several(_load())
            | {"description": "how events arrive; several values, or several loads, are segments of the same run"},
            "repetitions": {"type": "integer", "minimum": 1, "description": "of its runs, instead of the config's"},
        }
    )


def _figure() -> Schema:
    kept = {name: {"type": "array", "minItems": 1, "items": value} for name, value in run_fields(words=True).items()}
    return _closed(
        {
            "experiment": {"type": "string", "description": "the experiment that it draws"},
            "kind": {"type": "string", "enum": list(discovery.names("results/figures"))},
            "where": _closed(kept, description="field of a run -> the values that are drawn; without it all are"),
        }
    )


def _named(value: Schema) -> Schema:
    return {"type": "object", "propertyNames": {"pattern": NAME}, "additionalProperties": value}


def _parts(field: str) -> Schema:
    return _or_null({"type": "array", "minItems": 1, "items": run_fields(words=True)[field]})


def addresses() -> dict[str, str]:
    """What of a run may be there already -> what its address is."""
    found = {"kafka": "bootstrap servers, host:port"}
    for name in discovery.names("processors"):
        if address := discovery.processor(name).address:
            found[name] = address
    external = (name for name in discovery.names("scorers") if discovery.scorer(name).external)
    return found | dict.fromkeys(external, "host:port")


def _cluster() -> Schema:
    address = {"type": "string", "pattern": ADDRESS}
    known = {name: {**address, "description": told} for name, told in addresses().items()}
    return {"type": ["null", "object"], "properties": known, "additionalProperties": address}


def _slurm() -> Schema:
    named = {name: {"type": ["null", "string"], "pattern": "^[\\w.-]+$"} for name in SLURM_NAMES}
    return _closed({**named, "set_up": {"type": "string", "enum": ["nodes", "login"]}})


def _placement() -> Schema:
    number = {"type": "integer", "minimum": 0}
    several = _one_or_several(number)
    return _closed({part: number if part == "server" else several for part in placement.PARTS})


def _nodes() -> Schema:
    address = {"type": "string", "pattern": HOST, "description": "an address or a name by which the others reach it"}
    space = {"type": "string", "pattern": HOST, "description": "it is this network namespace of this machine"}
    return {"type": "array", "items": _closed({"address": address, "namespace": space}, required=("address",))}


def _weights() -> Schema:
    file = _closed(
        {
            "file": {"type": "string", "minLength": 1, "description": "as torchvision publishes it (.pth)"},
            "sha256": {"type": "string", "pattern": "^[0-9a-fA-F]{64}$", "description": "64 hexadecimal digits"},
        },
        required=("file", "sha256"),
    )
    loading = {name: file for name in discovery.names("models") if discovery.model(name).load}
    return {"type": ["null", "object"], "properties": loading, "additionalProperties": file}


def _own_models() -> Schema:
    def of_format(value: Schema) -> Schema:
        return _closed(dict.fromkeys(FORMATS, value), minProperties=1)

    text = {"type": "string", "minLength": 1}
    name = {"type": ["string", "integer"], "minLength": 1}  # a name of digits alone, too
    return {
        "type": ["null", "object"],
        "propertyNames": {"pattern": NAME},
        "additionalProperties": _closed(
            {
                "files": of_format(text)
                | {"description": "format -> the file, or folder of a SavedModel; the first gives the right answers"},
                "sha256": of_format({"type": "string", "pattern": "^[0-9a-fA-F]{64}$"})
                | {"description": "format -> the file's sum, which is checked"},
                "samples": text
                | {"description": "an npy file, or an npz with one array, [n, ...] in the type of the input"},
                "range": {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "number"}}
                | {"description": "without samples: inputs are drawn by the seed from the first to the second number"},
                "output": {"anyOf": [name, of_format(name)]}
                | {"description": "the output that is the answer, where there are several: one name, or one a format"},
                "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}}
                | {"description": "of a data point, where the file leaves it open and there are no samples"},
                "type": {"type": "string", "enum": list(ITEM_BYTES)}
                | {"description": "of the input, where the file tells none (TorchScript) and there are no samples"},
            },
            required=("files",),
        ),
    }


def _search() -> Schema:
    return _closed({name: value for name, value in load_fields().items() if name != "kind"})


KEYS: dict[str, Key] = {
    "results": Key(
        "the folder of runs, tables, figures and the report. `~` and `$NAME`, here, in `dataset_folder` and in a file"
        " of `weights`, are what the shell would make of them",
        "results",
        lambda: {"type": "string", "pattern": FOLDER},
    ),
    "dataset": Key(
        "`fashion_mnist`; or `synthetic`: seeded, not downloaded, and named in every output",
        "fashion_mnist",
        lambda: {"type": "string", "enum": list(known_fields(RunSpec)["dataset"][2].allowed)},
    ),
    "dataset_folder": Key(
        "the folder of the data set's four `.gz` or idx files; `null`: the Debian package's folder, the package itself,"
        " the official URL, whichever is there first",
        None,
        lambda: {"type": ["null", "string"]},
    ),
    "measure": Key(
        "`false`: no run is made; summaries, tables, figures and the report are made of the runs that lie in `results`,"
        " whoever measured them (`make redraw`)",
        True,
        lambda: {"type": "boolean"},
    ),
    "jar_mirror": Key(
        "the URL of a Maven repository that has the jars, where Maven Central cannot be reached; `null`: Maven Central",
        None,
        lambda: {"type": ["null", "string"], "pattern": URL},
    ),
    "cluster": Key(
        "name → address of what is there already; a run starts whatever is not named itself",
        {},
        _cluster,
    ),
    "kafka_client": Key(
        "a file in the form of Kafka's client.properties: how clients prove who they are to the `kafka` of `cluster`"
        " (TLS, SASL; docs/cluster.md). Its path is told everywhere, what it says nowhere",
        None,
        lambda: {"type": ["null", "string"], "minLength": 1},
    ),
    "placement": Key(
        "`{broker: 1, processor: [2, 3], server: 0, generator: 4, sink: 5}`: the nodes that these are on, in every run;"
        " what is not named is on node 0 (docs/cluster.md). With `--profile slurm` a job has as many nodes",
        {},
        _placement,
    ),
    "nodes": Key(
        "without SLURM, the nodes of a `placement`, from number 0: `{address: 10.0.0.1}` is this machine,"
        " `{address: 10.0.0.2, namespace: name}` one of its network namespaces",
        [],
        _nodes,
    ),
    "slurm": Key(
        "with `--profile slurm`: the `partition`, `account` and `constraint` of all jobs (`null`: SLURM's own), and"
        " where models are trained, converted and verified, `set_up: nodes` or `login`",
        {**dict.fromkeys(SLURM_NAMES), "set_up": "nodes"},
        _slurm,
    ),
    "weights": Key(
        "`{resnet50: {file: ..., sha256: ...}}`: your own file of a model's weights; another sum is refused. `null`: a"
        " seeded initialisation, which the model table states; scoring costs the same",
        None,
        _weights,
    ),
    "own_models": Key(
        "name → `files`, `sha256`, `samples` or `range`, `output`, `shape`, `type`: models of your own, as files"
        " (docs/own-model.md)",
        None,
        _own_models,
    ),
    "seed": Key(
        "the seed of training, of the arrival of events and of the pool of inputs",
        1,
        lambda: {"type": "integer", "minimum": 0},
    ),
    "repetitions": Key(
        "how often each run is repeated, unless its experiment says otherwise; intervals need 2, a ranking deserves 3",
        3,
        lambda: {"type": "integer", "minimum": 1},
    ),
    "precision": Key(
        "rounds of repetitions go on until the 95 % interval of each run's headline metric is within this share of its"
        " mean to each side: throughput of a backlog, the sustainable rate of a search, median latency of each paced"
        " load. Only runs that still need it are made again; `repetitions`, and 3, are then the least",
        None,
        lambda: {"type": ["null", "number"], "exclusiveMinimum": 0},
    ),
    "at_most": Key(
        "rounds that a `precision` makes at most",
        8,
        lambda: {"type": "integer", "minimum": 1},
    ),
    "processors": Key("keeps only these processors in every experiment", None, lambda: _parts("processor")),
    "scorers": Key("keeps only these scorers in every experiment", None, lambda: _parts("scorer")),
    "models": Key(
        "keeps only these models in every experiment; those of `own_models` also take the place of `ffnn` in an"
        " experiment that names no model",
        None,
        lambda: _parts("model"),
    ),
    "pilot": Key(
        "the saturated run that finds the rate of a backlog: `rate` x `seconds` events (1 GB at most), drained for"
        " `seconds`",
        {"rate": 12000, "seconds": 20},
        lambda: _closed({name: {"type": "number", "exclusiveMinimum": 0} for name in ("rate", "seconds")}),
    ),
    "search": Key(
        "fields of every load of the kind `search`, unless it says otherwise",
        {"warmup_s": 1, "measure_s": 4, "objective_ms": 1000, "search_s": 70},
        _search,
    ),
    "run": Key("fields of every run, unless an experiment says otherwise", {}, _fields_to_set),
    "experiments": Key(
        "name → `vary`, `beside`, `fix`, `load`, `repetitions`, `description`", {}, lambda: _named(_experiment())
    ),
    "figures": Key(
        "name → `experiment`, `kind` (a module of `results/figures`), `where` (field → the values that are drawn)",
        {},
        lambda: _named(_figure()),
    ),
    "draw": Key(
        "the figures that the target `figures` makes; `null`: all. Any other is made when it is named",
        None,
        lambda: {"type": ["null", "array"], "items": {"type": "string"}},
    ),
}
# What only a whole config has: files of config/ that are laid over others may leave it out, so the schema does too.
REQUIRED = {"experiments": ("vary", "load"), "figures": ("experiment", "kind")}


@functools.cache
def schema(own: tuple[str, ...] | None = None) -> Schema:
    """The closed JSON schema of a config file, whole or laid over others. own: the models that it declares itself;
    None: they may be any."""
    keys = {name: {"description": key.doc, **key.schema(), "default": key.default} for name, key in KEYS.items()}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": _model_names(own)}
    return {**head, **_closed(keys)}


def suggestion(value: str, allowed: Iterable[str]) -> str:
    """What was probably meant, as the end of a sentence; empty if nothing is near."""
    near = difflib.get_close_matches(value, list(allowed), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def unknown(where: str, value: object, allowed: Iterable[str]) -> CrayfishError:
    """The error that a value is none of those that are allowed."""
    allowed = list(map(str, allowed))
    return CrayfishError(
        f"{where}: {value!r} is not known{suggestion(str(value), allowed)} (allowed: {', '.join(allowed)})"
    )


def _told(types: str | list[str]) -> str:
    return " or ".join(TOLD[each] for each in ([types] if isinstance(types, str) else types))


def _explained(error: jsonschema.ValidationError) -> list[str]:
    """What is wrong, in words: the key, the value, what is allowed."""
    where = ".".join(map(str, error.absolute_path))
    value, wanted = error.instance, error.validator_value
    rule: Any = error.schema
    match error.validator:
        case "anyOf":
            return _explained_choice(error)
        case "additionalProperties":
            allowed = list(rule["properties"])
            keys = [f"{where}.{key}" if where else str(key) for key in value if key not in allowed]
            listed = f"(allowed: {', '.join(allowed)})"
            return [f"{key}: unknown key{suggestion(key.rpartition('.')[2], allowed)} {listed}" for key in keys]
        case "enum":
            return [str(unknown(where, value, wanted))]
        case "type":
            return [f"{where or 'config'}: {value!r} is not {_told(wanted)}"]
        case "required":
            missing = ", ".join(key for key in wanted if key not in value)
            return [
                f"{where}: {value!r} lacks {missing}" + (f": {rule['description']}" if "description" in rule else "")
            ]
        case "pattern":
            return [f"{where}: {value!r} is not allowed: it must match {wanted}"]
        case "minimum" | "exclusiveMinimum" | "maximum":
            bound = {"minimum": "at least", "exclusiveMinimum": "more than"}.get(error.validator, "at most")
            return [f"{where}: {value!r} must be {bound} {wanted:.15g}"]
    return [f"{where}: {error.message}"]


def _explained_choice(error: jsonschema.ValidationError) -> list[str]:
    """What is wrong with a value of which several kinds are allowed: the faults of the kind that it is of."""
    alternatives: dict[Any, list[jsonschema.ValidationError]] = {}
    for each in error.context or ():
        alternatives.setdefault(each.relative_schema_path[0], []).append(each)
    fitting = [faults for faults in alternatives.values() if not any(map(_mistyped, faults))]
    if fitting:
        return [text for fault in fitting[0] for text in _explained(fault)]
    kinds = [kind for faults in alternatives.values() for fault in faults for kind in _kinds(fault)]
    where = ".".join(map(str, error.absolute_path))
    return [f"{where}: {error.instance!r} is not {_told(list(dict.fromkeys(kinds)))}"]


def _mistyped(fault: jsonschema.ValidationError) -> bool:
    """Whether the value itself, not what it holds, is of another kind than this alternative."""
    if fault.relative_path:
        return False
    return fault.validator == "type" or (fault.validator == "anyOf" and all(map(_mistyped, fault.context or ())))


def _kinds(fault: jsonschema.ValidationError) -> list[str]:
    if fault.validator == "anyOf":
        return [kind for each in fault.context or () for kind in _kinds(each)]
    wanted: Any = fault.validator_value
    return [wanted] if isinstance(wanted, str) else list(wanted)


def validate(config: dict) -> None:
    """CrayfishError for an unknown key, a missing one, or a value that is not allowed: every fault is named."""
    own = config.get("own_models")
    validator = jsonschema.Draft202012Validator(schema(tuple(map(str, own)) if isinstance(own, dict) else ()))
    faults = [text for error in validator.iter_errors(config) for text in _explained(error)]
    if not faults:
        faults = [
            f"{kind}.{name}.{key}: missing"
            for kind, keys in REQUIRED.items()
            for name, block in config[kind].items()
            for key in keys
            if key not in block
        ]
        faults += [
            f"experiments.{name}.load.kind: missing"
            for name, block in config["experiments"].items()
            for load in listed(block.get("load", []))
            if "kind" not in load
        ]
    if faults:
        raise CrayfishError("the config is refused:\n" + "\n".join(f"  {fault}" for fault in sorted(faults)))


def complete(config: dict) -> dict:
    """The config with the defaults of the keys that it lacks, of some blocks also of the keys in them; paths expanded,
    and whole numbers as such."""
    values = {name: copy.deepcopy(config.get(name, key.default)) for name, key in KEYS.items()}
    blocks = [name for name in ("pilot", "search", "slurm") if isinstance(values[name], dict)]
    values |= {name: {**KEYS[name].default, **values[name]} for name in blocks}
    values |= {name: path(values[name]) for name in PATHS}
    values |= {name: whole(values[name]) for name in WHOLE}
    for blocks_of, name, made in (("weights", "file", path), ("experiments", "repetitions", whole)):
        if isinstance(values[blocks_of], dict):
            for block in values[blocks_of].values():
                if isinstance(block, dict) and name in block:
                    block[name] = made(block[name])
    return {**config, **values}


def path(value: Any) -> Any:
    """A path with `~` and variables as a shell has them; one that a shell does not know stays as it is."""
    if not isinstance(value, str) or not value:
        return value
    with contextlib.suppress(RuntimeError):  # of a user who does not exist
        value = str(Path(value).expanduser())
    return os.path.expandvars(value)


def whole(value: Any) -> Any:
    """3 for 3.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def parsed(value: Any) -> Any:
    """The value with texts that are numbers, truths or nulls as such: nested `--config` values come as texts."""
    if isinstance(value, dict):
        return {key: parsed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [parsed(each) for each in value]
    if isinstance(value, str):
        try:
            plain = yaml.safe_load(value)
        except yaml.YAMLError:
            return value
        if isinstance(plain, str) and NUMBER.fullmatch(plain):
            return whole(float(plain))
        return plain if plain is None or isinstance(plain, bool | int | float) else value
    return value


def listed(value: Any) -> list:
    """The value as a list: one that is none is its only element."""
    return value if isinstance(value, list) else [value]


def expanded(field: str, values: Iterable) -> dict[Any, bool]:
    """The values with each word replaced by the parts that it stands for -> whether one of them names it itself."""
    found: dict[Any, bool] = {}
    for value in values:
        if value in (words := WORDS.get(field, {})):
            for part in words[value]():
                found.setdefault(part, False)
        else:
            found[value] = True
    return found
