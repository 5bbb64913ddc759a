# One run, measured alone on its machine, and its summary.


localrules:
    summarise_run,


# Without it what lies in the results is drawn, and nothing makes it.
if config["measure"]:

    rule execute_run:
        input:
            unpack(inputs_of_run),
            python=paths.interpreter("harness"),
            script=paths.script("execute_run"),
        output:
            **paths.measurements(RESULTS, "{run}", "{repetition}"),
        log:
            paths.log("execute_run", "{run}", "{repetition}"),
        priority: lambda wildcards: len(jobs()) - job_number(wildcards)
        group:
            group_of
        conda:
            "../envs/harness.yaml"
        threads: run_threads
        resources:
            **ASKED,
            runtime=lambda wildcards: plan.minutes(spec_of(wildcards)),
            mem_mb=run_memory_mb,
            slurm_extra=slurm_options,
            nodes=nodes_of,
            tasks=nodes_of,
            measuring=1,
            given=int(bool(CLUSTER)),
            run_number=job_number,
            run_bar=lambda wildcards: terminal.bar(job_number(wildcards), len(jobs())),
            run_total=lambda wildcards: f"{len(jobs())}{' at most' if PLAN.precision else ''}",
        params:
            spec=lambda wildcards: spec_of(wildcards).to_json(),
            library=lambda wildcards: dependencies.checksum(dependencies.library_files(spec_of(wildcards))),
            failures=lambda wildcards: failures(wildcards.run, wildcards.repetition),
            options=lambda wildcards, input: dependencies.options(
                model=input.model,
                server_python=input.server_python,
                sized_by=input.sized_by,
                jdk=input.jdk,
                nodes=json.dumps(config["nodes"]) if spec_of(wildcards).placement and config["nodes"] else None,
                kafka_client=config["kafka_client"] if "kafka" in CLUSTER else None,
                **given_to(spec_of(wildcards)),
            ),
        shell:
            "{input.python} {input.script:q} --spec {params.spec:q} --out $(dirname {output.run}) --python {input.processor_python}"
            " --reference {input.reference} {params.options} --broker-jars {input.broker_jars} --jars {input.jars}"
            " --scorer-jars {input.scorer_jars} --packages {input.packages} --owner $PPID --hole"
            " --title '[{resources.run_number}/{resources.run_total}] {wildcards.run} {wildcards.repetition}' --bar '{resources.run_bar}' --log {log}"


rule summarise_run:
    input:
        **dependencies.program("summarise_run", "harness", library=False),
        run=measured,
    output:
        paths.summary(RESULTS, "{run}", "{repetition}"),
    log:
        paths.log("summarise_run", "{run}", "{repetition}"),
    # Of what finds a rate before the next run, which may wait for it; of all others side by side when no run is left.
    priority: lambda wildcards: 1_000_000 if wildcards.run in SIZING else 0
    conda:
        "../envs/harness.yaml"
    params:
        library=dependencies.checksum(dependencies.summary_files()),
    shell:
        "{input.python} {input.script:q} --run $(dirname {output}) --out {output} 2> {log}"


if PLAN.precision:

    localrules:
        judge_round,

    # Its output tells which runs of a round need another one, so that Snakemake learns round by round what is to be made.
    checkpoint judge_round:
        input:
            **dependencies.program("judge_round", "analysis"),
            summaries=lambda wildcards: PLAN.files(RESULTS, to_judge(wildcards), paths.SUMMARY),
        output:
            paths.judgement(RESULTS, "{experiment}", "{round}"),
        log:
            paths.log("judge_round", "{experiment}", "{round}"),
        conda:
            "../envs/analysis.yaml"
        params:
            precision=PLAN.precision,
            summaries=lambda wildcards: PLAN.words(RESULTS, to_judge(wildcards), paths.SUMMARY),
        shell:
            "{input.python} {input.script:q} --precision {params.precision} --summaries {params.summaries}"
            " --out {output} 2> {log}"
