rule export_encoder:
    """Export an encoder that voices share to a graph, for new clips and Chinese text without torch."""
    input:
        asset="resources/models/{asset}/asset.json",
    output:
        graph="resources/encoders/{asset}{precision}.onnx",
        description="resources/encoders/{asset}{precision}.json",
    log:
        "results/logs/export_encoder/{asset}{precision}.log",
    benchmark:
        "results/benchmarks/export_encoder/{asset}{precision}.tsv"
    wildcard_constraints:
        precision="(-int8)?",
    conda:
        "../../envs/voiceclone.yaml"
    threads: 2
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
    params:
        output_dir=subpath(output.graph, parent=True),
        int8=lambda wildcards: "--int8" if wildcards.precision else "",
        revision=revision("export_encoder"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/export_encoder.py --asset {input.asset} --output-dir {params.output_dir}"
        " {params.int8} --runtime {params.runtime} --threads {threads} 2> {log}"


rule export:
    """Export the voice to a bundle that speaks without torch, and compare it with torch."""
    input:
        gpt="results/{speaker}/models/gpt.safetensors",
        sovits="results/{speaker}/models/sovits.safetensors",
        tokenizer="results/{speaker}/models/tokenizer.safetensors",
        semantic="results/{speaker}/features/semantic.safetensors",
        features="results/{speaker}/features/manifest.tsv",
        references="results/{speaker}/features/references.tsv",
        rights=consent,
        encoders=encoders,
        settings=settings("export"),
    output:
        bundle="results/{speaker}/export/{target}/bundle.json",
        parity="results/{speaker}/export/{target}/parity.json",
        sums="results/{speaker}/export/{target}/SHA256SUMS",
    log:
        "results/{speaker}/logs/export.{target}.log",
    benchmark:
        "results/{speaker}/benchmarks/export.{target}.tsv"
    conda:
        "../../envs/voiceclone.yaml"
    threads: 2
    resources:
        mem_mb=growing(6000),
        runtime=growing(60),
    params:
        models_dir=subpath(input.gpt, parent=True),
        features_dir=subpath(input.features, parent=True),
        output_dir=subpath(output.bundle, parent=True),
        revision=revision("export"),
        runtime=RUNTIME,
    shell:
        "exec python scripts/export.py --speaker {wildcards.speaker}"
        " --models-dir {params.models_dir} --features-dir {params.features_dir} --target {wildcards.target}"
        " --output-dir {params.output_dir} --rights {input.rights} --encoders {input.encoders}"
        " --references {input.references}"
        " --settings {input.settings} --runtime {params.runtime} --threads {threads} 2> {log}"
