rule distill_texts:
    """A voice speaks sentences for its student; heard again, they become its corpus, beside the recordings."""
    input:
        models=expand("results/{{voice}}/models/{name}.safetensors", name=["gpt", "sovits", "tokenizer"]),
        features="results/{voice}/features/manifest.tsv",
        semantic="results/{voice}/features/semantic.safetensors",
        corpus="results/{voice}/corpus/corpus.tsv",
        takes="results/{voice}/takes.tsv",
        consent="results/{voice}/consent.json",
        texts=student_texts,
        held_out=[*sentences(None), *selection_sentences(None), *held_out_texts()],
        lexicons=student_lexicons,
        assets=student_assets,
        settings=student_speech,
    output:
        corpus="results/{voice}-student/corpus/corpus.tsv",
        summary="results/{voice}-student/corpus/summary.json",
        spoken="results/{voice}-student/spoken/manifest.tsv",
        takes="results/{voice}-student/takes.tsv",
        consent="results/{voice}-student/consent.json",
        tokenizer="results/{voice}-student/models/tokenizer.safetensors",
    log:
        "results/{voice}-student/logs/distill_texts.log",
    benchmark:
        "results/{voice}-student/benchmarks/distill_texts.tsv"
    wildcard_constraints:
        voice=alternatives(STUDENTS.values()),
    conda:
        "../../envs/voiceclone.yaml"
    threads: 2
    resources:
        mem_mb=growing(6000),
        runtime=growing(600),
        gpu=gpus,
    params:
        results=subpath(input.takes, parent=True),
        output_dir=subpath(output.takes, parent=True),
        revision=revision("distill_texts"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/distill_texts.py --speaker {wildcards.voice}-student --teacher {params.results}"
        " --texts {input.texts:q} --held-out {input.held_out:q} --lexicons {input.lexicons:q} --assets {input.assets}"
        " --output-dir {params.output_dir}"
        " --settings {input.settings} --runtime {params.runtime} --threads {threads} 2> {log}"


rule distill_gpt:
    """Train a student's text to semantic tokens on what its teacher says and does."""
    input:
        teacher=of_teacher("models/gpt.safetensors"),
        features="results/{speaker}/features/manifest.tsv",
        phones="results/{speaker}/features/phones.safetensors",
        semantic="results/{speaker}/features/semantic.safetensors",
        align=alignment,
        alignment=alignment_table,
        settings=settings("distill_gpt"),
    output:
        model="results/{speaker}/trained/gpt.safetensors",
        report="results/{speaker}/trained/gpt.json",
        history="results/{speaker}/trained/gpt.history.jsonl",
        suspects="results/{speaker}/trained/gpt.suspects.tsv",
    log:
        "results/{speaker}/logs/distill_gpt.log",
    benchmark:
        "results/{speaker}/benchmarks/distill_gpt.tsv"
    wildcard_constraints:
        speaker=alternatives(STUDENTS),
    conda:
        "../../envs/voiceclone.yaml"
    threads: half_of_the_cores
    resources:
        mem_mb=growing(8000),
        runtime=growing(480),
        gpu=gpus_of_training,
    params:
        teacher=subpath(input.teacher, parent=True),
        features_dir=subpath(input.features, parent=True),
        state=lambda wildcards: f"results/{wildcards.speaker}/state/gpt",
        candidates=candidates,
        revision=revision("distill_gpt"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/distill_gpt.py --speaker {wildcards.speaker} --teacher {params.teacher}"
        " --features-dir {params.features_dir} --state-dir {params.state}"
        " --output {output.model} --report {output.report} --history {output.history}"
        " --suspects {output.suspects} --alignment {input.alignment} --candidates {params.candidates}"
        " --settings {input.settings} --runtime {params.runtime} --threads {threads} 2> {log}"


rule distill_sovits:
    """Train a student's semantic tokens to waveform on its teacher's speech."""
    input:
        teacher=of_teacher("models/sovits.safetensors"),
        features="results/{speaker}/features/manifest.tsv",
        audio="results/{speaker}/features/audio.safetensors",
        semantic="results/{speaker}/features/semantic.safetensors",
        align=alignment,
        tokenizer="results/{speaker}/models/tokenizer.safetensors",
        assets=stage_assets("distill_sovits"),
        settings=settings("distill_sovits"),
    output:
        model="results/{speaker}/distilled/sovits.safetensors",
        report="results/{speaker}/distilled/sovits.json",
        history="results/{speaker}/distilled/sovits.history.jsonl",
        suspects="results/{speaker}/distilled/sovits.suspects.tsv",
    log:
        "results/{speaker}/logs/distill_sovits.log",
    benchmark:
        "results/{speaker}/benchmarks/distill_sovits.tsv"
    wildcard_constraints:
        speaker=alternatives(STUDENTS),
    conda:
        "../../envs/voiceclone.yaml"
    threads: half_of_the_cores
    resources:
        mem_mb=growing(8000),
        runtime=growing(480),
        gpu=gpus_of_training,
    params:
        teacher=subpath(input.teacher, parent=True),
        features_dir=subpath(input.features, parent=True),
        state=lambda wildcards: f"results/{wildcards.speaker}/state/distill",
        revision=revision("distill_sovits"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/distill_sovits.py --speaker {wildcards.speaker} --teacher {params.teacher}"
        " --features-dir {params.features_dir} --tokenizer {input.tokenizer} --assets {input.assets}"
        " --state-dir {params.state}"
        " --output {output.model} --report {output.report} --history {output.history} --suspects {output.suspects}"
        " --settings {input.settings} --runtime {params.runtime} --threads {threads} 2> {log}"


rule joint_finetune:
    """Train a student's waveform on recordings alone, by the path that speech takes, on tokens of its own GPT."""
    input:
        distilled="results/{speaker}/distilled/sovits.safetensors",
        gpt="results/{speaker}/trained/gpt.safetensors",
        features="results/{speaker}/features/manifest.tsv",
        semantic="results/{speaker}/features/semantic.safetensors",
        align=alignment,
        tokenizer="results/{speaker}/models/tokenizer.safetensors",
        settings=settings("joint_finetune"),
    output:
        model="results/{speaker}/trained/sovits.safetensors",
        report="results/{speaker}/trained/sovits.json",
        history="results/{speaker}/trained/sovits.history.jsonl",
        suspects="results/{speaker}/trained/sovits.suspects.tsv",
    log:
        "results/{speaker}/logs/joint_finetune.log",
    benchmark:
        "results/{speaker}/benchmarks/joint_finetune.tsv"
    wildcard_constraints:
        speaker=alternatives(STUDENTS),
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
        revision=revision("joint_finetune"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/joint_finetune.py --speaker {wildcards.speaker} --distilled {input.distilled}"
        " --gpt {input.gpt} --features-dir {params.features_dir} --tokenizer {input.tokenizer}"
        " --state-dir {params.state}"
        " --output {output.model} --report {output.report} --history {output.history}"
        " --suspects {output.suspects} --candidates {params.candidates}"
        " --settings {input.settings} --runtime {params.runtime} --threads {threads} 2> {log}"
