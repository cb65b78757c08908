rule report:
    """One self-contained page per speaker: what was heard, measured and made, and from what."""
    input:
        takes="results/{speaker}/takes.tsv",
        rejected=heard("rejected.tsv"),
        separated=heard("separated/manifest.tsv"),
        clean=heard("clean/manifest.tsv"),
        timeline=heard("slices/timeline.tsv"),
        corpus="results/{speaker}/corpus/summary.json",
        history=expand("results/{{speaker}}/models/{kind}.history.jsonl", kind=["gpt", "sovits"]),
        suspects=expand("results/{{speaker}}/models/{kind}.suspects.tsv", kind=["gpt", "sovits"]),
        selection="results/{speaker}/selection/selection.json",
        bundles=parities,
        metrics=per_speaker("results/{speaker}/eval/{target}/summary.json"),
        teacher=evaluations_of_teacher,
        settings=settings("report"),
    output:
        page=report(
            "results/{speaker}/report.html",
            caption="../report/speaker.rst",
            category="Voices",
            labels={"speaker": "{speaker}"},
        ),
        provenance="results/{speaker}/provenance.json",
        crate="results/{speaker}/ro-crate-metadata.json",
        datasheet="results/{speaker}/datasheet.md",
    log:
        "results/{speaker}/logs/report.log",
    benchmark:
        "results/{speaker}/benchmarks/report.tsv"
    conda:
        "../../envs/voiceclone.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        results=subpath(output.page, parent=True),
        targets=evaluated,
        config=config_file,
        teacher=lambda wildcards: [f"results/{name}" for name in [STUDENTS.get(wildcards.speaker)] if name],
        revision=revision("report"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/report.py --speaker {wildcards.speaker} --results {params.results}"
        " --config {params.config} --targets {params.targets} --teacher {params.teacher} --output {output.page} --provenance {output.provenance}"
        " --settings {input.settings} --runtime {params.runtime} --threads {threads} 2> {log}"


rule collect_report:
    """All speakers and targets side by side."""
    input:
        all_voices,
    output:
        page=report("results/report/index.html", caption="../report/index.rst", category="Voices"),
        table="results/report/index.csv",
    log:
        "results/logs/collect_report.log",
    benchmark:
        "results/benchmarks/collect_report.tsv"
    conda:
        "../../envs/voiceclone.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        runtime=RUNTIME,
    shell:
        "exec python scripts/collect_report.py --speakers {input} --output {output.page}"
        " --runtime {params.runtime} --threads {threads} 2> {log}"


rule evaluate_all:
    """Every speaker, every target, and how each moved since earlier runs."""
    input:
        "results/report/index.html",
        "results/report/index.csv",


for name in untaken([*SPEAKERS, *STUDENTS]):

    rule:
        name:
            name
        input:
            f"results/{name}/report.html",
