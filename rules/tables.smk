# Summaries of runs to tables.
def summaries_of(wildcards):
    """The summaries of an experiment, or of all; pilots only size other runs and are in no table."""
    names = PLAN.experiments if wildcards.table == "runs" else [wildcards.table]
    runs = dict.fromkeys(run for name in names for run in PLAN.experiments[name].runs)
    return [
        f"{RESULTS}/runs/{run}/{repetition}/summary.json"
        for run in runs
        for repetition in range(1, PLAN.repetitions(run) + 1)
    ]


rule tabulate:
    input:
        python=python_of("analysis"),
        packages=packages_of("analysis"),
        script="workflow/scripts/tabulate.py",
        library=[f"{LIBRARY}/statistics.py", f"{LIBRARY}/errors.py"],
        summaries=summaries_of,
    output:
        report(
            f"{RESULTS}/tables/{{table}}.csv",
            caption="../workflow/report/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
    params:
        each_run=lambda wildcards: "--each-run" if wildcards.table == "runs" else "",
    log:
        "logs/tabulate/{table}.log",
    conda:
        "../envs/analysis.yaml"
    shell:
        "{input.python} {input.script} --experiment {wildcards.table} {params.each_run} --summaries {input.summaries}"
        " --out {output} 2> {log}"
