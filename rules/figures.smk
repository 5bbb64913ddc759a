# Tables to figures: drawing never measures.
rule plot:
    input:
        python=python_of("analysis"),
        packages=packages_of("analysis"),
        script="workflow/scripts/plot.py",
        library=[f"{LIBRARY}/{name}.py" for name in ("plots", "statistics", "errors")],
        table=lambda wildcards: f"{RESULTS}/tables/{PLAN.figures[wildcards.figure]['experiment']}.csv",
    output:
        svg=report(
            f"{RESULTS}/figures/{{figure}}.svg",
            caption="../workflow/report/caption.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        pdf=f"{RESULTS}/figures/{{figure}}.pdf",
        png=f"{RESULTS}/figures/{{figure}}.png",
        caption=f"{RESULTS}/figures/{{figure}}.rst",
    log:
        "logs/plot/{figure}.log",
    conda:
        "../envs/analysis.yaml"
    params:
        kind=lambda wildcards: PLAN.figures[wildcards.figure]["kind"],
    shell:
        "{input.python} {input.script} --kind {params.kind} --table {input.table}"
        " --out {output.svg} {output.pdf} {output.png} --caption {output.caption} 2> {log}"
