rule train_sovits:
    """Train semantic tokens to waveform. State and checkpoints are no outputs: they survive any interruption."""
    input:
        features="results/{speaker}/features/manifest.tsv",
        phones="results/{speaker}/features/phones.safetensors",
        content="results/{speaker}/features/content.safetensors",
        spectrogram="results/{speaker}/features/spectrogram.safetensors",
        audio="results/{speaker}/features/audio.safetensors",
        semantic=tokens_of_small,
        align=alignment,
        tokenizer="results/{speaker}/models/tokenizer.safetensors",
        assets=stage_assets("train_sovits"),
        settings=settings("train_sovits"),
    output:
        model="results/{speaker}/trained/sovits.safetensors",
        report="results/{speaker}/trained/sovits.json",
        history="results/{speaker}/trained/sovits.history.jsonl",
        suspects="results/{speaker}/trained/sovits.suspects.tsv",
    log:
        "results/{speaker}/logs/train_sovits.log",
    benchmark:
        "results/{speaker}/benchmarks/train_sovits.tsv"
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
        state=lambda wildcards: f"results/{wildcards.speaker}/state/sovits",
        candidates=candidates,
        revision=revision("train_sovits"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/train_sovits.py --speaker {wildcards.speaker}"
        " --features-dir {params.features_dir} --tokenizer {input.tokenizer} --assets {input.assets} --state-dir {params.state}"
        " --output {output.model} --report {output.report} --history {output.history}"
        " --suspects {output.suspects}"
        " --candidates {params.candidates}"
        " --settings {input.settings} --runtime {params.runtime} --threads {threads} 2> {log}"
