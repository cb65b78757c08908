rule train_gpt:
    """Train text to semantic tokens. State and checkpoints are no outputs: they survive any interruption."""
    input:
        features="results/{speaker}/features/manifest.tsv",
        phones="results/{speaker}/features/phones.safetensors",
        semantic="results/{speaker}/features/semantic.safetensors",
        align=alignment,
        alignment=alignment_table,
        assets=stage_assets("train_gpt"),
        settings=settings("train_gpt"),
    output:
        model="results/{speaker}/trained/gpt.safetensors",
        report="results/{speaker}/trained/gpt.json",
        history="results/{speaker}/trained/gpt.history.jsonl",
        suspects="results/{speaker}/trained/gpt.suspects.tsv",
    log:
        "results/{speaker}/logs/train_gpt.log",
    benchmark:
        "results/{speaker}/benchmarks/train_gpt.tsv"
    wildcard_constraints:
        speaker=alternatives([*SPEAKERS, *GATHERED]),
    conda:
        "../../envs/voiceclone.yaml"
    threads: half_of_the_cores
    resources:
        mem_mb=growing(8000),
        runtime=growing(480),
        gpu=gpus_of_training,
    params:
        features_dir=subpath(input.features, parent=True),
        state=lambda wildcards: f"results/{wildcards.speaker}/state/gpt",
        candidates=candidates,
        revision=revision("train_gpt"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/train_gpt.py --speaker {wildcards.speaker}"
        " --features-dir {params.features_dir} --assets {input.assets} --state-dir {params.state}"
        " --output {output.model} --report {output.report} --history {output.history}"
        " --suspects {output.suspects} --alignment {input.alignment}"
        " --candidates {params.candidates}"
        " --settings {input.settings} --runtime {params.runtime} --threads {threads} 2> {log}"
