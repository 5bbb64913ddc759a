# One environment, deployed from its pins: by conda where Snakemake was called with --sdm conda, else by uv or pip.
localrules:
    environment,


rule environment:
    input:
        **dependencies.program("environment"),
        yaml=paths.environment_pins("{env}"),
        builders=paths.environment_pins("build"),
    output:
        packages=paths.packages("{env}"),
        python=paths.interpreter("{env}"),
    log:
        paths.log("environment", "{env}"),
    conda:
        "../envs/{env}.yaml"
    params:
        deployment="conda" if "conda" in str(workflow.deployment_settings.deployment_method).lower() else "uv",
    shell:
        "python3 {input.script:q} --yaml {input.yaml:q} --builders {input.builders:q}"
        " --deployment {params.deployment} --out $(dirname {output.python}) 2> {log}"
