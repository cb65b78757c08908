rule demo_speaker:
    """Speak the demo's takes with the packaged voice: only sound, no transcripts."""
    input:
        texts="resources/sentences/demo_speaker.txt",
        voice=asset("piper-joe"),
        settings=settings("demo_speaker"),
    output:
        stamp="resources/demo/demo.json",
    log:
        "results/logs/demo_speaker.log",
    benchmark:
        "results/benchmarks/demo_speaker.tsv"
    conda:
        "../../envs/voiceclone.yaml"
    threads: 2
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        folder=subpath(output.stamp, strip_suffix=".json"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/demo_speaker.py --voice {input.voice} --texts {input.texts}"
        " --output-dir {params.folder} --stamp {output.stamp}"
        " --settings {input.settings} --runtime {params.runtime} --threads {threads} 2> {log}"
