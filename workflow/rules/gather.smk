rule gather:
    """One corpus of many speakers, from data sets and teachers, where recordings of one person have takes to corpus."""
    input:
        tables=corpora_tables,
        assets=stage_assets("gather"),
        settings=settings("gather"),
    output:
        corpus="results/{speaker}/corpus/corpus.tsv",
        rejected="results/{speaker}/corpus/rejected.tsv",
        licences="results/{speaker}/corpus/licences.tsv",
        summary="results/{speaker}/corpus/summary.json",
    log:
        "results/{speaker}/logs/gather.log",
    benchmark:
        "results/{speaker}/benchmarks/gather.tsv"
    wildcard_constraints:
        speaker=alternatives(GATHERED),
    conda:
        "../../envs/voiceclone.yaml"
    threads: 2
    resources:
        mem_mb=growing(4000),
        runtime=growing(480),
    params:
        results=subpath(output.corpus, ancestor=2),
        revision=revision("gather"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/gather.py --speaker {wildcards.speaker} --results {params.results}"
        " --settings {input.settings} --runtime {params.runtime} --threads {threads} 2> {log}"


rule join_group:
    """One corpus of the people who train a voice together, of what each one's own stages made."""
    input:
        corpora=of_members("corpus/corpus.tsv"),
        takes=of_members("takes.tsv"),
        consents=of_members("consent.json"),
    output:
        corpus="results/{speaker}/corpus/corpus.tsv",
        summary="results/{speaker}/corpus/summary.json",
        takes="results/{speaker}/takes.tsv",
        consent="results/{speaker}/consent.json",
    log:
        "results/{speaker}/logs/join_group.log",
    benchmark:
        "results/{speaker}/benchmarks/join_group.tsv"
    wildcard_constraints:
        speaker=alternatives(GROUPS),
    conda:
        "../../envs/voiceclone.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        members=of_members(""),
        output_dir=subpath(output.takes, parent=True),
        revision=revision("join_group"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/join_group.py --speaker {wildcards.speaker} --members {params.members}"
        " --output-dir {params.output_dir} --runtime {params.runtime} --threads {threads} 2> {log}"
