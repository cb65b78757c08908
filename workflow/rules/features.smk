rule features:
    """Phones, content features, speaker vectors and spectrograms of every utterance."""
    input:
        corpus="results/{speaker}/corpus/corpus.tsv",
        lexicons=lexicons,
        consent=consent_is_given,
        assets=stage_assets("features"),
        settings=settings("features"),
    output:
        manifest="results/{speaker}/features/manifest.tsv",
        phones="results/{speaker}/features/phones.safetensors",
        content="results/{speaker}/features/content.safetensors",
        speaker="results/{speaker}/features/speaker.safetensors",
        spectrogram="results/{speaker}/features/spectrogram.safetensors",
        audio="results/{speaker}/features/audio.safetensors",
    log:
        "results/{speaker}/logs/features.log",
    benchmark:
        "results/{speaker}/benchmarks/features.tsv"
    conda:
        "../../envs/voiceclone.yaml"
    threads: 2
    resources:
        mem_mb=growing(6000),
        runtime=growing(120),
        gpu=gpus,
    params:
        output_dir=subpath(output.manifest, parent=True),
        revision=revision("features"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/features.py --speaker {wildcards.speaker}"
        " --corpus {input.corpus} --lexicons {input.lexicons:q} --assets {input.assets}"
        " --output-dir {params.output_dir}"
        " --settings {input.settings} --runtime {params.runtime} --threads {threads} 2> {log}"


rule fit_tokenizer:
    """The quantiser of semantic tokens: the base voice's, or one fitted to this speaker's content features."""
    input:
        features="results/{speaker}/features/manifest.tsv",
        content="results/{speaker}/features/content.safetensors",
        assets=stage_assets("fit_tokenizer"),
        settings=settings("fit_tokenizer"),
    output:
        tokenizer="results/{speaker}/models/tokenizer.safetensors",
    log:
        "results/{speaker}/logs/fit_tokenizer.log",
    benchmark:
        "results/{speaker}/benchmarks/fit_tokenizer.tsv"
    wildcard_constraints:
        speaker=alternatives([*SPEAKERS, *GATHERED]),
    conda:
        "../../envs/voiceclone.yaml"
    threads: 2
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        revision=revision("fit_tokenizer"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/fit_tokenizer.py --speaker {wildcards.speaker}"
        " --features {input.features} --content {input.content} --assets {input.assets} --output {output.tokenizer}"
        " --settings {input.settings} --runtime {params.runtime} --threads {threads} 2> {log}"


rule tokenize:
    """Semantic tokens of every utterance."""
    input:
        features="results/{speaker}/features/manifest.tsv",
        content="results/{speaker}/features/content.safetensors",
        tokenizer="results/{speaker}/models/tokenizer.safetensors",
        settings=settings("tokenize"),
    output:
        semantic="results/{speaker}/features/semantic.safetensors",
    log:
        "results/{speaker}/logs/tokenize.log",
    benchmark:
        "results/{speaker}/benchmarks/tokenize.tsv"
    conda:
        "../../envs/voiceclone.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        revision=revision("tokenize"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/tokenize_features.py --speaker {wildcards.speaker}"
        " --features {input.features} --content {input.content} --tokenizer {input.tokenizer} --output {output.semantic}"
        " --settings {input.settings} --runtime {params.runtime} --threads {threads} 2> {log}"


rule choose_references:
    """The utterances that a voice speaks like: its own reference, and one for each style."""
    input:
        corpus=own_corpus,
        takes=own_takes,
        features="results/{speaker}/features/manifest.tsv",
        speaker="results/{speaker}/features/speaker.safetensors",
        settings=settings("choose_references"),
    output:
        references="results/{speaker}/features/references.tsv",
    log:
        "results/{speaker}/logs/choose_references.log",
    benchmark:
        "results/{speaker}/benchmarks/choose_references.tsv"
    conda:
        "../../envs/voiceclone.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        features_dir=subpath(input.features, parent=True),
        revision=revision("choose_references"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/choose_references.py --speaker {wildcards.speaker}"
        " --features-dir {params.features_dir} --corpus {input.corpus} --takes {input.takes} --output {output.references}"
        " --settings {input.settings} --runtime {params.runtime} --threads {threads} 2> {log}"
