rule corpus:
    """Join slices, transcripts and corrections into the corpus; say what was left out and why."""
    input:
        takes="results/{speaker}/takes.tsv",
        rejected_takes="results/{speaker}/rejected.tsv",
        slices="results/{speaker}/slices/manifest.tsv",
        transcripts="results/{speaker}/transcripts/manifest.tsv",
        corrections=corrections,
        given=given_texts,
        assets=stage_assets("corpus"),
        settings=settings("corpus"),
    output:
        corpus="results/{speaker}/corpus/corpus.tsv",
        list="results/{speaker}/corpus/{speaker}.list",
        rejected="results/{speaker}/corpus/rejected.tsv",
        summary="results/{speaker}/corpus/summary.json",
        proofread="results/{speaker}/corpus/proofread.html",
    log:
        "results/{speaker}/logs/corpus.log",
    benchmark:
        "results/{speaker}/benchmarks/corpus.tsv"
    wildcard_constraints:
        speaker=alternatives(RECORDED),
    conda:
        "../../envs/voiceclone.yaml"
    threads: 2
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        output_dir=subpath(output.corpus, parent=True),
        revision=revision("corpus"),
        texts="resources/texts",
        runtime=RUNTIME,
    shell:
        "exec python scripts/corpus.py --speaker {wildcards.speaker}"
        " --takes {input.takes} --rejected-takes {input.rejected_takes} --slices {input.slices}"
        " --transcripts {input.transcripts} --corrections {input.corrections}"
        " --given {input.given} --assets {input.assets} --texts {params.texts} --output-dir {params.output_dir}"
        " --settings {input.settings} --runtime {params.runtime} --threads {threads} 2> {log}"


rule consent:
    """Stop where the owner of a voice has not agreed; its terms, for all that is made of the corpus."""
    input:
        rights="results/{speaker}/rights.json",
        spoken=spoken_consent,
    output:
        consent="results/{speaker}/consent.json",
    log:
        "results/{speaker}/logs/consent.log",
    benchmark:
        "results/{speaker}/benchmarks/consent.tsv"
    wildcard_constraints:
        speaker=alternatives(RECORDED),
    priority: 1
    conda:
        "../../envs/voiceclone.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        config=RUN_CONFIG,
        revision=revision("consent"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/consent.py --speaker {wildcards.speaker} --config {params.config}"
        " --rights {input.rights} --spoken {input.spoken} --output {output.consent}"
        " --runtime {params.runtime} --threads {threads} 2> {log}"
