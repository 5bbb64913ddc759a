# Tables to figures: drawing never measures.


rule plot:
    input:
        python=python_of("analysis"),
        packages=packages_of("analysis"),
        script="workflow/scripts/plot.py",
        library=lambda wildcards: dependencies.files_of(["results/captions", f"results/figures/{figure_of(wildcards)['kind']}"]),
        means=lambda wildcards: f"{RESULTS}/tables/{figure_of(wildcards)['experiment']}.csv",
        series=lambda wildcards: f"{RESULTS}/tables/{figure_of(wildcards)['experiment']}_series.csv",
        curves=lambda wildcards: f"{RESULTS}/tables/{figure_of(wildcards)['experiment']}_curves.csv",
    output:
        svg=report(
            f"{RESULTS}/figures/{{figure}}.svg",
            caption="../workflow/report/caption.rst",
            category=lambda wildcards: figure_of(wildcards)["experiment"],
            labels={"shows": "figure", "name": "{figure}"},
        ),
        pdf=f"{RESULTS}/figures/{{figure}}.pdf",
        png=f"{RESULTS}/figures/{{figure}}.png",
        caption=f"{RESULTS}/figures/{{figure}}.rst",
    log:
        "logs/plot/{figure}.log",
    conda:
        "../envs/analysis.yaml"
    params:
        kind=lambda wildcards: figure_of(wildcards)["kind"],
        where=lambda wildcards: json.dumps(figure_of(wildcards).get("where", {}), sort_keys=True),
    shell:
        "{input.python} {input.script} --kind {params.kind} --where {params.where:q} --means {input.means}"
        " --series {input.series} --curves {input.curves} --out {output.svg} {output.pdf} {output.png}"
        " --caption {output.caption} 2> {log}"
