rule align:
    """Which phone each semantic token speaks; runs for voices with a model of architecture small."""
    input:
        features="results/{speaker}/features/manifest.tsv",
        phones="results/{speaker}/features/phones.safetensors",
        semantic="results/{speaker}/features/semantic.safetensors",
        assets=stage_assets("align"),
        settings=settings("align"),
    output:
        align="results/{speaker}/features/align.safetensors",
        table="results/{speaker}/models/alignment.safetensors",
    log:
        "results/{speaker}/logs/align.log",
    benchmark:
        "results/{speaker}/benchmarks/align.tsv"
    conda:
        "../../envs/voiceclone.yaml"
    threads: 1
    resources:
        mem_mb=growing(3000),
        runtime=growing(30),
    params:
        revision=revision("align"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/align.py --speaker {wildcards.speaker}"
        " --features {input.features} --phones {input.phones} --semantic {input.semantic} --assets {input.assets}"
        " --output {output.align} --table {output.table}"
        " --settings {input.settings} --runtime {params.runtime} --threads {threads} 2> {log}"
