# One environment, deployed from its pins: by conda where Snakemake was called with --sdm conda, else by uv or pip.
localrules:
    environment,


rule environment:
    input:
        yaml="envs/{env}.yaml",
        script="workflow/scripts/environment.py",
    output:
        packages="resources/environments/{env}/packages.json",
        python="resources/environments/{env}/python",
    log:
        "logs/environment/{env}.log",
    conda:
        "../envs/{env}.yaml"
    params:
        deployment="conda" if "conda" in str(workflow.deployment_settings.deployment_method).lower() else "uv",
        out=lambda wildcards, output: str(Path(output.python).parent),
    shell:
        "python3 {input.script} --yaml {input.yaml} --deployment {params.deployment} --out {params.out} 2> {log}"
