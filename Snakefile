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
        drawn("svg", "pdf", "png"),
        tables_of_figures(),
        rules.execute_notebook.output,
        rules.describe_runs.output,
        rules.configuration.output,


rule tables:
    input:
        tables_of_figures(),


rule environments:
    input:
        [paths.interpreter(name) for name in ENVIRONMENTS],


rule models:
    input:
        dependencies.proofs(config["dataset"]),
        paths.table(RESULTS, "all_models"),
