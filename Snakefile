# Crayfish: from training the models to the figures. This file is the table of contents.
from snakemake.utils import min_version

min_version("9.0")
CHECKOUT = workflow.current_basedir.get_path_or_uri(secret_free=False)  # where results go is the working directory


configfile: f"{CHECKOUT}/config/experiments.yaml"
configfile: f"{CHECKOUT}/config/config.yaml"


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


localrules:
    figures,
    report,
    tables,
    environments,
    models,


rule figures:
    default_target: True
    input:
        something_drawn,
        PLAN.figure_files(RESULTS, "svg", "pdf", "png"),
        PLAN.all_tables(RESULTS),
        rules.execute_notebook.output,
        rules.describe_runs.output,
        rules.configuration.output,


# In a call of its own, which meets what this one has made, so that it is a target like the others.
rule report:
    input:
        rules.figures.input,
        configuration=rules.configuration.output.yaml,
        style=f"{CHECKOUT}/workflow/report/style.css",
    output:
        paths.report(RESULTS),
    log:
        paths.log("report"),
    conda:
        "envs/workflow.yaml"
    params:
        snakefile=f"{CHECKOUT}/Snakefile",
        python=sys.executable,
    shell:
        "{params.python:q} -m snakemake --cores 1 --snakefile {params.snakefile:q} --configfile {input.configuration}"
        " --nolock --report {output} --report-stylesheet {input.style:q} figures > {log} 2>&1"


rule tables:
    input:
        something_drawn,
        PLAN.all_tables(RESULTS),


rule environments:
    input:
        [paths.interpreter(name) for name in ENVIRONMENTS],
        prepared,


rule models:
    input:
        dependencies.proofs(config["dataset"]),
        paths.table(RESULTS, "all_models"),
