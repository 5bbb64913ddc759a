# Summaries of runs to tables, and these to digests over all experiments.


rule tabulate:
    input:
        python=python_of("analysis"),
        packages=packages_of("analysis"),
        script="workflow/scripts/tabulate.py",
        library=dependencies.files_of(["spec/metrics"]),
        summaries=lambda wildcards: files_of_runs(wildcards.table, "summary.json"),
    output:
        report(
            f"{RESULTS}/tables/{{table}}{{part}}.csv",
            caption="../workflow/report/table.rst",
            category=lambda wildcards: "Tables" if wildcards.table == "runs" else wildcards.table,
            labels=labels_of,
        ),
    log:
        "logs/tabulate/{table}{part}.log",
    wildcard_constraints:
        part="|_series|_curves",
    conda:
        "../envs/analysis.yaml"
    params:
        part=part_of,
        summaries=lambda wildcards: words_of_runs(wildcards.table, "summary.json"),
    shell:
        "{input.python} {input.script} --experiment {wildcards.table} --part {params.part}"
        " --summaries {params.summaries} --out {output} 2> {log}"


rule digest:
    input:
        python=python_of("analysis"),
        packages=packages_of("analysis"),
        script="workflow/scripts/digest.py",
        library=dependencies.files_of(["spec/run_spec", "results/tables"]),
        tables=tables_of,
    output:
        report(
            f"{RESULTS}/tables/{{digest}}.csv",
            caption="../workflow/report/digest.rst",
            category="Tables",
            labels={"shows": "table", "name": "{digest}"},
        ),
    log:
        "logs/digest/{digest}.log",
    wildcard_constraints:
        digest="|".join(DIGESTS),
    conda:
        "../envs/analysis.yaml"
    shell:
        "{input.python} {input.script} --digest {wildcards.digest} --tables {input.tables} --out {output} 2> {log}"
