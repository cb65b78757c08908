rule fetch_asset:
    """Fetch a pretrained model from the first source that has it, verified by checksum."""
    output:
        "resources/models/{asset}/asset.json",
    log:
        "results/logs/fetch_asset/{asset}.log",
    benchmark:
        "results/benchmarks/fetch_asset/{asset}.tsv"
    conda:
        "../../envs/voiceclone.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(60),
    params:
        config=RUN_CONFIG,
        registry="config/assets.yaml",
    shell:
        "exec python scripts/fetch_asset.py --asset {wildcards.asset} --models resources/models"
        " --registry {params.registry} --config {params.config} 2> {log}"
