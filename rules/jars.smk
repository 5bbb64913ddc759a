# One set of Maven artifacts as a flat folder of jars, each checked against its pinned sha256.
localrules:
    jars,


rule jars:
    input:
        **dependencies.program("jars", "jars"),
        set=paths.jar_pins("{set}"),
    output:
        directory(paths.jar_set("{set}")),
    log:
        paths.log("jars", "{set}"),
    conda:
        "../envs/jars.yaml"
    resources:
        mirror=dependencies.options(mirror=config["jar_mirror"]),  # no param: where jars come from makes none of them anew
    shell:
        "{input.python} {input.script:q} --set {input.set:q} {resources.mirror} --out {output} 2> {log}"
