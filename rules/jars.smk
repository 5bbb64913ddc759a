# One set of Maven artifacts as a flat folder of jars, each checked against its pinned sha256.
localrules:
    jars,


rule jars:
    input:
        python=python_of("jars"),
        packages=packages_of("jars"),
        set="envs/java/{set}.yaml",
        script="workflow/scripts/jars.py",
        library=f"{LIBRARY}/spec/errors.py",
    output:
        directory("resources/jars/{set}"),
    log:
        "logs/jars/{set}.log",
    conda:
        "../envs/jars.yaml"
    shell:
        "{input.python} {input.script} --set {input.set} --out {output} 2> {log}"
