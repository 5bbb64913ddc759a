# Tables to figures: drawing never measures.


localrules:
    plot,


rule plot:
    input:
        python=paths.interpreter("analysis"),
        packages=paths.packages("analysis"),
        script=paths.script("plot"),
        library=lambda wildcards: dependencies.of_script("plot", f"results/figures/{figure_of(wildcards)['kind']}"),
        declarations=dependencies.declarations("processors", "scorers", "models"),
        means=lambda wildcards: table_of(wildcards, ""),
        series=lambda wildcards: table_of(wildcards, "_series"),
        curves=lambda wildcards: table_of(wildcards, "_curves"),
        repetitions=lambda wildcards: table_of(wildcards, "_repetitions"),
    output:
        svg=shown(
            paths.figure(RESULTS, "{figure}", "svg"),
            "caption",
            lambda wildcards: figure_of(wildcards)["experiment"],
            shows="figure",
            name="{figure}",
        ),
        pdf=paths.figure(RESULTS, "{figure}", "pdf"),
        png=paths.figure(RESULTS, "{figure}", "png"),
        caption=paths.figure(RESULTS, "{figure}", "rst"),
        ranking=shown(
            paths.table(RESULTS, f"{{figure}}{plan.RANKING}"),
            "ranking",
            lambda wildcards: figure_of(wildcards)["experiment"],
            shows="ranking",
            name="{figure}",
        ),
    log:
        paths.log("plot", "{figure}"),
    conda:
        "../envs/analysis.yaml"
    params:
        kind=lambda wildcards: figure_of(wildcards)["kind"],
        where=lambda wildcards: json.dumps(PLAN.kept(wildcards.figure), sort_keys=True),
    shell:
        "{input.python} {input.script:q} --kind {params.kind} --where {params.where:q} --means {input.means}"
        " --series {input.series} --curves {input.curves} --repetitions {input.repetitions}"
        " --out {output.svg} {output.pdf} {output.png} --caption {output.caption} --ranking {output.ranking} 2> {log}"
