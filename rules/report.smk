# What the report shows beside tables and figures: the notebook, the runs' manifests, the configuration.
localrules:
    configuration,
    describe_runs,


rule configuration:
    input:
        python=python_of("notebook"),
        packages=packages_of("notebook"),
        script="workflow/scripts/configuration.py",
        library=dependencies.files_of(["results/pages"]),
    output:
        yaml=f"{RESULTS}/configuration.yaml",
        html=report(
            f"{RESULTS}/configuration.html",
            caption="../workflow/report/configuration.rst",
            category="Configuration",
            labels={"page": "configuration"},
        ),
    log:
        "logs/configuration.log",
    conda:
        "../envs/notebook.yaml"
    params:
        config=json.dumps(config),
    shell:
        "{input.python} {input.script} --config {params.config:q} --out {output.yaml} --html {output.html} 2> {log}"


rule describe_runs:
    input:
        python=python_of("notebook"),
        packages=packages_of("notebook"),
        script="workflow/scripts/describe_runs.py",
        library=dependencies.files_of(["results/pages"]),
        manifests=lambda wildcards: files_of_runs("runs", "manifest.json"),
    output:
        report(
            f"{RESULTS}/runs.html",
            caption="../workflow/report/manifests.rst",
            category="Runs",
            labels={"page": "manifests: warnings, accounting, packages"},
        ),
    log:
        "logs/describe_runs.log",
    conda:
        "../envs/notebook.yaml"
    params:
        manifests=lambda wildcards: words_of_runs("runs", "manifest.json"),
    shell:
        "{input.python} {input.script} --manifests {params.manifests} --out {output} 2> {log}"


rule execute_notebook:
    input:
        python=python_of("notebook"),
        packages=packages_of("notebook"),
        script="workflow/scripts/execute_notebook.py",
        library=dependencies.files_of(["results/notebook", "results/plots", "results/captions"]),
        notebook="notebooks/analysis.ipynb",
        published="notebooks/published.csv",
        configuration=rules.configuration.output.yaml,
        figures=drawn("png"),
        tables=tables_of_figures(),
    output:
        notebook=f"{RESULTS}/notebooks/analysis.ipynb",
        html=report(
            f"{RESULTS}/notebooks/analysis.html",
            caption="../workflow/report/notebook.rst",
            category="Analysis",
            labels={"page": "notebook"},
        ),
    log:
        "logs/execute_notebook.log",
    conda:
        "../envs/notebook.yaml"
    params:
        results=lambda wildcards, input: str(Path(input.configuration).parent),
    shell:
        "{input.python} {input.script} --notebook {input.notebook} --results {params.results}"
        " --out {output.notebook} --html {output.html} 2> {log}"
