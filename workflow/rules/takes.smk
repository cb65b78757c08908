rule takes:
    """Read every recording of a speaker: content ids, figures, and why a file was refused."""
    input:
        inventory="results/{speaker}/inventory.tsv",
        settings=settings("takes"),
    output:
        takes="results/{speaker}/takes.tsv",
        rejected="results/{speaker}/rejected.tsv",
    log:
        "results/{speaker}/logs/takes.log",
    benchmark:
        "results/{speaker}/benchmarks/takes.tsv"
    wildcard_constraints:
        speaker=alternatives([*RECORDED, *GATHERED]),
    conda:
        "../../envs/voiceclone.yaml"
    threads: 2
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        config=RUN_CONFIG,
        revision=revision("takes"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/takes.py --speaker {wildcards.speaker} --config {params.config}"
        " --inventory {input.inventory} --takes {output.takes} --rejected {output.rejected}"
        " --settings {input.settings} --runtime {params.runtime} --threads {threads} 2> {log}"
