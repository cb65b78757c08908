rule separate:
    """Take the voice out of music where there is music."""
    input:
        takes="results/{speaker}/takes.tsv",
        assets=stage_assets("separate"),
        settings=settings("separate"),
    output:
        manifest="results/{speaker}/separated/manifest.tsv",
    log:
        "results/{speaker}/logs/separate.log",
    benchmark:
        "results/{speaker}/benchmarks/separate.tsv"
    conda:
        "../../envs/voiceclone.yaml"
    threads: 2
    resources:
        mem_mb=growing(6000),
        runtime=growing(120),
        gpu=gpus,
    params:
        config=RUN_CONFIG,
        revision=revision("separate"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/separate.py --speaker {wildcards.speaker}"
        " --config {params.config} --takes {input.takes} --assets {input.assets} --output {output.manifest}"
        " --settings {input.settings} --runtime {params.runtime} --threads {threads} 2> {log}"
