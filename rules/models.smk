# The data set, one training of each model, its formats, and the proof that a scorer answers as torch does.


localrules:
    dataset,
    copy_own_model,
    copy_own_savedmodel,
    describe_models,
    examples,


if config["slurm"]["set_up"] == "login":

    localrules:
        train,
        convert,
        convert_savedmodel,
        answer_own_model,
        example_model,
        verify_format,


rule dataset:
    input:
        **dependencies.program("dataset", "train"),
        pins=lambda wildcards: [] if wildcards.dataset == "synthetic" else paths.dataset_pins(wildcards.dataset),
    output:
        about=paths.dataset_description("{dataset}"),
        data=paths.dataset("{dataset}"),
    log:
        paths.log("dataset", "{dataset}"),
    wildcard_constraints:
        dataset=TRAINED_ON,
    conda:
        "../envs/train.yaml"
    params:
        options=lambda wildcards, input: dependencies.dataset_options(input.pins, config),
    shell:
        "{input.python} {input.script:q} {params.options} --out {output.data} 2> {log}"


rule train:
    input:
        python=paths.interpreter("train"),
        packages=paths.packages("train"),
        script=paths.script("train"),
        library=lambda wildcards: dependencies.of_script("train", f"models/{wildcards.model}"),
        data=paths.dataset("{dataset}"),
        about=paths.dataset_description("{dataset}"),
    output:
        weights=paths.weights("{dataset}", "{model}"),
        reference=paths.reference("{dataset}", "{model}"),
        training=shown(
            paths.training("{dataset}", "{model}"), "training", "Models", model="{model}", dataset="{dataset}"
        ),
    log:
        paths.log("train", "{dataset}", "{model}"),
    wildcard_constraints:
        dataset=TRAINED_ON,
    conda:
        "../envs/train.yaml"
    resources:
        **ASKED,
        mem_mb=making_memory_mb,
    params:
        seed=config["seed"],
        weights=lambda wildcards: dependencies.weights_options((config["weights"] or {}).get(wildcards.model)),
    shell:
        "{input.python} {input.script:q} --model {wildcards.model} --data {input.data} --seed {params.seed}"
        " {params.weights} --out $(dirname {output.weights}) 2> {log}"


rule convert:
    input:
        unpack(lambda wildcards: dependencies.conversion_inputs(**wildcards, archived=archived(wildcards))),
        script=paths.script("convert"),
    output:
        paths.converted("{dataset}", "{model}", "{suffix,pt|onnx|h5|mar}"),
    log:
        paths.log("convert", "{dataset}", "{model}.{suffix}"),
    conda:
        lambda wildcards: f"../envs/{dependencies.WRITERS[dependencies.FORMATS[wildcards.suffix]]}.yaml"
    resources:
        **ASKED,
        mem_mb=making_memory_mb,
    params:
        own=lambda wildcards: own_of(wildcards, dependencies.FORMATS[wildcards.suffix]),
    shell:
        "{input.python} {input.script:q} --model {wildcards.model} --source {input.source:q} {params.own} --out {output} 2> {log}"


# The same for the one format that is a folder: Snakemake asks a rule to say so of an output, whatever its wildcards are.
use rule convert as convert_savedmodel with:
    output:
        directory(paths.converted("{dataset}", "{model}", "{suffix,savedmodel}")),


# Of a model of the user's own, all but TorchServe's archive is a copy.
ruleorder: copy_own_model > convert
ruleorder: copy_own_savedmodel > convert_savedmodel


rule copy_own_model:
    input:
        **dependencies.program("copy_own_model", dependencies.VERIFIER),
    output:
        paths.converted(own_models.DATASET, "{model}", "{suffix,pt|onnx}"),
    log:
        paths.log("copy_own_model", "{model}.{suffix}"),
    conda:
        f"../envs/{dependencies.VERIFIER}.yaml"
    params:
        options=own_file,
    shell:
        "{input.python} {input.script:q} {params.options} --out {output} 2> {log}"


use rule copy_own_model as copy_own_savedmodel with:
    output:
        directory(paths.converted(own_models.DATASET, "{model}", "{suffix,savedmodel}")),


