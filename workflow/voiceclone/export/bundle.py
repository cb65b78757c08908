"""The export stage: graphs, reference clip, description, digests, and the comparison with the trained models."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from voiceclone import __version__
from voiceclone.backends.bundle import (
    BUNDLE_FILE,
    FORMAT_VERSION,
    QUANTISER,
    REFERENCE,
    SOURCE_FILTER_VERSION,
    STYLE,
    STYLES,
    Reference,
    graph_files,
    read_bundle,
    write_styles,
)
from voiceclone.errors import VoiceCloneError
from voiceclone.evaluation.comparison import unseen
from voiceclone.export.encoder_graphs import check_voice_graphs, compare_voice_graphs, voice_graphs
from voiceclone.export.graphs import Calibration, build_graphs
from voiceclone.export.lint import lint, lint_stored, stored_bytes
from voiceclone.export.parity import (
    check_engines,
    compare_engines,
    gates,
    held_out_sentences,
    spoken_utterances,
    text_features,
)
from voiceclone.export.tensorrt import SCRIPT, Sizes, build_script, profiles, tensorrt_graphs
from voiceclone.files import Row, atomic_path, read_json, read_tsv, sha256_file, write_json, write_text
from voiceclone.languages import LANGUAGES
from voiceclone.lineage.rights import Rights
from voiceclone.marks.labels import voice_id
from voiceclone.models.gpt import GPTConfig
from voiceclone.models.sovits import SoVITSConfig
from voiceclone.models.voice import load_gpt, load_sovits, takes_prompt, trained_number
from voiceclone.progress import announce
from voiceclone.sound.spectra import SOURCE_FILTER
from voiceclone.speaking.encoders import CONTENT, SPEAKER, TEXT
from voiceclone.speaking.guidance import GUIDANCE
from voiceclone.speaking.model_encoders import content_encoder, speaker_encoder
from voiceclone.speaking.reference import has_bert, make_reference, spectrogram_and_vector, usual_rates
from voiceclone.speaking.styles import clips_of
from voiceclone.speaking.torch_backend import TorchBackend
from voiceclone.speaking.voices import BERT, trained_polyphones
from voiceclone.stages.export import ExportSettings
from voiceclone.targets import TARGETS, TENSORRT
from voiceclone.tensorrt.engines import engine_note

log = logging.getLogger(__name__)

#: Entries of the description that each graph carries too.
OPSET = 17  # of the graphs: what onnxruntime and TensorRT have known longest
#: Held-out utterances on which ranges of 8 bits are measured, and export and trained model compared: with fewer
#: the paired test could not show a fault.
SENTENCES = 8
UTTERANCES = 64  #: At most, for which the weights of the integer targets are rounded.
NOTED = ("voice", "target", "licence", "consent_sha256", "notice", "made_by")


def export_voice(
    models_dir: Path,
    features_dir: Path,
    target: str,
    output_dir: Path,
    settings: ExportSettings,
    speaker: str,
    rights: Rights | None = None,
    encoders: Sequence[Path] = (),
    references: Path | None = None,
) -> None:
    """Write the bundle of one target, check its graphs and compare it with the trained models.

    Args:
        models_dir: the trained models.
        features_dir: the features that they were trained on.
        target: name of the export target.
        output_dir: folder of the bundle.
        settings: of the stage.
        speaker: name of the voice.
        rights: of its recordings; None: none given.
        encoders: ``NAME.json`` of the exported encoders, which the bundle lists.
        references: table of the utterances to speak like; None: the one nearest to the speaker's mean.

    Raises:
        VoiceCloneError: a graph has faults, or differs more than the settings allow; the message has the values.
    """
    row = TARGETS[target]
    gpt, sovits = load_gpt(models_dir), load_sovits(models_dir)
    clips = clips_of(features_dir, references)
    made = {style: make_reference(sovits, features_dir, row, takes_prompt(models_dir)) for style, row in clips.items()}
    clip, reference = clips.pop(""), made.pop("")
    log.info("reference clip: %s (%s s)", clip["utterance"], clip["seconds"])
    sovits.remove_weight_norm()
    output_dir.mkdir(parents=True, exist_ok=True)
    sentences = held_out_sentences(features_dir, sovits.config.inter_channels, reference.style, SENTENCES)
    utterances = spoken_utterances(features_dir, UTTERANCES)
    calibration = Calibration(list(sentences.values()), output_dir.parent / "calibration", utterances)
    build = tensorrt_graphs if row.runtime == TENSORRT else build_graphs
    graphs = build(gpt, sovits, row.format, OPSET, calibration)
    own = voice_graphs(sovits, OPSET, row.format)
    description = _describe(target, speaker, gpt, sovits, models_dir, features_dir, clip["utterance"])
    description |= (rights or Rights()).as_notes()
    if clips:
        description["styles"] = {style: _reference_notes(row) for style, row in clips.items()}
    description["encoders"] = _encoders(sovits, description, encoders)
    if row.runtime == TENSORRT:
        sizes = Sizes.of(description["tokens_per_phone"], reference)
        found = profiles(graphs, sizes, description.get("steps_per_frame", 1))
        description |= {"phones": gpt.config.phones, "profiles": found}
    faults = lint(graphs, row, description.get("profiles")) + lint_stored(own)
    if faults:
        raise VoiceCloneError(f"export {target}: " + "; ".join(map(str, faults)), "report this with the log")
    _write(output_dir, graphs | own, reference, description, made)
    _, folder = read_bundle(output_dir)
    texts = text_features(features_dir)
    trained = TorchBackend(gpt, sovits)
    parity = compare_engines(folder, read_json(folder / BUNDLE_FILE), trained, sentences, reference, texts)
    for measured in (parity, *filter(None, [parity.get("kernels")])):
        measured["gates"] = gates(measured, row, settings)
    parity["stored_bytes"] = {name: dict(stored_bytes(model)) for name, model in (graphs | own).items()}
    parity["clip_error"] = compare_voice_graphs(own, sovits, *spectrogram_and_vector(sovits, features_dir, clip))
    write_json(output_dir / "parity.json", parity)
    announce(
        f"{speaker} · export {target}: largest error {max(parity['max_error'].values()):.1e}, "
        f"same next token in {parity['token_agreement']:.1%}, spectra {parity['spectral_distance_db']:.2f} dB apart"
    )
    for line in unseen(parity["gates"]):
        log.warning("export %s: %s", target, line)
    check_engines(parity, row, settings)
    check_voice_graphs(parity["clip_error"], row, settings)


def _encoders(sovits: Any, description: Mapping[str, Any], exported: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """The encoders that this voice needs for new clips and Chinese text, as they were exported; the others
    have only a name."""
    records = {record["name"]: record for record in map(read_json, exported)}
    config = sovits.config
    names = {
        CONTENT: content_encoder(config.ssl_dim) if description["prompt"] else "",
        SPEAKER: speaker_encoder(config.speaker_vector_size),
        TEXT: BERT if description["bert"] else "",
    }
    kept = ("name", "file", "sha256", "size", "licence")
    return {
        purpose: {key: value for key, value in records.get(name, {"name": name}).items() if key in kept}
        for purpose, name in names.items()
        if name
    }


def _reference_notes(row: Row) -> dict[str, Any]:
    """What a bundle lists of a reference."""
    notes = {name: row.get(name, "") for name in ("utterance", "language", "text")}
    return notes | {"seconds": float(row["seconds"])}


def _write(
    folder: Path,
    graphs: dict[str, onnx.ModelProto],
    reference: Reference,
    description: dict[str, Any],
    styles: Mapping[str, Reference],
) -> None:
    """Write the graphs with notes, the reference clips, and last the description with all digests."""
    from safetensors.numpy import save_file

    notes = {name: str(description[name]) for name in NOTED}
    notes |= {f"fingerprint_{kind}": key for kind, key in description["fingerprints"].items()}
    for name, model in graphs.items():
        onnx.helper.set_model_props(model, notes)
        with atomic_path(folder / f"{name}.onnx") as temporary:
            onnx.save(model, temporary)
    with atomic_path(folder / REFERENCE) as temporary:
        save_file({name: np.ascontiguousarray(array) for name, array in reference.tensors().items()}, temporary)
    names = [*graph_files(description).values(), REFERENCE, QUANTISER, STYLE]
    (folder / STYLES).unlink(missing_ok=True)
    if styles:
        write_styles(folder / STYLES, styles)
        names.append(STYLES)
    if "profiles" in description:
        write_text(folder / SCRIPT, build_script(description["profiles"]))
        description["engines"] = engine_note(folder, description)
        names.append(SCRIPT)
    digests = {name: {"sha256": sha256_file(folder / name), "size": (folder / name).stat().st_size} for name in names}
    write_json(folder / BUNDLE_FILE, {**description, "files": digests})
    sums = [f"{sha256_file(folder / name)}  {name}" for name in sorted([*names, BUNDLE_FILE])]
    write_text(folder / "SHA256SUMS", "\n".join(sums) + "\n")


def _describe(
    target: str, speaker: str, gpt: Any, sovits: Any, models_dir: Path, features_dir: Path, utterance: str
) -> dict[str, Any]:
    """Content of ``bundle.json`` without the digests."""
    languages = [row["language"] for row in read_tsv(features_dir / "manifest.tsv")]
    ranked = sorted(set(languages), key=lambda name: (-languages.count(name), name))
    return {
        "voice": speaker,
        "target": target,
        "half": TARGETS[target].format == "fp16",
        "languages": ranked,
        "smoke_text": LANGUAGES.get(ranked[0], LANGUAGES["en"]).smoke_text,
        "sample_rate": sovits.config.sample_rate,
        **_vocoder(sovits.config),
        "prior_channels": sovits.config.inter_channels,
        "end_token": gpt.config.codes,
        "cache": {
            "layers": gpt.config.layers,
            "heads": gpt.config.heads,
            "head_width": gpt.config.dim // gpt.config.heads,
        },
        **_pointer(gpt.config),
        "reference_utterance": utterance,
        "prompt": takes_prompt(models_dir),
        "bert": has_bert(features_dir),
        "polyphones": trained_polyphones(features_dir),
        "tokens_per_phone": usual_rates(features_dir),
        "fingerprints": {kind: read_json(models_dir / f"{kind}.json")["fingerprint"] for kind in ("gpt", "sovits")},
        "watermark": voice_id(trained_number(models_dir)),
        "notice": "This voice was cloned. Speech made with it is AI-generated and must be marked as such.",
        "made_by": f"voiceclone {__version__}",
    }


def _pointer(config: GPTConfig) -> dict[str, Any]:
    """Entry of the pointer; nothing if there is none."""
    weight = 0.0 if config.pointer_added else GUIDANCE
    note = {"layer": config.pointer_layer, "dim": config.pointer_dim, "guidance": weight}
    return {"pointer": note} if config.pointer_layer else {}


def _vocoder(config: SoVITSConfig) -> dict[str, Any]:
    """Entries of the vocoder, and the format version: the first that supports it."""
    if config.decoder == SOURCE_FILTER:
        return {"format_version": SOURCE_FILTER_VERSION, "decoder": SOURCE_FILTER}
    return {
        "format_version": FORMAT_VERSION,
        "steps_per_frame": config.upsample_rates[0],
        "vocoder": {"rates": config.upsample_rates, "dilations": config.resblock_dilations},
    }
