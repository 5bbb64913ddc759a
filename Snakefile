# Crayfish: from training the models to the figures. This file is the table of contents.
from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


include: "rules/common.smk"
include: "rules/environments.smk"
include: "rules/jars.smk"
include: "rules/java.smk"
include: "rules/models.smk"
include: "rules/runs.smk"
include: "rules/drawn.smk"
include: "rules/tables.smk"
include: "rules/figures.smk"


rule figures:
    default_target: True
    input:
        expand("{results}/figures/{name}.{kind}", results=RESULTS, name=PLAN.figures, kind=["svg", "pdf", "png"]),
        expand("{results}/tables/{name}.csv", results=RESULTS, name=[*DIGESTS, "runs", "models"]),


rule tables:
    input:
        expand("{results}/tables/{name}.csv", results=RESULTS, name=[*PLAN.experiments, *DIGESTS, "runs", "models"]),


rule environments:
    input:
        expand("resources/environments/{env}/python", env=ENVIRONMENTS),


rule models:
    input:
        verified_models(),
        f"{RESULTS}/tables/all_models.csv",