rule answer_own_model:
    input:
        python=paths.interpreter(dependencies.VERIFIER),
        packages=paths.packages(dependencies.VERIFIER),
        script=paths.script("answer_own_model"),
        library=lambda wildcards: dependencies.answering_files(PLAN.own[wildcards.model].first),
        file=lambda wildcards: paths.model_file(own_models.DATASET, wildcards.model, PLAN.own[wildcards.model].first),
    output:
        reference=paths.reference(own_models.DATASET, "{model}"),
        training=shown(
            paths.training(own_models.DATASET, "{model}"),
            "training",
            "Models",
            model="{model}",
            dataset=own_models.DATASET,
        ),
    log:
        paths.log("answer_own_model", "{model}"),
    conda:
        f"../envs/{dependencies.VERIFIER}.yaml"
    resources:
        **ASKED,
        mem_mb=making_memory_mb,
    params:
        environment=dependencies.VERIFIER,
        seed=config["seed"],
        options=lambda wildcards: dependencies.answering_options(PLAN.own[wildcards.model]),
    shell:
        "{input.python} {input.script:q} {params.options} --file {input.file} --environment {params.environment}"
        " --seed {params.seed} --out $(dirname {output.reference}) 2> {log}"


rule verify_format:
    input:
        unpack(lambda wildcards: dependencies.verification_inputs(**wildcards)),
        python=paths.interpreter(dependencies.VERIFIER),
        packages=paths.packages(dependencies.VERIFIER),
        script=paths.script("verify_format"),
        jdk=jdk,
    output:
        paths.proof("{dataset}", "{model}", "{scorer}"),
    log:
        main=paths.log("verify_format", "{dataset}", "{model}", "{scorer}"),
        server=paths.log("verify_format", "{dataset}", "{model}", "{scorer}.server"),
    conda:
        f"../envs/{dependencies.VERIFIER}.yaml"
    resources:
        **ASKED,
        mem_mb=making_memory_mb,
    params:
        environment=dependencies.VERIFIER,
        options=lambda wildcards, input: dependencies.options(
            jdk=input.jdk, server_python=input.server_python, harness_python=input.harness_python
        ),
        model=lambda wildcards: PLAN.own[wildcards.model].name if wildcards.model in PLAN.own else wildcards.model,
        own=lambda wildcards: own_of(wildcards, discovery.scorer(wildcards.scorer).format),
    shell:
        "{input.python} {input.script:q} --scorer {wildcards.scorer} --model {params.model} {params.own} --dataset {wildcards.dataset}"
        " --environment {params.environment} --file {input.file} --reference {input.reference} {params.options}"
        " --scorer-jars {input.jars} --server-log {log.server} --out {output} 2> {log.main}"


# Models as their users have them, for `own_models` of a config: that is read before any rule is run, so these are made first.
rule example_model:
    input:
        **dependencies.program("example_model", "examples"),
    output:
        file=paths.example("{example}", "onnx"),
        samples=paths.example("{example}", "npy"),
    log:
        paths.log("example_model", "{example}"),
    conda:
        "../envs/examples.yaml"
    resources:
        **ASKED,
    shell:
        "{input.python} {input.script:q} --name {wildcards.example} --out $(dirname {output.file}) 2> {log}"


rule examples:
    input:
        [paths.example(name, suffix) for name in ("minilm", "tree") for suffix in ("onnx", "npy")],


rule describe_models:
    input:
        python=paths.interpreter("analysis"),
        packages=paths.packages("analysis"),
        script=paths.script("describe_models"),
        library=[*dependencies.of_script("describe_models"), *dependencies.declarations("models")],
        training=lambda wildcards: [paths.training(dataset_of(name), name) for name in PLAN.formats(wildcards.models)],
        files=lambda wildcards: [file for *_, file in described_files(wildcards)],
    output:
        shown(paths.table(RESULTS, "{models}"), "models", "Models", table="{models}"),
    log:
        paths.log("describe_models", "{models}"),
    conda:
        "../envs/analysis.yaml"
    params:
        files=lambda wildcards: [f"--file {' '.join(described)}" for described in described_files(wildcards)],
    shell:
        "{input.python} {input.script:q} --training {input.training} {params.files} --out {output} 2> {log}"
