rule clean:
    """Denoise, set the loudness, resample to the training rate; undo what does harm."""
    input:
        separated="results/{speaker}/separated/manifest.tsv",
        assets=stage_assets("clean"),
        settings=settings("clean"),
    output:
        manifest="results/{speaker}/clean/manifest.tsv",
    log:
        "results/{speaker}/logs/clean.log",
    benchmark:
        "results/{speaker}/benchmarks/clean.tsv"
    conda:
        "../../envs/voiceclone.yaml"
    threads: 2
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        revision=revision("clean"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/clean.py --speaker {wildcards.speaker}"
        " --separated {input.separated} --assets {input.assets} --output {output.manifest}"
        " --settings {input.settings} --runtime {params.runtime} --threads {threads} 2> {log}"
