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
