rule slice:
    """Cut the takes into utterances at silence; account for every second."""
    input:
        clean="results/{speaker}/clean/manifest.tsv",
        takes="results/{speaker}/takes.tsv",
        given=given_texts,
        cuts=cuts,
        settings=settings("slice"),
    output:
        manifest="results/{speaker}/slices/manifest.tsv",
        timeline="results/{speaker}/slices/timeline.tsv",
    log:
        "results/{speaker}/logs/slice.log",
    benchmark:
        "results/{speaker}/benchmarks/slice.tsv"
    conda:
        "../../envs/voiceclone.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(120),
    params:
        revision=revision("slice"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/slice.py --speaker {wildcards.speaker}"
        " --clean {input.clean} --takes {input.takes} --given {input.given} --cuts {input.cuts}"
        " --output {output.manifest} --timeline {output.timeline}"
        " --settings {input.settings} --runtime {params.runtime} --threads {threads} 2> {log}"
