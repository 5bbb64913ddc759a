# What several rules need of Snakemake: the plan that the config asks for, and the run and the figure of a job.
import atexit
import functools
import json
import os
import sys

sys.path.insert(0, f"{CHECKOUT}/workflow/scripts")

from crayfish.engine import jvm, secure
from crayfish.spec import (
    dependencies,
    discovery,
    gpus,
    inheritance,
    own_models,
    paths,
    placement,
    plan,
    received,
    submission,
    surroundings,
    terminal,
)
from crayfish.spec.config import complete, parsed
from crayfish.spec.errors import CrayfishError

shell.prefix(inheritance.shell_prefix(os.environ))


def refuse(reason):
    """End with a sentence alone, as the programs do. Snakemake takes any other error for a fault of the workflow, and
    shows where in its files it came from."""
    raise SystemExit(f"error: {reason}")


config = complete(parsed(config))
try:
    PLAN = plan.make_plan(config)
except CrayfishError as error:
    refuse(error)

RESULTS = config["results"]
CLUSTER = config["cluster"] or {}
TOLD = "CRAYFISH_CALL"  # the variable by which a call that submits jobs tells them what it knows
CALL = json.loads(os.environ.get(TOLD, "{}"))
if CALL:
    submission.end_with_parent()
# What each job asks SLURM for, as Snakemake's resources; elsewhere they mean nothing.
ASKED = {
    resource: config["slurm"][key]
    for key, resource in (("partition", "slurm_partition"), ("account", "slurm_account"), ("constraint", "constraint"))
    if config["slurm"][key]
}
SIZING = set(PLAN.sized_by.values())
OWN = {"workflow", "test", "build"}  # what `make` installs into .venv, and what builds packages
TRAINED_ON = "fashion_mnist|synthetic"  # the data sets that models are made with
# Those of runs on GPUs have gigabytes that no other run needs: they are made for such runs alone.
ENVIRONMENTS = sorted(
    {path.stem for path in Path(CHECKOUT, "envs").glob("*.yaml") if not path.stem.endswith("_cuda")} - OWN
)

if workflow.is_main_process:
    terminal.spare(silent="execute_run")
    for line in PLAN.left_out_lines():
        print(line, file=sys.stderr)


# Names of runs may be thousands: as alternatives here they would cost most of the time that planning takes.
wildcard_constraints:
    env="[a-z0-9_]+",
    set="[a-z0-9_]+",
    model="|".join([*discovery.names("models"), *PLAN.own]),
    dataset=f"{TRAINED_ON}|{own_models.DATASET}",
    repetition="[0-9]+",
    round="[0-9]+",
    experiment="|".join(PLAN.experiments),
    run="[^/]+",
    models="models|all_models",
    table="|".join([*(name for name, experiment in PLAN.experiments.items() if experiment.runs), "runs"]),
    figure="|".join(PLAN.figures) or "none",
    digest="|".join(plan.DIGESTS),
    part="|".join(plan.TABLE_PARTS),
    source="|".join(dependencies.compiled_sources()),
    scorer="|".join(name for name in discovery.names("scorers") if discovery.scorer(name).format),


def on_slurm():
    """Whether this call submits jobs to SLURM, or is one of these."""
    return bool(CALL) or (workflow.executor_plugin is not None and workflow.executor_plugin.name == "slurm")


@functools.cache
def offered(device="cpu"):
    """The nodes that a run on this device may get."""
    if device != "cpu":
        return submission.with_gpus(offered())
    return submission.eligible(submission.nodes(), config["slurm"]["partition"], config["slurm"]["constraint"])


def node(device):
    """What a run asks of a node of its own: all that each of those that it may get has, so that runs compare."""
    return CALL.get("node", {}).get(device) or {
        "cpus": min(each.cpus for each in offered(device)),
        "mem_mb": min(each.memory for each in offered(device)) // submission.MIB,
    }


def run_threads(wildcards):
    # A dry run of the profile knows neither.
    return node(spec_of(wildcards).device)["cpus"] if on_slurm() else workflow.cores or 1


def run_memory_mb(wildcards):
    spec = spec_of(wildcards)
    return node(spec.device)["mem_mb"] if on_slurm() else spec.memory_bytes // submission.MIB


def slurm_options(wildcards):
    """A job that SLURM begins again by itself could write beside one that lives on a node that was lost."""
    return "--exclusive --no-requeue" + (" --gpus-per-node=1" if spec_of(wildcards).device != "cpu" else "")


def nodes_of(wildcards):
    """How many nodes a run takes."""
    return placement.nodes(spec_of(wildcards).placement)


def group_of(wildcards):
    """The runs that one job executes together: of one round, as many nodes and one device, as far as none needs another's
    rate. How many stands in the profile."""
    depth, run = 0, wildcards.run
    while sizing := PLAN.sizing(run):
        depth, run = depth + 1, sizing[0]
    name = f"runs_{wildcards.repetition}_{depth}_{nodes_of(wildcards)}_{spec_of(wildcards).device}"
    workflow.parent_groupids[name] = "runs"
    return name


