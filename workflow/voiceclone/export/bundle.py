"""The export stage: graphs, reference clip, description, digests, and the proof that they follow the trained models."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from voiceclone import __version__
from voiceclone.config.export import ExportSettings
from voiceclone.errors import VoiceCloneError
from voiceclone.export.graphs import export_decoder, export_text_to_semantic
from voiceclone.features.store import open_store
from voiceclone.files import atomic_path, read_json, read_tsv, sha256_file, write_json, write_text
from voiceclone.inference.backend import OnnxBackend, TorchBackend
from voiceclone.inference.bundle import (
    BUNDLE_FILE,
    DECODER,
    FORMAT_VERSION,
    REFERENCE,
    TEXT_TO_SEMANTIC,
    Reference,
    read_bundle,
)
from voiceclone.inference.reference import choose_reference, has_bert, make_reference, usual_rates
from voiceclone.models.voice import has_base, load_gpt, load_sovits
from voiceclone.progress import announce

log = logging.getLogger(__name__)

SMOKE_TEXT = {
    "en": "This is a short test.",
    "ja": "これは短いテストです。",
    "ko": "이것은 짧은 시험입니다.",
    "yue": "呢個係一個短短嘅測試。",
    "zh": "这是一个简短的测试。",
}


def export_voice(
    models_dir: Path, features_dir: Path, target: str, output_dir: Path, settings: ExportSettings, speaker: str
) -> None:
    """Write the bundle of one target and compare it with the trained models.

    Raises:
        VoiceCloneError: the difference exceeds ``settings.max_error``; the message has the numbers.
    """
    from safetensors.numpy import save_file

    gpt, sovits = load_gpt(models_dir), load_sovits(models_dir)
    row = choose_reference(features_dir)
    reference = make_reference(sovits, features_dir, row, has_base(models_dir))
    log.info("reference clip: %s (%s s)", row["utterance"], row["seconds"])
    sovits.remove_weight_norm()
    output_dir.mkdir(parents=True, exist_ok=True)
    export_text_to_semantic(gpt, output_dir / TEXT_TO_SEMANTIC, settings.opset)
    export_decoder(sovits, output_dir / DECODER, settings.opset)
    with atomic_path(output_dir / REFERENCE) as temporary:
        save_file({name: np.ascontiguousarray(array) for name, array in reference.tensors().items()}, temporary)
    _describe(output_dir, target, speaker, gpt, sovits, models_dir, features_dir, row["utterance"])
    parity = compare(output_dir, gpt, sovits, features_dir, reference, settings)
    write_json(output_dir / "parity.json", parity)
    worst = max(parity["max_error"].values())
    tokens = "equal" if parity["greedy_equal"] else "differ"
    announce(f"{speaker} · export {target}: largest error {worst:.1e}, greedy tokens {tokens}")
    if worst > settings.max_error or not parity["greedy_equal"]:
        raise VoiceCloneError(
            f"export {target}: differs from the trained model by {parity['max_error']} (allowed {settings.max_error}), "
            f"greedy tokens equal: {parity['greedy_equal']}",
            "report this with the log; raise export.max_error only if you accept the difference",
        )


def _describe(
    folder: Path, target: str, speaker: str, gpt: Any, sovits: Any, models_dir: Path, features_dir: Path, utterance: str
) -> None:
    """Write ``bundle.json`` and ``SHA256SUMS``."""
    languages = [row["language"] for row in read_tsv(features_dir / "manifest.tsv")]
    ranked = sorted(set(languages), key=lambda name: (-languages.count(name), name))
    names = (TEXT_TO_SEMANTIC, DECODER, REFERENCE)
    write_json(
        folder / BUNDLE_FILE,
        {
            "format_version": FORMAT_VERSION,
            "voice": speaker,
            "target": target,
            "languages": ranked,
            "smoke_text": SMOKE_TEXT.get(ranked[0], SMOKE_TEXT["en"]),
            "sample_rate": sovits.config.sample_rate,
            "prior_channels": sovits.config.inter_channels,
            "end_token": gpt.config.codes,
            "cache": {
                "layers": gpt.config.layers,
                "heads": gpt.config.heads,
                "head_width": gpt.config.dim // gpt.config.heads,
            },
            "reference_utterance": utterance,
            "prompt": has_base(models_dir),
            "bert": has_bert(features_dir),
            "tokens_per_phone": usual_rates(features_dir),
            "fingerprints": {kind: read_json(models_dir / f"{kind}.json")["fingerprint"] for kind in ("gpt", "sovits")},
            "notice": "This voice was cloned. Speech made with it is AI-generated and must be marked as such.",
            "made_by": f"voiceclone {__version__}",
            "files": {
                name: {"sha256": sha256_file(folder / name), "size": (folder / name).stat().st_size} for name in names
            },
        },
    )
    sums = [f"{sha256_file(folder / name)}  {name}" for name in sorted([*names, BUNDLE_FILE])]
    write_text(folder / "SHA256SUMS", "\n".join(sums) + "\n")


def compare(
    folder: Path, gpt: Any, sovits: Any, features_dir: Path, reference: Reference, settings: ExportSettings
) -> dict[str, Any]:
    """Run bundle and trained models on the same held-out utterances.

    Returns:
        ``max_error`` of logits and waveform relative to their largest value, ``greedy_equal``, and the utterances.
    """
    description, _ = read_bundle(folder)
    exported, trained = OnnxBackend(folder, description), TorchBackend(gpt, sovits)
    rows = read_tsv(features_dir / "manifest.tsv")
    held_out = [row for row in rows if row["split"] == "heldout"] or rows
    phones_of, tokens_of = (open_store(features_dir / f"{kind}.safetensors") for kind in ("phones", "semantic"))
    errors = {"logits": 0.0, "waveform": 0.0}
    greedy_equal = True
    used = sorted(held_out, key=lambda row: row["utterance"])[: settings.parity_sentences]
    for row in used:
        phones = np.asarray(phones_of[row["utterance"]], np.int64)
        codes = np.asarray(tokens_of[row["utterance"]], np.int64)
        noise = np.random.default_rng(0).standard_normal(
            (1, description["prior_channels"], 2 * len(codes)), np.float32
        ) * np.float32(0.5)
        waves = [backend.decode(codes, phones, reference.style, noise) for backend in (exported, trained)]
        errors["waveform"] = max(errors["waveform"], _relative(*waves))
        logits, tokens = zip(*(_greedy(backend, phones, reference) for backend in (exported, trained)), strict=True)
        errors["logits"] = max(errors["logits"], _relative(*logits))
        greedy_equal &= tokens[0] == tokens[1]
    return {"max_error": errors, "greedy_equal": greedy_equal, "utterances": [row["utterance"] for row in used]}


def _greedy(
    backend: OnnxBackend | TorchBackend, phones: Any, reference: Reference, steps: int = 25
) -> tuple[Any, list[int]]:
    """Logits (steps, V + 1) and tokens of greedy decoding after the reference's prompt."""
    prompt = reference.tokens
    logits, cache = backend.start(np.concatenate([reference.phones, phones]), None, prompt)
    seen, tokens = [logits], [int(logits.argmax())]
    for index in range(steps - 1):
        logits, cache = backend.step(tokens[-1], len(prompt) + index, cache)
        seen.append(logits)
        tokens.append(int(logits.argmax()))
    return np.stack(seen), tokens


def _relative(left: Any, right: Any) -> float:
    return float(np.abs(left - right).max() / max(float(np.abs(right).max()), 1e-8))
