rule transcribe:
    """Write down what is said, with words, times and probabilities."""
    input:
        clean="results/{speaker}/clean/manifest.tsv",
        slices="results/{speaker}/slices/manifest.tsv",
        takes="results/{speaker}/takes.tsv",
        given=given_texts,
        assets=stage_assets("transcribe"),
        settings=settings("transcribe"),
    output:
        manifest="results/{speaker}/transcripts/manifest.tsv",
    log:
        "results/{speaker}/logs/transcribe.log",
    benchmark:
        "results/{speaker}/benchmarks/transcribe.tsv"
    conda:
        "../../envs/voiceclone.yaml"
    threads: 2
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
        gpu=gpus,
    params:
        revision=revision("transcribe"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/transcribe.py --speaker {wildcards.speaker}"
        " --clean {input.clean} --slices {input.slices} --asr {input.assets} --output {output.manifest}"
        " --takes {input.takes} --given {input.given}"
        " --settings {input.settings} --runtime {params.runtime} --threads {threads} 2> {log}"
