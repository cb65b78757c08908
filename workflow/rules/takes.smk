rule takes:
    """Read every recording of a speaker: content ids, figures, and why a file was refused."""
    input:
        recordings,
    output:
        takes="results/{speaker}/takes.tsv",
        rejected="results/{speaker}/rejected.tsv",
    log:
        "results/{speaker}/logs/takes.log",
    benchmark:
        "results/{speaker}/benchmarks/takes.tsv"
    conda:
        "../../envs/voiceclone.yaml"
    threads: 2
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        folder=lambda wildcards: f"{CONFIG.speakers_dir}/{wildcards.speaker}",
        settings=settings("takes"),
        revision=revision("takes"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/takes.py --speaker {wildcards.speaker} --folder {params.folder:q}"
        " --takes {output.takes} --rejected {output.rejected}"
        " --settings {params.settings:q} --runtime {params.runtime} --threads {threads} 2> {log}"
