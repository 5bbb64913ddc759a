# Summaries of runs to tables.
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
    log:
        "logs/tabulate/{table}.log",
    conda:
        "../envs/analysis.yaml"
    params:
        each_run=lambda wildcards: "--each-run" if wildcards.table == "runs" else "",
    shell:
        "{input.python} {input.script} --experiment {wildcards.table} {params.each_run} --summaries {input.summaries}"
        " --out {output} 2> {log}"
