# One run, measured alone on its machine, and its summary.
RUN = f"{RESULTS}/runs/{{run}}/{{repetition}}"


def processor_python(wildcards):
    return python_of(spec_of(wildcards).processor)


def run_packages(wildcards):
    return [packages_of(name) for name in ("harness", spec_of(wildcards).processor, *(["jdk"] if JDK else []))]


def model_of(wildcards):
    """The model in the scorer's format, once it was verified; nothing for a scorer that reads none."""
    spec = spec_of(wildcards)
    form = discovery.load("scorers", spec.scorer).FORMAT
    return model_files(spec.dataset, spec.model, spec.scorer, form) if form else []


def reference_of(wildcards):
    spec = spec_of(wildcards)
    return f"resources/models/{spec.dataset}/{spec.model}/reference.npz"


def jars_of(wildcards):
    """The folders of jars that the processor and the scorer name, and what is compiled beside the adapter."""
    spec = spec_of(wildcards)
    compiled = getattr(discovery.load("processors", spec.processor), "JAVA", None)
    folders = [f"resources/jars/{name}" for name in plan.jar_sets(spec)]
    return folders + ([f"resources/java/{Path(compiled).stem}.jar"] if compiled else [])


def pilot_of(wildcards):
    pilot = PLAN.pilots.get(wildcards.run)
    return f"{RESULTS}/runs/{pilot}/1/summary.json" if pilot else []


def library_of(wildcards):
    return plan.library_files(spec_of(wildcards))


rule execute_run:
    input:
        python=python_of("harness"),
        script="workflow/scripts/execute_run.py",
        library=library_of,
        processor_python=processor_python,
        packages=run_packages,
        jdk=JDK,
        broker_jars=[] if config["kafka"] else "resources/jars/kafka",
        jars=jars_of,
        reference=reference_of,
        model=model_of,
        pilot=pilot_of,
    output:
        run=f"{RUN}/run.json",
        producer=f"{RUN}/producer.parquet",
        consumer=f"{RUN}/consumer.parquet",
        processor=f"{RUN}/processor.json",
        manifest=f"{RUN}/manifest.json",
    params:
        spec=lambda wildcards: spec_of(wildcards).to_json(),
        folder=lambda wildcards, output: str(Path(output.run).parent),
        model=lambda wildcards, input: f"--model {input.model[0]}" if input.model else "",
        pilot=lambda wildcards, input: f"--pilot {input.pilot}" if input.pilot else "",
        jdk=lambda wildcards, input: f"--jdk {input.jdk}" if input.jdk else "",
        kafka=f"--bootstrap-servers {config['kafka']}" if config["kafka"] else "",
    log:
        "logs/execute_run/{run}/{repetition}.log",
    conda:
        "../envs/harness.yaml"
    priority: lambda wildcards: len(JOBS) - JOBS[(wildcards.run, int(wildcards.repetition))]
    threads: workflow.cores
    resources:
        run_number=lambda wildcards: JOBS[(wildcards.run, int(wildcards.repetition))],
        run_total=len(JOBS),
    shell:
        "{input.python} {input.script} --spec {params.spec:q} --out {params.folder} --python {input.processor_python}"
        " --reference {input.reference} {params.model} {params.pilot} {params.jdk} {params.kafka}"
        " --broker-jars {input.broker_jars} --jars {input.jars} --packages {input.packages} --owner $PPID"
        " --title '[{resources.run_number}/{resources.run_total}] {wildcards.run} {wildcards.repetition}' --log {log}"


rule summarise_run:
    input:
        python=python_of("harness"),
        packages=packages_of("harness"),
        script="workflow/scripts/summarise_run.py",
        library=[f"{LIBRARY}/statistics.py", f"{LIBRARY}/errors.py"],
        run=rules.execute_run.output,
    output:
        f"{RUN}/summary.json",
    params:
        folder=lambda wildcards, output: str(Path(output[0]).parent),
    log:
        "logs/summarise_run/{run}/{repetition}.log",
    conda:
        "../envs/harness.yaml"
    shell:
        "{input.python} {input.script} --run {params.folder} --out {output} 2> {log}"