@functools.cache
def java():
    """The machine's Java, or None: then what needs one gets a JDK from PyPI."""
    try:
        return jvm.find()
    except CrayfishError:
        return None


def jdk(wildcards=None):
    """The interpreter of the environment that has a JDK, if the machine has none: an input of what needs Java."""
    return [] if java() and not on_slurm() else [paths.interpreter("jdk")]  # a node's Java may be another, or none


def targets():
    return CALL.get("targets") or [*map(str, workflow.dag_settings.targets)]


@functools.cache
def jobs():
    """(run, repetition) of all that is wanted -> its number, from 1. Targets are known only after this file was read."""
    return PLAN.numbered_jobs(targets())


def job_number(wildcards):
    return jobs().get((wildcards.run, int(wildcards.repetition)), 0)


def needing_another(experiment, number):
    """The runs of an experiment that need another round after this one, once that is judged."""
    judged = checkpoints.judge_round.get(experiment=experiment, round=number).output
    return json.loads(Path(str(judged)).read_text())


def made(table, before=None):
    """Run of a table -> how often it is made, as far as the rounds are judged."""
    return PLAN.made(table, needing_another, before)


def to_judge(wildcards):
    """The repetitions up to a round, by which those that were made in it are judged."""
    number = int(wildcards.round)
    return {run: min(count, number) for run, count in made(wildcards.experiment, number).items()}


@functools.cache
def failures(run, repetition):
    """How often a run has failed before this call: a param, so that one that failed is made again by the next."""
    file = Path(paths.run_file(RESULTS, run, repetition, paths.FAILURES))
    return len(json.loads(file.read_text())) if file.exists() else 0


def failed_runs():
    """What is told of the wanted runs that have failed in this call."""
    for run, repetition in jobs():
        if Path(paths.run_file(RESULTS, run, repetition, paths.FAILURES)).exists():
            manifest = Path(paths.run_file(RESULTS, run, repetition, "manifest.json"))
            about = json.loads(manifest.read_text()) if manifest.exists() else {}
            if "failed" in about:
                yield f"  {run} {repetition}: {about['failed']}"


WATCHES = []  # what tells of SLURM's jobs
FAILED = []  # what is told of failed runs when all is done


