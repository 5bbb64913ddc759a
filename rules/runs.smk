# One run, measured alone on its machine, and its summary.


rule execute_run:
    input:
        python=python_of("harness"),
        script="workflow/scripts/execute_run.py",
        library=library_of,
        processor_python=processor_python,
        packages=run_packages,
        jdk=JDK,
        broker_jars=broker_jars_of,
        jars=jars_of,
        scorer_jars=scorer_jars_of,
        server_python=server_python,
        reference=reference_of,
        model=model_of,
        sized_by=sized_by,
    output:
        run=f"{RUN}/run.json",
        producer=f"{RUN}/producer.parquet",
        consumer=f"{RUN}/consumer.parquet",
        processor=f"{RUN}/processor.json",
        manifest=f"{RUN}/manifest.json",
    log:
        "logs/execute_run/{run}/{repetition}.log",
    priority: lambda wildcards: len(jobs()) - job_number(wildcards)
    conda:
        "../envs/harness.yaml"
    threads: workflow.cores
    resources:
        run_number=job_number,
        run_total=lambda wildcards: len(jobs()),
    params:
        spec=lambda wildcards: spec_of(wildcards).to_json(),
        folder=lambda wildcards, output: str(Path(output.run).parent),
        model=lambda wildcards, input: f"--model {input.model[0]}" if input.model else "",
        server=lambda wildcards, input: f"--server-python {input.server_python}" if input.server_python else "",
        sized_by=lambda wildcards, input: f"--sized-by {input.sized_by}" if input.sized_by else "",
        jdk=lambda wildcards, input: f"--jdk {input.jdk}" if input.jdk else "",
        given=given,
    shell:
        "{input.python} {input.script} --spec {params.spec:q} --out {params.folder} --python {input.processor_python}"
        " --reference {input.reference} {params.model} {params.server} {params.sized_by} {params.jdk} {params.given}"
        " --broker-jars {input.broker_jars} --jars {input.jars} --scorer-jars {input.scorer_jars} --packages {input.packages} --owner $PPID"
        " --title '[{resources.run_number}/{resources.run_total}] {wildcards.run} {wildcards.repetition}' --log {log}"


rule summarise_run:
    input:
        python=python_of("harness"),
        packages=packages_of("harness"),
        script="workflow/scripts/summarise_run.py",
        library=dependencies.files_of(["spec/run_spec", "spec/metrics", *(f"harness/loads/{name}" for name in discovery.names("harness/loads"))]),
        run=rules.execute_run.output,
    output:
        f"{RUN}/summary.json",
    log:
        "logs/summarise_run/{run}/{repetition}.log",
    priority: 1_000_000  # before the next run: it may be what that one waits for, and repetitions stay interleaved
    conda:
        "../envs/harness.yaml"
    params:
        folder=lambda wildcards, output: str(Path(output[0]).parent),
    shell:
        "{input.python} {input.script} --run {params.folder} --out {output} 2> {log}"
