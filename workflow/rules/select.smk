rule select:
    """Choose the checkpoints that the voice speaks with, and hand on what is known of their trainings."""
    input:
        reports=expand("results/{{speaker}}/trained/{kind}.json", kind=["gpt", "sovits"]),
        gpt="results/{speaker}/trained/gpt.safetensors",
        sovits="results/{speaker}/trained/sovits.safetensors",
        history=expand("results/{{speaker}}/trained/{kind}.history.jsonl", kind=["gpt", "sovits"]),
        suspects=expand("results/{{speaker}}/trained/{kind}.suspects.tsv", kind=["gpt", "sovits"]),
        corpus=own_corpus,
        features="results/{speaker}/features/manifest.tsv",
        semantic="results/{speaker}/features/semantic.safetensors",
        tokenizer="results/{speaker}/models/tokenizer.safetensors",
        sentences=selection_sentences,
        lexicons=lexicons,
        consent=consent,
        assets=stage_assets("select"),
        settings=settings("select"),
    output:
        gpt="results/{speaker}/models/gpt.safetensors",
        sovits="results/{speaker}/models/sovits.safetensors",
        reports=expand("results/{{speaker}}/models/{kind}.json", kind=["gpt", "sovits"]),
        history=expand("results/{{speaker}}/models/{kind}.history.jsonl", kind=["gpt", "sovits"]),
        suspects=expand("results/{{speaker}}/models/{kind}.suspects.tsv", kind=["gpt", "sovits"]),
        selection="results/{speaker}/selection/selection.json",
    log:
        "results/{speaker}/logs/select.log",
    benchmark:
        "results/{speaker}/benchmarks/select.tsv"
    conda:
        "../../envs/voiceclone.yaml"
    threads: 2
    resources:
        mem_mb=growing(6000),
        runtime=growing(240),
    params:
        trained_dir=subpath(input.gpt, parent=True),
        features_dir=subpath(input.features, parent=True),
        models_dir=subpath(output.gpt, parent=True),
        revision=revision("select"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/select_checkpoints.py --speaker {wildcards.speaker} --trained-dir {params.trained_dir}"
        " --features-dir {params.features_dir} --corpus {input.corpus} --sentences {input.sentences} --lexicons {input.lexicons:q}"
        " --consent {input.consent}"
        " --assets {input.assets} --models-dir {params.models_dir} --output {output.selection}"
        " --settings {input.settings} --runtime {params.runtime} --threads {threads} 2> {log}"
