rule teacher_speech:
    """A packaged voice reads text lists as many pseudo-speakers."""
    input:
        unpack(teacher_inputs),
        settings=teacher_settings,
    output:
        "results/teachers/{teacher}/manifest.tsv",
    log:
        "results/logs/teacher_speech/{teacher}.log",
    benchmark:
        "results/benchmarks/teacher_speech/{teacher}.tsv"
    conda:
        "../../envs/voiceclone.yaml"
    threads: several_cores
    resources:
        mem_mb=growing(6000),
        runtime=growing(600),
    params:
        revision=revision("teacher_speech"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/teacher_speech.py --voice {input.voice} --texts {input.texts:q} --held-out {input.held_out:q}"
        " --output {output} --settings {input.settings} --runtime {params.runtime} --threads 1"
        " --processes {threads} 2> {log}"


rule teachers:
    """The speech of every teacher of the configuration."""
    input:
        expand("results/teachers/{teacher}/manifest.tsv", teacher=TEACHERS),
