# What the report shows beside tables and figures: the notebook, the runs' manifests, the configuration.
localrules:
    configuration,
    describe_runs,
    execute_notebook,


rule configuration:
    input:
        **dependencies.program("configuration", "notebook"),
    output:
        yaml=paths.configuration(RESULTS),
        html=shown(paths.configuration(RESULTS, "html"), "configuration", "Configuration", page="configuration"),
    log:
        paths.log("configuration"),
    conda:
        "../envs/notebook.yaml"
    params:
        config=json.dumps(config),
    shell:
        "{input.python} {input.script:q} --config {params.config:q} --out {output.yaml} --html {output.html} 2> {log}"


rule describe_runs:
    input:
        **dependencies.program("describe_runs", "notebook"),
        manifests=lambda wildcards: PLAN.files(RESULTS, made("runs"), "manifest.json"),
    output:
        shown(paths.runs_page(RESULTS), "manifests", "Runs", page="manifests: warnings, accounting, packages"),
    log:
        paths.log("describe_runs"),
    conda:
        "../envs/notebook.yaml"
    params:
        manifests=lambda wildcards: PLAN.words(RESULTS, made("runs"), "manifest.json"),
    shell:
        "{input.python} {input.script:q} --manifests {params.manifests} --out {output} 2> {log}"


rule execute_notebook:
    input:
        **dependencies.program("execute_notebook", "notebook"),
        declarations=dependencies.declarations("processors", "scorers", "models"),
        imported=dependencies.of_notebook(paths.NOTEBOOK),
        notebook=paths.NOTEBOOK,
        published=paths.PUBLISHED,
        configuration=rules.configuration.output.yaml,
        figures=PLAN.figure_files(RESULTS, "png"),
        tables=PLAN.all_tables(RESULTS),
    output:
        notebook=paths.notebook(RESULTS),
        html=shown(paths.notebook(RESULTS, "html"), "notebook", "Analysis", page="notebook"),
    log:
        paths.log("execute_notebook"),
    conda:
        "../envs/notebook.yaml"
    shell:
        "{input.python} {input.script:q} --notebook {input.notebook:q} --results $(dirname {input.configuration})"
        " --out {output.notebook} --html {output.html} 2> {log}"
