rule base_voice:
    """The gathered voice, packed, measured and described: snakemake --cores all base_voice --config preset=base."""
    input:
        base_cards,


rule pack_base:
    """Tokenizer, GPT, SoVITS and discriminators of the gathered voice in float16."""
    input:
        gpt="results/{speaker}/models/gpt.safetensors",
        sovits="results/{speaker}/models/sovits.safetensors",
        tokenizer="results/{speaker}/models/tokenizer.safetensors",
    output:
        tokenizer="results/{speaker}/base_voice/tokenizer.safetensors",
        gpt="results/{speaker}/base_voice/gpt.safetensors",
        sovits="results/{speaker}/base_voice/sovits.safetensors",
        discriminator="results/{speaker}/base_voice/discriminator.safetensors",
    log:
        "results/{speaker}/logs/pack_base.log",
    benchmark:
        "results/{speaker}/benchmarks/pack_base.tsv"
    conda:
        "../../envs/voiceclone.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        models_dir=subpath(input.gpt, parent=True),
        output_dir=subpath(output.gpt, parent=True),
        revision=revision("pack_base"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/pack_base.py --speaker {wildcards.speaker} --models-dir {params.models_dir}"
        " --output-dir {params.output_dir} --runtime {params.runtime} --threads {threads} 2> {log}"


rule base_gates:
    """Figures of the packed base on held-out lines and held-out people, beside those of the recordings."""
    input:
        packed=rules.pack_base.output,
        corpus="results/{speaker}/corpus/corpus.tsv",
        features="results/{speaker}/features/manifest.tsv",
        semantic="results/{speaker}/features/semantic.safetensors",
        align=alignment,
        sentences=sentences,
        assets=stage_assets("base_gates"),
        settings=settings("base_gates"),
    output:
        gates="results/{speaker}/gates/gates.json",
        table="results/{speaker}/gates/gates.md",
    log:
        "results/{speaker}/logs/base_gates.log",
    benchmark:
        "results/{speaker}/benchmarks/base_gates.tsv"
    conda:
        "../../envs/voiceclone.yaml"
    threads: 2
    resources:
        mem_mb=growing(6000),
        runtime=growing(120),
    params:
        packed=lambda wildcards, input: Path(input.packed[0]).parent,
        results=subpath(output.gates, ancestor=2),
        output_dir=subpath(output.gates, parent=True),
        revision=revision("base_gates"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/base_gates.py --speaker {wildcards.speaker} --packed {params.packed}"
        " --results {params.results} --sentences {input.sentences:q} --assets {input.assets}"
        " --output-dir {params.output_dir}"
        " --settings {input.settings} --runtime {params.runtime} --threads {threads} 2> {log}"


rule base_card:
    """What the base is made of, under which licences, what it reaches, and how to make it again."""
    input:
        packed=rules.pack_base.output,
        gates="results/{speaker}/gates/gates.json",
        licences="results/{speaker}/corpus/licences.tsv",
    output:
        card="results/{speaker}/base_voice/card.md",
        data="results/{speaker}/base_voice/card.json",
    log:
        "results/{speaker}/logs/base_card.log",
    benchmark:
        "results/{speaker}/benchmarks/base_card.tsv"
    conda:
        "../../envs/voiceclone.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        packed=subpath(output.card, parent=True),
        results=subpath(input.gates, ancestor=2),
        revision=revision("base_card"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/base_card.py --speaker {wildcards.speaker} --packed {params.packed}"
        " --results {params.results} --gates {input.gates}"
        " --runtime {params.runtime} --threads {threads} 2> {log}"
