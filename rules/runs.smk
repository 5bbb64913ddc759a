# One run, measured alone on its machine, and its summary.


rule execute_run:
    input:
        unpack(lambda wildcards: dependencies.run_inputs(spec_of(wildcards), CLUSTER, jdk())),
        python=paths.interpreter("harness"),
        script=paths.script("execute_run"),
        # The summary of the pilot or the search that finds the rate of this run's load; nothing where it is given.
        sized_by=lambda wildcards: [paths.summary(RESULTS, run) for run in PLAN.sizing(wildcards.run)],
    output:
        [paths.run_file(RESULTS, "{run}", "{repetition}", name) for name in paths.MEASUREMENTS],
    log:
        paths.log("execute_run", "{run}", "{repetition}"),
    priority: lambda wildcards: len(jobs()) - job_number(wildcards)
    conda:
        "../envs/harness.yaml"
    threads: workflow.cores
    resources:
        run_number=job_number,
        run_total=lambda wildcards: len(jobs()),
    params:
        spec=lambda wildcards: spec_of(wildcards).to_json(),
        folder=folder_of_first_output,
        options=lambda wildcards, input: dependencies.options(
            model=input.model,
            server_python=input.server_python,
            sized_by=input.sized_by,
            jdk=input.jdk,
            **dependencies.cluster_addresses(spec_of(wildcards), CLUSTER),
        ),
    shell:
        "{input.python} {input.script} --spec {params.spec:q} --out {params.folder} --python {input.processor_python}"
        " --reference {input.reference} {params.options} --broker-jars {input.broker_jars} --jars {input.jars}"
        " --scorer-jars {input.scorer_jars} --packages {input.packages} --owner $PPID"
        " --title '[{resources.run_number}/{resources.run_total}] {wildcards.run} {wildcards.repetition}' --log {log}"


rule summarise_run:
    input:
        python=paths.interpreter("harness"),
        packages=paths.packages("harness"),
        script=paths.script("summarise_run"),
        library=[*dependencies.of_script("summarise_run"), *dependencies.declarations("harness/loads")],
        run=rules.execute_run.output,
    output:
        paths.summary(RESULTS, "{run}", "{repetition}"),
    log:
        paths.log("summarise_run", "{run}", "{repetition}"),
    priority: 1_000_000  # before the next run: it may be what that one waits for, and repetitions stay interleaved
    conda:
        "../envs/harness.yaml"
    params:
        folder=folder_of_first_output,
    shell:
        "{input.python} {input.script} --run {params.folder} --out {output} 2> {log}"
