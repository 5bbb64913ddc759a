"""What a job is made from: the files of the library, the environments, jars and models that it uses. Only these can
make it run again. All paths are relative to the project's root.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import itertools
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from crayfish.spec import discovery, paths
from crayfish.spec.discovery import LIBRARY
from crayfish.spec.own_models import Declared
from crayfish.spec.paths import ROOT
from crayfish.spec.run_spec import RunSpec

# What the programs of every run load, beside what it chooses: execute_run itself imports the rest.
PROCESSES = ("harness/producer", "harness/consumer", "harness/janitor", "engine/worker")
# Model format -> the environment that writes it.
WRITERS = {"torchscript": "train", "onnx": "train", "savedmodel": "convert", "h5": "convert", "mar": "torchserve"}
FORMATS = {suffix: name for name, suffix in paths.SUFFIXES.items()}
VERIFIER = "kafka_streams"  # every processor's environment has the embedded scorers; this is the smallest


@functools.cache
def _imports(file: str) -> frozenset[str]:
    """The modules of the library, as "spec/events", that a Python file names in its imports, or might."""
    found = set()
    text = (ROOT / file).read_text()
    if file.endswith(".ipynb"):
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")
    for node in _executed(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "crayfish":
            package = node.module.removeprefix("crayfish").lstrip(".").replace(".", "/")
            found.add(package)
            found |= {"/".join(filter(None, (package, alias.name))) for alias in node.names}
        elif isinstance(node, ast.Import):
            names = (alias.name for alias in node.names if alias.name.startswith("crayfish."))
            found |= {name.removeprefix("crayfish.").replace(".", "/") for name in names}
    return frozenset(found)


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """All statements of a tree, without the bodies of `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr) or (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            continue  # no statement is within an expression, and most of a tree is of these
        yield child
        yield from _executed(child)


@functools.cache
def _files(module: str) -> tuple[str, ...]:
    """The files that importing a module executes first: itself, and the packages that it is in; without those that say
    nothing but what they are. Empty where the name is none of a module."""
    if (LIBRARY / module).is_dir():
        found = [f"{module}/__init__.py"]
    elif (LIBRARY / f"{module}.py").exists():
        found = [f"{module}.py"]
    else:
        return ()
    packages = module.split("/")[:-1]
    found += ["/".join([*packages[:depth], "__init__.py"]) for depth in range(len(packages) + 1)]
    existing = (f"{paths.LIBRARY}/{each}" for each in found if (LIBRARY / each).exists())
    return tuple(each for each in existing if _does_something(each))


@functools.cache
def _does_something(file: str) -> bool:
    """Whether a Python file holds more than a docstring and what describes it, such as __version__."""
    return not all(
        isinstance(node, ast.Expr) or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).startswith("__"))
        for node in ast.parse((ROOT / file).read_text()).body
    )


@functools.cache
def _closure(file: str) -> frozenset[str]:
    """The files of the library that a Python file imports, itself apart, all the way down."""
    found: set[str] = set()
    ahead = [file]
    while ahead:
        for module in _imports(ahead.pop()):
            new = set(_files(module)) - found
            found |= new
            ahead += new
    return frozenset(found - {file})


@functools.cache
def of_modules(*modules: str) -> list[str]:
    """The files of some modules ("processors/flink") and of all that they import."""
    own = {file for module in modules for file in _files(module)}
    return sorted(own.union(*map(_closure, own)))


@functools.cache
def of_script(name: str, *modules: str) -> list[str]:
    """The files of the library that a rule's program imports, and those of modules that it loads by name."""
    return sorted(_closure(paths.script(name)).union(of_modules(*modules)))


def program(name: str, environment: str | None = None, library: bool = True) -> dict[str, str | list[str]]:
    """The inputs that every rule with a program of its own has: the program, what of the library it imports (unless
    the rule has a checksum of that), and the environment that it runs in, if it needs one."""
    made = {"python": paths.interpreter(environment), "packages": paths.packages(environment)} if environment else {}
    return {**made, "script": paths.script(name), **({"library": of_script(name)} if library else {})}


@functools.cache
def of_notebook(path: str) -> list[str]:
    """The files of the library that a notebook's cells import."""
    return sorted(_closure(path))


@functools.cache
def declarations(*rooms: str) -> list[str]:
    """The files that declare the parts of some rooms: for what reads the declarations of all."""
    return [
        f"{paths.LIBRARY}/{discovery.file_of(room, name).relative_to(LIBRARY)}"
        for room in rooms
        for name in discovery.names(room)
    ]


@functools.cache
def _content(file: str) -> bytes:
    return (ROOT / file).read_bytes()


@functools.cache
def _checksum(files: tuple[str, ...]) -> str:
    found = hashlib.sha256()
    for file in files:
        name = (ROOT / file).relative_to(ROOT)  # the same, wherever the checkout and the working directory are
        found.update(f"{name} {len(_content(file))}\n".encode() + _content(file))
    return found.hexdigest()[:16]


def checksum(files: Iterable[str]) -> str:
    """A text that changes with these files' names and contents: as a param it makes a job run again as they would as
    inputs. Planning thousands of jobs takes most of its time for their inputs, and their library files would be most
    of these."""
    return _checksum(tuple(files))


def library_files(spec: RunSpec) -> list[str]:
    """What of the library a run uses: only these can make it run again."""
    kinds = sorted({segment.kind for segment in spec.segments})
    return _library_files(spec.processor, spec.scorer, spec.model, spec.transport, *kinds)


@functools.cache
def _library_files(processor: str, scorer: str, model: str, transport: str, *kinds: str) -> list[str]:
    return of_script(
        "execute_run",
        *PROCESSES,
        *(f"harness/loads/{kind}" for kind in kinds),
        *(["harness/in_engine"] if transport == "in_engine" else []),
        f"processors/{processor}",
        *scorer_modules(scorer),
        f"models/{model}",
    )


def summary_files() -> list[str]:
    """What of the library a summary is made by."""
    return [*of_script("summarise_run"), *declarations("harness/loads")]


def scorer_modules(scorer: str) -> list[str]:
    """The module of a scorer, and that of its server if it calls one with what that starts."""
    if not discovery.scorer(scorer).external:
        return [f"scorers/{scorer}"]
    return [f"scorers/{scorer}", f"servers/{scorer}", *discovery.server(scorer).starts]


def jar_sets(spec: RunSpec) -> tuple[list[str], list[str]]:
    """The jar sets of a run's processor, and those of its scorer."""
    return sorted(discovery.processor(spec.processor).jars), sorted(discovery.scorer(spec.scorer).jars)


def java_sources(spec: RunSpec) -> tuple[str, ...]:
    """The Java sources that are compiled for a run's processor."""
    return discovery.processor(spec.processor).java.get(spec.transport, ())


def run_inputs(spec: RunSpec, cluster: Mapping[str, str], jdk: list[str]) -> dict[str, list[str]]:
    """Input of the rule execute_run -> its files, for all that depends on the run; `cluster` names what is there
    already, and needs nothing here."""
    declared = discovery.scorer(spec.scorer)
    processor, external = spec.environments["processor"], declared.external and spec.scorer not in cluster
    server = [spec.environments["server"]] if external else []
    environments = ["harness", processor, *server, *(["jdk"] if jdk else [])]
    reads = declared.format if spec.scorer not in cluster else None
    processor_jars, scorer_jars = jar_sets(spec)
    return {
        "processor_python": [paths.interpreter(processor)],
        "server_python": [paths.interpreter(name) for name in server],
        "packages": [paths.packages(name) for name in environments],
        "jdk": jdk,
        "broker_jars": [paths.jar_set("kafka")] if spec.transport == "kafka" and "kafka" not in cluster else [],
        "jars": [*map(paths.jar_set, processor_jars), *map(paths.compiled_jar, java_sources(spec))],
        "scorer_jars": [paths.jar_set(name) for name in scorer_jars],
        "reference": [paths.reference(spec.dataset, spec.model_folder)],
        "model": [paths.model_file(spec.dataset, spec.model_folder, reads)] if reads else [],
        "proof": [paths.proof(spec.dataset, spec.model_folder, spec.scorer)] if reads else [],
    }


def cluster_addresses(spec: RunSpec, cluster: Mapping[str, str]) -> dict[str, str]:
    """Option of execute_run -> the address of what the run uses and does not start."""
    names = {"broker": "kafka" if spec.transport == "kafka" else "", "processor": spec.processor, "server": spec.scorer}
    return {f"{stage}_address": cluster[name] for stage, name in names.items() if name in cluster}


def verification_inputs(dataset: str, model: str, scorer: str) -> dict[str, list[str]]:
    """Input of the rule verify_format -> its files, for all that depends on the scorer and the model."""
    declared = discovery.scorer(scorer)
    assert declared.format is not None
    return {
        "library": of_script("verify_format", *scorer_modules(scorer), f"models/{model}"),
        "file": [paths.model_file(dataset, model, declared.format)],
        "reference": [paths.reference(dataset, model)],
        "jars": [paths.jar_set(name) for name in declared.jars],
        "server_python": [paths.interpreter(scorer)] if declared.external else [],
        "harness_python": [paths.interpreter("harness")] if declared.external else [],
    }


def conversion_inputs(dataset: str, model: str, suffix: str, archived: str = "torchscript") -> dict[str, list[str]]:
    """Input of the rule convert -> its files. archived: the format that a TorchServe archive is made of."""
    environment = WRITERS[FORMATS[suffix]]
    archive = FORMATS[suffix] == "mar"
    return {
        "python": [paths.interpreter(environment)],
        "packages": [paths.packages(environment)],
        "library": of_script("convert", f"models/{model}", *(["servers/_torchserve_handler"] if archive else [])),
        "source": [paths.model_file(dataset, model, archived if archive else "npz")],
    }


def compilation_inputs(name: str) -> dict[str, list[str]]:
    """Input of the rule compile_java -> its files, of the Java source with this name."""
    for declared in map(discovery.processor, discovery.names("processors")):
        for source in itertools.chain(*declared.java.values()):
            if paths.compiled_jar(source) == paths.compiled_jar(name):
                sets = declared.jars if declared.java_jars is None else declared.java_jars
                return {"source": [paths.java_source(source)], "jars": [paths.jar_set(each) for each in sets]}
    return {}


def compiled_sources() -> list[str]:
    """The names of all Java sources, as their jars have them."""
    declared = map(discovery.processor, discovery.names("processors"))
    return sorted({paths.stem(source) for each in declared for sources in each.java.values() for source in sources})


def proofs(dataset: str) -> list[str]:
    """The proofs that every scorer answers right with every model that it can read."""
    return [
        paths.proof(dataset, model, scorer)
        for model in discovery.names("models")
        for scorer in discovery.names("scorers")
        if discovery.scorer(scorer).format in discovery.model(model).formats
    ]


def model_files(dataset: str, formats_of: Mapping[str, Iterable[str]]) -> list[tuple[str, str, str]]:
    """(model, format, file) of every format of some models."""
    return [
        (model, each, paths.model_file(dataset, model, each)) for model, found in formats_of.items() for each in found
    ]


def dataset_options(pins: str, config: Mapping[str, Any]) -> str:
    """Of the rule dataset: the pins of the real data set and the folder that the config names, or the synthetic one's
    seed."""
    if pins:
        return options(pins=pins, folder=config["dataset_folder"])
    return f"--synthetic --seed {config['seed']}"


def weights_options(chosen: Mapping[str, str] | None) -> str:
    """Of the rule train: the user's own file of weights, if the config names one."""
    return options(weights=chosen["file"], sha256=chosen["sha256"]) if chosen else ""


def answering_files(form: str) -> list[str]:
    """What of the library makes the right answers of a model of the user's own, of which this format is named first."""
    embedded = [name for name in discovery.names("scorers") if not discovery.scorer(name).external]
    modules = [f"scorers/{name}" for name in embedded if discovery.scorer(name).format == form]
    return of_script("answer_own_model", *modules)


def answering_options(model: Declared) -> str:
    """Of the rule answer_own_model: what the model is, and where its inputs come from."""
    source = options(
        source=model.files[model.first], samples=str(Path(model.samples).absolute()) if model.samples else ""
    )
    drawn = " ".join(["--range", *map(repr, model.range)]) if model.range else ""
    return " ".join(filter(None, (own_options(model, model.first), source, drawn)))


def own_options(model: Declared, form: str | None) -> str:
    """Of a program that asks what a model of the user's own is, in a format."""
    return options(own=model.of(form).to_json())


def options(**values: object) -> str:
    """The options of a program that have a value, quoted: options(sized_by="a b", jdk=[]) is "--sized-by 'a b'"."""
    return " ".join(f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in values.items() if value)