def end_as_failed():
    """Snakemake's exit status tells of its own jobs, and these succeed: they leave a hole with its name. An error in
    `onsuccess` would take away the report, which comes after it."""
    if FAILED:
        holes = "Failed runs, which tables, figures and report name. The same command makes them again:"
        print("\n".join([holes, *FAILED]), file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(1)


if workflow.is_main_process:
    atexit.register(end_as_failed)


def something_drawn(wildcards):
    """No file; an error that a user can read where the narrowed config leaves no run of what is drawn."""
    try:
        PLAN.require_drawn()
    except CrayfishError as error:
        refuse(error)
    return []


def spec_of(wildcards):
    """The RunSpec of a job; an error that a user can read if the plan has no such run."""
    try:
        return PLAN.runs[wildcards.run]
    except KeyError:
        refuse(f"{wildcards.run}: the config plans no run of this name")


def inputs_of_run(wildcards):
    """All that depends on the run; sized_by is the summary of what finds the rate of its load."""
    sized_by = [paths.summary(RESULTS, run) for run in PLAN.sizing(wildcards.run)]
    return dependencies.run_inputs(spec_of(wildcards), CLUSTER, jdk()) | {"sized_by": sized_by}


def measured(wildcards):
    """The files of a run that a summary is made of."""
    if not config["measure"]:
        require_received()
    return list(paths.measurements(RESULTS, wildcards.run, wildcards.repetition).values())


def received_jobs():
    """(run, repetition) of all that is wanted but pilots and searches, which only size others."""
    experiments = PLAN.wanted(targets())
    drawn = {run for name in experiments for run in PLAN.experiments[name].runs}
    return [job for job in PLAN.jobs(experiments) if job[0] in drawn]


@functools.cache
def require_received():
    """An error that a user can read where nothing is to be measured and something is missing."""
    try:
        received.require(RESULTS, received_jobs())
    except CrayfishError as error:
        refuse(error)


def prepared(wildcards):
    """What is made for the runs that are drawn before any of them: all that needs a network."""
    found = [dependencies.run_inputs(PLAN.runs[run], CLUSTER, jdk()) for run, _ in PLAN.jobs(PLAN.drawn_experiments)]
    return sorted({file for inputs in found for files in inputs.values() for file in files})


def figure_of(wildcards):
    """A figure's block in the config: its experiment, kind and where."""
    return PLAN.figures[wildcards.figure]


def table_of(wildcards, part):
    """A part of the table that a figure draws."""
    return paths.table(RESULTS, figure_of(wildcards)["experiment"] + part)


def making_memory_mb(wildcards):
    if wildcards.model in PLAN.own:
        return PLAN.own[wildcards.model].making_memory // 2**20
    return discovery.model(wildcards.model).making_memory // 2**20


def dataset_of(model):
    """The data set of a model, by the name of its folder."""
    return own_models.DATASET if model in PLAN.own else config["dataset"]


def described_files(wildcards):
    """(model, format, file) of all that a table of models describes."""
    formats = PLAN.formats(wildcards.models)
    return [file for name in formats for file in dependencies.model_files(dataset_of(name), {name: formats[name]})]


def own_of(wildcards, form):
    """The option of a program that a model is the user's own and read in this format; nothing of another model."""
    return dependencies.own_options(PLAN.own[wildcards.model], form) if wildcards.model in PLAN.own else ""


def archived(wildcards):
    """The format of the file that TorchServe's archive of a model is made of."""
    if wildcards.suffix != "mar" or wildcards.model not in PLAN.own:
        return "torchscript"
    return PLAN.own[wildcards.model].source("mar")


def own_file(wildcards):
    """The options of the program that copies a file of the user's own."""
    model, form = PLAN.own[wildcards.model], dependencies.FORMATS[wildcards.suffix]
    return dependencies.options(source=model.files[form], sha256=model.sums[form])


def shown(file, caption, category, **labels):
    """An output that the report shows under a category, with a caption of workflow/report."""
    return report(file, caption=f"../workflow/report/{caption}.rst", category=category, labels=labels)


def given_to(spec):
    """The addresses of what a run uses and does not start."""
    return dependencies.cluster_addresses(spec, CLUSTER)


def told_first():
    """What is printed before the first job."""
    if config["measure"]:
        return PLAN.estimate(targets())
    return received.lines(RESULTS, received_jobs(), PLAN.runs)


def refuse_here():
    """Refuse what this machine cannot run, before anything is made; on a cluster each node is asked by its own runs."""
    wanted = {run: PLAN.runs[run] for run, _ in jobs()} if config["measure"] else {}
    if workflow.local_exec:
        faults = surroundings.faults([*wanted.values()]) + gpus.missing_here(scoring_here(wanted))
    else:
        faults = refused_by_slurm(wanted) if on_slurm() else []
    if config["kafka_client"]:
        try:
            secure.read(config["kafka_client"])
        except CrayfishError as error:
            faults = [*faults, str(error)]
    if faults:
        refuse("\n".join(faults))


def scoring_here(wanted):
    """Those of the wanted runs that are still to be made and whose processor or server, whichever scores, is not there
    already. What is made for runs elsewhere, or was measured there, needs no GPU here."""
    if {*targets()} <= {"environments", "models"}:
        return []
    return [
        wanted[run]
        for run, repetition in jobs()
        if run in wanted
        and f"{wanted[run].scoring_part}_address" not in given_to(wanted[run])
        and not Path(paths.run_file(RESULTS, run, repetition, "manifest.json")).exists()
    ]


def refused_by_slurm(wanted):
    """What of the wanted runs SLURM cannot execute, or why no job may be submitted now; what jobs are to know is noted."""
    try:
        faults = submission.alive(submission.jobs(), os.getcwd())
        needed = {
            run: (spec.memory_bytes, plan.minutes(spec), placement.nodes(spec.placement))
            for run, spec in wanted.items()
        }
        together = workflow.group_settings.group_components.get("runs", 1)
        devices = sorted({spec.device for spec in wanted.values()})
        for device in devices:
            own = {run: needed[run] for run, spec in wanted.items() if spec.device == device}
            faults += submission.refusals(offered(device), own, together)
    except CrayfishError as error:
        return [str(error)]
    os.environ[TOLD] = json.dumps({"targets": targets(), "node": {device: node(device) for device in devices}})
    for device in devices:
        print(
            f"SLURM: each run gets a node of its own, and {node(device)['cpus']} CPUs{' and a GPU' * (device != 'cpu')}"
            f" of it ({submission.told(offered(device))})",
            file=sys.stderr,
        )
    WATCHES.append(submission.Watch(os.getcwd(), lambda line: print(line, file=sys.stderr)))
    WATCHES[0].go_on()
    return faults


onstart:
    refuse_here()
    # Snakemake's default limit of 100 jobs a second wakes its scheduler once a second for every job that ended while others
    # waited: after 40 minutes that is half a core beside what a run measures. A limit of the user's own stays.
    limit = workflow.scheduling_settings.max_jobs_per_timespan
    if limit and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None
    print("\n".join(told_first()), file=sys.stderr)


onerror:
    for watch in WATCHES:
        watch.look()
    FAILED.extend(failed_runs())


onsuccess:
    FAILED.extend(failed_runs())
    for name, made in {
        "Figures": "figures",
        "Tables": "tables",
        "Report": Path(paths.report(RESULTS)).name,
    }.items():
        if (place := Path(RESULTS, made).resolve()).exists():
            print(f"{name}: {place}", file=sys.stderr)
