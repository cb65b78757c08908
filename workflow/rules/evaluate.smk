rule evaluate:
    """Measure one target on held-out and fixed sentences, and on the user's lists, which the settings name."""
    input:
        corpus=own_corpus,
        features="results/{speaker}/features/manifest.tsv",
        references="results/{speaker}/features/references.tsv",
        semantic="results/{speaker}/features/semantic.safetensors",
        gpt="results/{speaker}/models/gpt.safetensors",
        sovits="results/{speaker}/models/sovits.safetensors",
        tokenizer="results/{speaker}/models/tokenizer.safetensors",
        bundle=bundle,
        baseline=baseline,
        recordings=recorded,
        sentences=sentences,
        lexicons=lexicons,
        own_sentences=own_sentences,
        assets=stage_assets("evaluate"),
        settings=settings("evaluate"),
    output:
        metrics="results/{speaker}/eval/{target}/metrics.tsv",
        summary="results/{speaker}/eval/{target}/summary.json",
    log:
        "results/{speaker}/logs/evaluate.{target}.log",
    benchmark:
        "results/{speaker}/benchmarks/evaluate.{target}.tsv"
    conda:
        "../../envs/voiceclone.yaml"
    threads: 2
    resources:
        mem_mb=growing(6000),
        runtime=growing(240),
    params:
        models_dir=subpath(input.gpt, parent=True),
        features_dir=subpath(input.features, parent=True),
        output_dir=subpath(output.metrics, parent=True),
        revision=revision("evaluate"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/evaluate.py --speaker {wildcards.speaker}"
        " --target {wildcards.target} --corpus {input.corpus} --features-dir {params.features_dir}"
        " --models-dir {params.models_dir} --bundle {input.bundle} --baseline {input.baseline}"
        " --references {input.references} --recordings {input.recordings} --sentences {input.sentences}"
        " --lexicons {input.lexicons:q} --assets {input.assets} --output-dir {params.output_dir}"
        " --settings {input.settings} --runtime {params.runtime} --threads {threads} 2> {log}"
