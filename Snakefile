# Crayfish: from training the models to the figures. This file is the table of contents.
from snakemake.utils import min_version

min_version("9.0")


configfile: "config/experiments.yaml"
configfile: "config/config.yaml"


include: "rules/common.smk"
include: "rules/environments.smk"
include: "rules/jars.smk"
include: "rules/java.smk"
include: "rules/models.smk"
include: "rules/runs.smk"
include: "rules/tables.smk"
include: "rules/figures.smk"
include: "rules/report.smk"


report: "workflow/report/workflow.rst"


rule figures:
    default_target: True
    input:
        PLAN.figure_files(RESULTS, "svg", "pdf", "png"),
        PLAN.all_tables(RESULTS),
        rules.execute_notebook.output,
        rules.describe_runs.output,
        rules.configuration.output,


rule tables:
    input:
        PLAN.all_tables(RESULTS),


rule environments:
    input:
        [paths.interpreter(name) for name in ENVIRONMENTS],


rule models:
    input:
        dependencies.proofs(config["dataset"]),
        paths.table(RESULTS, "all_models"),
