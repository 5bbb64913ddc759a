"""Where every file lies: texts, which rules, tests and benchmarks share.

What the project consists of lies in its checkout, ROOT; what is made, in the working directory, which need not be the
same. Paths are relative where they are. An argument may be a wildcard of Snakemake, as in interpreter("{env}").
ROOT / interpreter("flink") is absolute.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[4]
CODE = "" if Path.cwd() == ROOT else f"{ROOT}/"  # before the name of a file of the checkout
RESOURCES = "resources"
SCRIPTS = f"{CODE}workflow/scripts"
NOTEBOOK, PUBLISHED = f"{CODE}notebooks/analysis.ipynb", f"{CODE}notebooks/published.csv"
LIBRARY = f"{SCRIPTS}/crayfish"
# What execute_run leaves of a repetition; summarise_run adds the summary.
MEASUREMENTS = ("run.json", "producer.parquet", "consumer.parquet", "processor.json", "manifest.json")
SUMMARY = "summary.json"
FAILURES = "failures.json"  # why a repetition failed, each time; it stays when a later try succeeds
# Model format -> the suffix of its file; of a SavedModel, of its folder.
SUFFIXES = {"torchscript": "pt", "mar": "mar", "onnx": "onnx", "savedmodel": "savedmodel", "h5": "h5"}


def script(name: str) -> str:
    """The program of a rule."""
    return f"{SCRIPTS}/{name}.py"


def environment_pins(environment: str) -> str:
    """The pinned packages of an environment."""
    return f"{CODE}envs/{environment}.yaml"


def jar_pins(jar_set: str) -> str:
    """The pinned Maven artifacts of a jar set."""
    return f"{CODE}envs/java/{jar_set}.yaml"


def dataset_pins(dataset: str) -> str:
    """The sources and checksums of a data set."""
    return f"{CODE}envs/data/{dataset}.yaml"


def environment(name: str) -> str:
    """The folder of an environment that was made."""
    return f"{RESOURCES}/environments/{name}"


def interpreter(name: str) -> str:
    """The file that starts an environment's Python."""
    return f"{environment(name)}/python"


def packages(name: str) -> str:
    """The versions of all that is in an environment."""
    return f"{environment(name)}/packages.json"


def jar_set(name: str) -> str:
    """The folder of the jars of a set."""
    return f"{RESOURCES}/jars/{name}"


def java_source(source: str) -> str:
    """A Java source, by its path in the room of processors: "flink/FlinkInEngine.java"."""
    return f"{LIBRARY}/processors/{source}"


def compiled_jar(source: str) -> str:
    """The jar that is compiled from a Java source."""
    return f"{RESOURCES}/java/{stem(source)}.jar"


def dataset(name: str) -> str:
    """The arrays of a data set."""
    return f"{RESOURCES}/data/{name}.npz"


def dataset_description(name: str) -> str:
    """What a data set is and where it comes from."""
    return f"{RESOURCES}/data/{name}.json"


def example(name: str, suffix: str) -> str:
    """The file of an example of a user's own model, or its samples."""
    return f"{RESOURCES}/examples/{name}.{suffix}"


def model(dataset: str, name: str) -> str:
    """The folder of a model that was trained on a data set."""
    return f"{RESOURCES}/models/{dataset}/{name}"


def weights(dataset: str, name: str) -> str:
    """A model's weights, which all of its formats are made from: the format "npz"."""
    return f"{model(dataset, name)}/weights.npz"


def reference(dataset: str, name: str) -> str:
    """A model's pool of inputs, and what torch answers to each."""
    return f"{model(dataset, name)}/reference.npz"


def training(dataset: str, name: str) -> str:
    """How a model's weights were made."""
    return f"{model(dataset, name)}/training.json"


def model_file(dataset: str, name: str, format: str) -> str:
    """A model in one of its formats: a file, or the folder of a SavedModel."""
    return weights(dataset, name) if format == "npz" else converted(dataset, name, SUFFIXES[format])


def converted(dataset: str, name: str, suffix: str) -> str:
    """A model as one of its conversions, by the suffix of its format."""
    return f"{model(dataset, name)}/{name}.{suffix}"


def proof(dataset: str, name: str, scorer: str) -> str:
    """The proof that a scorer answers as torch does."""
    return f"{model(dataset, name)}/verified_{scorer}.json"


def run(results: str, name: str, repetition: int | str) -> str:
    """The folder of one repetition of a run."""
    return f"{results}/runs/{name}/{repetition}"


def run_file(results: str, run_name: str, repetition: int | str, file: str) -> str:
    """A file of MEASUREMENTS, or SUMMARY, of one repetition of a run."""
    return f"{run(results, run_name, repetition)}/{file}"


def measurements(results: str, run_name: str, repetition: int | str) -> dict[str, str]:
    """The files of MEASUREMENTS of one repetition, by their names without suffix."""
    return {stem(name): run_file(results, run_name, repetition, name) for name in MEASUREMENTS}


def summary(results: str, run_name: str, repetition: int | str = 1) -> str:
    """The summary of one repetition: the first of a pilot or a search, which has no other."""
    return run_file(results, run_name, repetition, SUMMARY)


def judgement(results: str, experiment: str, round: int | str) -> str:
    """Which runs of an experiment need another round after this one."""
    return f"{results}/rounds/{experiment}/{round}.json"


def table(results: str, name: str) -> str:
    """A table: of an experiment (with "_series" or "_curves" of another part), a digest, "runs" or "models"."""
    return f"{results}/tables/{name}.csv"


def figure(results: str, name: str, kind: str) -> str:
    """A figure as svg, pdf or png; its caption as rst."""
    return f"{results}/figures/{name}.{kind}"


def notebook(results: str, kind: str = "ipynb") -> str:
    """The notebook after it was executed; as html, its page."""
    return f"{results}/notebooks/analysis.{kind}"


def configuration(results: str, kind: str = "yaml") -> str:
    """The whole configuration of the results; as html, its page."""
    return f"{results}/configuration.{kind}"


def runs_page(results: str) -> str:
    """The page of all runs' manifests."""
    return f"{results}/runs.html"


def report(results: str) -> str:
    """All results in one page."""
    return f"{results}/report.html"


def log(rule: str, *names: str) -> str:
    """The log of a rule's job, by the names that tell its jobs apart."""
    return "/".join(("logs", rule, *names)) + ".log" if names else f"logs/{rule}.log"


def folder(path: str) -> str:
    """The folder of a file."""
    return str(PurePosixPath(path).parent)


def stem(path: str) -> str:
    """The name of a file without its folder and suffix."""
    return PurePosixPath(path).stem
