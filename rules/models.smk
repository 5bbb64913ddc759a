# The data set, one training of each model, its formats, and the proof that a scorer answers as torch does.

VERIFIER = "kafka_streams"  # every processor's environment has the embedded scorers; this is the smallest


localrules:
    dataset,
    convert_torchscript,
    convert_onnx,
    convert_savedmodel,
    convert_h5,
    convert_mar,
    verify_format,
    describe_models,


rule dataset:
    input:
        python=python_of("train"),
        packages=packages_of("train"),
        script="workflow/scripts/dataset.py",
        library=f"{LIBRARY}/spec/errors.py",
        pins=lambda wildcards: [] if wildcards.dataset == "synthetic" else f"envs/data/{wildcards.dataset}.yaml",
    output:
        about="resources/data/{dataset}.json",
        data="resources/data/{dataset}.npz",
    log:
        "logs/dataset/{dataset}.log",
    conda:
        "../envs/train.yaml"
    params:
        options=dataset_options,
    shell:
        "{input.python} {input.script} {params.options} --out {output.data} 2> {log}"


rule train:
    input:
        python=python_of("train"),
        packages=packages_of("train"),
        script="workflow/scripts/train.py",
        library=model_library,
        data=rules.dataset.output.data,
        about=rules.dataset.output.about,
    output:
        weights=f"{MODEL}/weights.npz",
        reference=f"{MODEL}/reference.npz",
        training=report(
            f"{MODEL}/training.json",
            caption="../workflow/report/training.rst",
            category="Models",
            labels={"model": "{model}", "dataset": "{dataset}"},
        ),
    log:
        "logs/train/{dataset}/{model}.log",
    conda:
        "../envs/train.yaml"
    resources:
        mem_mb=making_memory_mb,
    params:
        seed=config["seed"],
        weights=weights_options,
        out=lambda wildcards, output: str(Path(output.weights).parent),
    shell:
        "{input.python} {input.script} --model {wildcards.model} --data {input.data} --seed {params.seed}"
        " {params.weights} --out {params.out} 2> {log}"


rule convert_torchscript:
    input:
        python=python_of("train"),
        packages=packages_of("train"),
        script="workflow/scripts/convert_torchscript.py",
        library=model_library,
        weights=rules.train.output.weights,
    output:
        f"{MODEL}/{{model}}.pt",
    log:
        "logs/convert_torchscript/{dataset}/{model}.log",
    conda:
        "../envs/train.yaml"
    resources:
        mem_mb=making_memory_mb,
    shell:
        "{input.python} {input.script} --model {wildcards.model} --weights {input.weights} --out {output} 2> {log}"


rule convert_onnx:
    input:
        python=python_of("train"),
        packages=packages_of("train"),
        script="workflow/scripts/convert_onnx.py",
        library=model_library,
        weights=rules.train.output.weights,
    output:
        f"{MODEL}/{{model}}.onnx",
    log:
        "logs/convert_onnx/{dataset}/{model}.log",
    conda:
        "../envs/train.yaml"
    resources:
        mem_mb=making_memory_mb,
    shell:
        "{input.python} {input.script} --model {wildcards.model} --weights {input.weights} --out {output} 2> {log}"


rule convert_savedmodel:
    input:
        python=python_of("convert"),
        packages=packages_of("convert"),
        script="workflow/scripts/convert_savedmodel.py",
        library=model_library,
        weights=rules.train.output.weights,
    output:
        directory(f"{MODEL}/{{model}}.savedmodel"),
    log:
        "logs/convert_savedmodel/{dataset}/{model}.log",
    conda:
        "../envs/convert.yaml"
    resources:
        mem_mb=making_memory_mb,
    shell:
        "{input.python} {input.script} --model {wildcards.model} --weights {input.weights} --out {output} 2> {log}"


rule convert_h5:
    input:
        python=python_of("convert"),
        packages=packages_of("convert"),
        script="workflow/scripts/convert_h5.py",
        library=model_library,
        weights=rules.train.output.weights,
    output:
        f"{MODEL}/{{model}}.h5",
    log:
        "logs/convert_h5/{dataset}/{model}.log",
    conda:
        "../envs/convert.yaml"
    resources:
        mem_mb=making_memory_mb,
    shell:
        "{input.python} {input.script} --model {wildcards.model} --weights {input.weights} --out {output} 2> {log}"


rule convert_mar:
    input:
        python=python_of("torchserve"),
        packages=packages_of("torchserve"),
        script="workflow/scripts/convert_mar.py",
        library=lambda wildcards: model_library(wildcards, "servers/_torchserve_handler"),
        torchscript=rules.convert_torchscript.output,
    output:
        f"{MODEL}/{{model}}.mar",
    log:
        "logs/convert_mar/{dataset}/{model}.log",
    conda:
        "../envs/torchserve.yaml"
    shell:
        "{input.python} {input.script} --model {wildcards.model} --torchscript {input.torchscript} --out {output} 2> {log}"


rule verify_format:
    input:
        python=python_of(VERIFIER),
        packages=packages_of(VERIFIER),
        script="workflow/scripts/verify_format.py",
        library=verification_library,
        file=file_to_verify,
        reference=rules.train.output.reference,
        jars=jars_to_verify,
        jdk=JDK,
        server=server_to_verify,
    output:
        f"{MODEL}/verified_{{scorer}}.json",
    log:
        main="logs/verify_format/{dataset}/{model}/{scorer}.log",
        server="logs/verify_format/{dataset}/{model}/{scorer}.server.log",
    wildcard_constraints:
        scorer="|".join(name for name in discovery.names("scorers") if discovery.scorer(name).format),
    conda:
        f"../envs/{VERIFIER}.yaml"
    resources:
        mem_mb=making_memory_mb,
    params:
        environment=VERIFIER,
        jdk=lambda wildcards, input: f"--jdk {input.jdk}" if input.jdk else "",
        server=lambda wildcards, input: (
            f"--server-python {input.server[0]} --harness-python {input.server[1]}" if input.server else ""
        ),
    shell:
        "{input.python} {input.script} --scorer {wildcards.scorer} --model {wildcards.model} --dataset {wildcards.dataset}"
        " --environment {params.environment} --file {input.file} --reference {input.reference} {params.jdk} {params.server}"
        " --scorer-jars {input.jars} --server-log {log.server} --out {output} 2> {log.main}"


rule describe_models:
    input:
        python=python_of("analysis"),
        packages=packages_of("analysis"),
        script="workflow/scripts/describe_models.py",
        library=dependencies.files_of(["spec/discovery"]),
        training=lambda wildcards: [
            f"{MODEL}/training.json".format(dataset=config["dataset"], model=name) for name in formats_of(wildcards)
        ],
        files=lambda wildcards: [path for _, _, path in described_files(wildcards)],
    output:
        report(
            f"{RESULTS}/tables/{{models}}.csv",
            caption="../workflow/report/models.rst",
            category="Models",
            labels={"table": "{models}"},
        ),
    log:
        "logs/describe_models/{models}.log",
    conda:
        "../envs/analysis.yaml"
    params:
        files=lambda wildcards: [f"--file {' '.join(described)}" for described in described_files(wildcards)],
    shell:
        "{input.python} {input.script} --training {input.training} {params.files} --out {output} 2> {log}"
