# Summaries of runs to tables, and these to digests over all experiments.


localrules:
    tabulate,
    digest,


rule tabulate:
    input:
        **dependencies.program("tabulate", "analysis"),
        summaries=lambda wildcards: PLAN.files(RESULTS, made(wildcards.table), paths.SUMMARY),
    output:
        report(
            paths.table(RESULTS, "{table}{part}"),
            caption="../workflow/report/table.rst",
            category=lambda wildcards: "Tables" if wildcards.table == "runs" else wildcards.table,
            labels=lambda wildcards: {"shows": plan.TABLE_PARTS[wildcards.part], "name": "{table}{part}"},
        ),
    log:
        paths.log("tabulate", "{table}{part}"),
    conda:
        "../envs/analysis.yaml"
    params:
        part=lambda wildcards: "runs" if wildcards.table == "runs" else wildcards.part.removeprefix("_") or "means",
        summaries=lambda wildcards: PLAN.words(RESULTS, made(wildcards.table), paths.SUMMARY),
    shell:
        "{input.python} {input.script:q} --experiment {wildcards.table} --part {params.part}"
        " --summaries {params.summaries} --out {output} 2> {log}"


rule digest:
    input:
        **dependencies.program("digest", "analysis"),
        tables=lambda wildcards: PLAN.tables(RESULTS, plan.DIGESTS[wildcards.digest]),
    output:
        shown(paths.table(RESULTS, "{digest}"), "digest", "Tables", shows="table", name="{digest}"),
    log:
        paths.log("digest", "{digest}"),
    conda:
        "../envs/analysis.yaml"
    shell:
        "{input.python} {input.script:q} --digest {wildcards.digest} --tables {input.tables} --out {output} 2> {log}"
