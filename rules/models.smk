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


rule dataset:
    input:
        python=python_of("train"),
        packages=packages_of("train"),
        script="workflow/scripts/dataset.py",
        library=f"{LIBRARY}/errors.py",
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
        library=[f"{LIBRARY}/{name}.py" for name in ("discovery", "errors", "models/{model}")],
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
    params:
        seed=config["seed"],
        out=lambda wildcards, output: str(Path(output.weights).parent),
    shell:
        "{input.python} {input.script} --model {wildcards.model} --data {input.data} --seed {params.seed}"
        " --out {params.out} 2> {log}"


rule convert_torchscript:
    input:
        python=python_of("train"),
        packages=packages_of("train"),
        script="workflow/scripts/convert_torchscript.py",
        library=[f"{LIBRARY}/{name}.py" for name in ("discovery", "models/__init__", "models/{model}")],
        weights=rules.train.output.weights,
    output:
        f"{MODEL}/{{model}}.pt",
    log:
        "logs/convert_torchscript/{dataset}/{model}.log",
    conda:
        "../envs/train.yaml"
    shell:
        "{input.python} {input.script} --model {wildcards.model} --weights {input.weights} --out {output} 2> {log}"


rule convert_onnx:
    input:
        python=python_of("train"),
        packages=packages_of("train"),
        script="workflow/scripts/convert_onnx.py",
        library=[f"{LIBRARY}/{name}.py" for name in ("discovery", "models/__init__", "models/{model}")],
        weights=rules.train.output.weights,
    output:
        f"{MODEL}/{{model}}.onnx",
    log:
        "logs/convert_onnx/{dataset}/{model}.log",
    conda:
        "../envs/train.yaml"
    shell:
        "{input.python} {input.script} --model {wildcards.model} --weights {input.weights} --out {output} 2> {log}"


rule convert_savedmodel:
    input:
        python=python_of("convert"),
        packages=packages_of("convert"),
        script="workflow/scripts/convert_savedmodel.py",
        library=[f"{LIBRARY}/{name}.py" for name in ("discovery", "models/__init__", "models/{model}")],
        weights=rules.train.output.weights,
    output:
        directory(f"{MODEL}/{{model}}.savedmodel"),
    log:
        "logs/convert_savedmodel/{dataset}/{model}.log",
    conda:
        "../envs/convert.yaml"
    shell:
        "{input.python} {input.script} --model {wildcards.model} --weights {input.weights} --out {output} 2> {log}"


rule convert_h5:
    input:
        python=python_of("convert"),
        packages=packages_of("convert"),
        script="workflow/scripts/convert_h5.py",
        library=[f"{LIBRARY}/{name}.py" for name in ("discovery", "models/__init__", "models/{model}")],
        weights=rules.train.output.weights,
    output:
        f"{MODEL}/{{model}}.h5",
    log:
        "logs/convert_h5/{dataset}/{model}.log",
    conda:
        "../envs/convert.yaml"
    shell:
        "{input.python} {input.script} --model {wildcards.model} --weights {input.weights} --out {output} 2> {log}"


rule convert_mar:
    input:
        python=python_of("torchserve"),
        packages=packages_of("torchserve"),
        script="workflow/scripts/convert_mar.py",
        library=[
            f"{LIBRARY}/{name}.py"
            for name in ("discovery", "models/__init__", "models/{model}", "servers/_torchserve_handler")
        ],
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
        library=[
            f"{LIBRARY}/{name}.py"
            for name in ("discovery", "errors", "run_spec", "models/{model}", "scorers/{scorer}")
        ],
        file=file_to_verify,
        reference=rules.train.output.reference,
    output:
        f"{MODEL}/verified_{{scorer}}.json",
    log:
        "logs/verify_format/{dataset}/{model}/{scorer}.log",
    conda:
        f"../envs/{VERIFIER}.yaml"
    params:
        environment=VERIFIER,
    shell:
        "{input.python} {input.script} --scorer {wildcards.scorer} --model {wildcards.model} --dataset {wildcards.dataset}"
        " --environment {params.environment} --file {input.file} --reference {input.reference} --out {output} 2> {log}"
