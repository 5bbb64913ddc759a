# Summaries of runs to tables, and these to digests over all experiments.
# The part of an experiment's table, as its name ends -> how the report calls it, which sorts by that.
PARTS = {"": "table", "_series": "table by the second", "_curves": "table of quantiles"}
# Digest -> which part of the experiments' tables it is made of.
DIGESTS = {"sustained_throughput": "", "latency_percentiles": "", "recovery_times": "_series", "accounting": ""}


rule tabulate:
    input:
        **dependencies.program("tabulate", "analysis"),
        summaries=lambda wildcards: PLAN.files(RESULTS, wildcards.table, paths.SUMMARY),
    output:
        report(
            paths.table(RESULTS, "{table}{part}"),
            caption="../workflow/report/table.rst",
            category=lambda wildcards: "Tables" if wildcards.table == "runs" else wildcards.table,
            labels=lambda wildcards: {"shows": PARTS[wildcards.part], "name": f"{wildcards.table}{wildcards.part}"},
        ),
    log:
        paths.log("tabulate", "{table}{part}"),
    wildcard_constraints:
        part="|".join(PARTS),
    conda:
        "../envs/analysis.yaml"
    params:
        part=lambda wildcards: "runs" if wildcards.table == "runs" else wildcards.part.removeprefix("_") or "means",
        summaries=lambda wildcards: PLAN.words(RESULTS, wildcards.table, paths.SUMMARY),
    shell:
        "{input.python} {input.script} --experiment {wildcards.table} --part {params.part}"
        " --summaries {params.summaries} --out {output} 2> {log}"


rule digest:
    input:
        **dependencies.program("digest", "analysis"),
        tables=lambda wildcards: [
            paths.table(RESULTS, name + DIGESTS[wildcards.digest]) for name in PLAN.drawn_experiments
        ],
    output:
        report(
            paths.table(RESULTS, "{digest}"),
            caption="../workflow/report/digest.rst",
            category="Tables",
            labels={"shows": "table", "name": "{digest}"},
        ),
    log:
        paths.log("digest", "{digest}"),
    wildcard_constraints:
        digest="|".join(DIGESTS),
    conda:
        "../envs/analysis.yaml"
    shell:
        "{input.python} {input.script} --digest {wildcards.digest} --tables {input.tables} --out {output} 2> {log}"
