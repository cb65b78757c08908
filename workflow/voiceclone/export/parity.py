"""Compares a bundle with the models that it was exported from, on the voice's held-out utterances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voiceclone.backends.backend import Backend
from voiceclone.backends.bundle import Reference
from voiceclone.backends.waveform import Frames, Source
from voiceclone.errors import VoiceCloneError
from voiceclone.evaluation.comparison import Sides, judge
from voiceclone.features.store import open_store
from voiceclone.files import Row, read_tsv
from voiceclone.speaking.guidance import softmax
from voiceclone.speaking.reference import has_bert
from voiceclone.speaking.runtimes import KernelBackend, open_backend, runs_with_kernels
from voiceclone.speaking.tokens import joined_features
from voiceclone.stages.export import ExportSettings
from voiceclone.targets import Target

Floats = npt.NDArray[np.float32]

GREEDY_STEPS = 25
WINDOW, HOP, FLOOR = 1024, 256, 1e-4
#: Of the waveforms that are compared, in Hz; any would do.
SAMPLE_RATE = 32000
RESAMPLES = 2000


def held_out_sentences(features_dir: Path, channels: int, style: Floats, limit: int) -> dict[str, dict[str, Any]]:
    """Inputs of the latent graph for held-out utterances, by name; for training ones if none are held out.

    If the voice reads BERT features, one of them has some.
    """
    rows = sorted(read_tsv(features_dir / "manifest.tsv"), key=lambda row: row["utterance"])
    chosen = ([row for row in rows if row["split"] == "heldout"] or rows)[:limit]
    read = text_features(features_dir)
    if read and not any(row["utterance"] in read for row in chosen):
        chosen[-1] = min((row for row in rows if row["utterance"] in read), key=lambda row: row["split"] != "heldout")
    return _sentences(features_dir, chosen, channels, style)


def spoken_utterances(features_dir: Path, limit: int) -> list[dict[str, Any]]:
    """Phones, codes and, where there are any, BERT features of utterances, all or evenly spread over them."""
    rows = sorted(read_tsv(features_dir / "manifest.tsv"), key=lambda row: row["utterance"])
    phones, tokens = (open_store(features_dir / f"{kind}.safetensors") for kind in ("phones", "semantic"))
    read, found = text_features(features_dir), []
    for row in rows[:: max(1, -(-len(rows) // limit))]:
        name = row["utterance"]
        item: dict[str, Any] = {
            "phones": np.asarray(phones[name], np.int64)[None],
            "codes": np.asarray(tokens[name], np.int64)[None, None],
        }
        if name in read:
            item["bert"] = read[name][None]
        if item["phones"].size and item["codes"].size:
            found.append(item)
    return found


def text_features(features_dir: Path) -> dict[str, Floats]:
    """BERT features (1024, X) by utterance, for Chinese ones of a voice trained with them."""
    if not has_bert(features_dir):
        return {}
    store = open_store(features_dir / "bert.safetensors")
    names = [row["utterance"] for row in read_tsv(features_dir / "manifest.tsv")]
    return {name: np.asarray(store[name], np.float32) for name in names if name in store}


def _sentences(features_dir: Path, rows: Sequence[Row], channels: int, style: Floats) -> dict[str, dict[str, Any]]:
    phones, tokens = (open_store(features_dir / f"{kind}.safetensors") for kind in ("phones", "semantic"))
    found = {}
    for index, row in enumerate(rows):
        codes = np.asarray(tokens[row["utterance"]], np.int64)
        noise = np.random.default_rng(index).standard_normal((1, channels, 2 * len(codes)), np.float32)
        found[row["utterance"]] = {
            "codes": codes[None, None],
            "phones": np.asarray(phones[row["utterance"]], np.int64)[None],
            "style": style,
            "noise": noise * np.float32(0.5),
        }
    return found


def compare_engines(
    folder: Path,
    description: dict[str, Any],
    trained: Backend,
    sentences: Mapping[str, Mapping[str, Any]],
    reference: Reference,
    texts: Mapping[str, Floats],
) -> dict[str, Any]:
    """:func:`compare` a bundle run by onnxruntime on the CPU, and under ``kernels`` by the kernels if there are any."""
    graphs = open_backend(folder, description, device="cpu", engine="onnxruntime")
    parity = compare(graphs, trained, sentences, reference, texts)
    if runs_with_kernels(description):
        parity["kernels"] = compare(KernelBackend(folder, description), trained, sentences, reference, texts)
    return parity


def check_engines(parity: Mapping[str, Any], target: Target, settings: ExportSettings) -> None:
    """:func:`check` what :func:`compare_engines` found."""
    check(parity, target, settings)
    if "kernels" in parity:
        check(parity["kernels"], target, settings, ", run by the kernels")


def gates(parity: Mapping[str, Any], target: Target, settings: ExportSettings) -> dict[str, dict[str, Any]]:
    """What the means over sentences lose against the trained model, by :func:`voiceclone.evaluation.comparison.judge`.

    A mean beyond its limit fails the export however few the sentences are; the test says how sure it is, and whether
    these sentences would have shown a fault at all.
    """
    limits = {"pitch_cents": target.max_cents, "other_voicing": target.max_other_voicing}
    if target.min_agreement:
        limits["other_tokens"] = 1 - getattr(settings, target.min_agreement)
        limits["spectral_distance_db"] = settings.max_spectral_distance_db
    sides: dict[str, Sides] = {
        name: (limit, [0.0] * len(counted["loss"]), counted["loss"], counted["units"])
        for name, limit in limits.items()
        if (counted := parity["by_sentence"].get(name))
    }
    return judge(sides, RESAMPLES, seed=0)


def compare(
    exported: Backend,
    trained: Backend,
    sentences: Mapping[str, Mapping[str, Any]],
    reference: Reference,
    texts: Mapping[str, Floats],
) -> dict[str, Any]:
    """Run both on the same sentences.

    Args:
        exported: the backend to measure.
        trained: the backend to compare with.
        sentences: inputs of the latent graph by utterance.
        reference: the clip of both.
        texts: BERT features by utterance, zeros for the others.

    Returns:
        ``max_error`` of logits and waveform relative to their largest value; ``greedy_equal``: greedy decoding gives
        the same tokens; ``token_agreement``: share of the recordings' tokens before which both prefer the same
        next one; ``divergence``: mean Kullback-Leibler divergence of the next token's distribution, in nats;
        ``spectral_distance_db``: mean distance of log spectra of the waveforms. Of a source-filter decoder the
        waveforms are compared with the same F0 and voicing, since pulses drift apart with the smallest difference of
        F0; ``pitch`` measures those: ``max_cents`` and ``mean_cents`` where both are voiced, ``other_voicing`` the
        share of frames where one is. ``with_bert``: utterances that were read with BERT features, if the voice has any.
        ``by_sentence``: sums of ``loss`` and ``units`` of the means, for :func:`gates`.
    """
    errors, same, divergences, distances = {"logits": 0.0, "waveform": 0.0}, [], [], []
    greedy_equal, pitch = True, Pitch()
    for name, item in sentences.items():
        codes, phones = item["codes"].reshape(-1), item["phones"].reshape(-1)
        waves = _waves(exported, trained, item, pitch)
        errors["waveform"] = max(errors["waveform"], _relative(*waves))
        distances.append(spectral_distance(*waves))
        text = np.concatenate([reference.phones, phones]), joined_features(reference, texts.get(name), len(phones))
        mine, theirs = (_forced(backend, *text, codes, reference.tokens) for backend in (exported, trained))
        errors["logits"] = max(errors["logits"], _relative(mine, theirs))
        same.append(mine.argmax(1) == theirs.argmax(1))
        divergences += [_divergence(left, right) for left, right in zip(theirs, mine, strict=True)]
        tokens = [_greedy(backend, *text, reference.tokens) for backend in (exported, trained)]
        greedy_equal &= tokens[0] == tokens[1]
    return {
        "max_error": errors,
        "greedy_equal": bool(greedy_equal),
        "token_agreement": float(np.concatenate(same).mean()),
        "divergence": float(np.mean(divergences)),
        "spectral_distance_db": float(np.mean(distances)),
        "utterances": list(sentences),
        "by_sentence": {
            "other_tokens": _losses([~each for each in same]),
            "spectral_distance_db": {"loss": distances, "units": [1] * len(distances)},
            **({"pitch_cents": _losses(pitch.cents), "other_voicing": _losses(pitch.flips)} if trained.pitched else {}),
        },
        **({"with_bert": sum(name in texts for name in sentences)} if texts else {}),
        **({"pitch": pitch.metrics()} if trained.pitched else {}),
    }


def _losses(sentences: Sequence[npt.NDArray[Any]]) -> dict[str, list[float]]:
    """Sum and number of the values of each sentence."""
    return {"loss": [float(each.sum()) for each in sentences], "units": [len(each) for each in sentences]}


@dataclass
class Pitch:
    """Differences of F0 and voicing between an exported source-filter decoder and the trained one."""

    cents: list[Floats] = field(default_factory=list)
    flips: list[npt.NDArray[np.bool_]] = field(default_factory=list)

    def add(self, mine: Frames, theirs: Frames) -> None:
        """Count the frames of a sentence."""
        voiced, other = mine.voicing > 0, theirs.voicing > 0
        self.flips.append(voiced != other)
        self.cents.append((1200 / np.log(2) * np.abs(mine.log_f0 - theirs.log_f0))[voiced & other])

    def metrics(self) -> dict[str, float]:
        """See :func:`compare`; cents are 0 if nothing is voiced."""
        cents = np.concatenate([*self.cents, np.zeros(1, np.float32)])
        largest, mean = float(cents.max()), float(cents.sum() / max(1, len(cents) - 1))
        return {"max_cents": largest, "mean_cents": mean, "other_voicing": float(np.concatenate(self.flips).mean())}


def _waves(exported: Backend, trained: Backend, item: Mapping[str, Any], pitch: Pitch) -> list[Floats]:
    """Waveforms of one sentence from both."""
    codes, phones = item["codes"].reshape(-1), item["phones"].reshape(-1)
    inputs = codes, phones, item["style"], item["noise"]
    if not trained.pitched:
        return [backend.decode(*inputs) for backend in (exported, trained)]
    mine, theirs = (backend.frames(backend.latent(*inputs), item["style"]) for backend in (exported, trained))
    pitch.add(mine, theirs)
    same = mine._replace(log_f0=theirs.log_f0, voicing=theirs.voicing)
    return [Source().wave(frames, SAMPLE_RATE) for frames in (same, theirs)]


def check(parity: Mapping[str, Any], target: Target, settings: ExportSettings, how: str = "") -> None:
    """Compare with the limits of a target; ``how`` is added to its name in the message.

    Raises:
        VoiceCloneError: a value is beyond its limit; the message lists all.
    """
    worst = max(parity["max_error"].values())
    faults = []
    if target.max_error and worst > (allowed := getattr(settings, target.max_error)):
        faults.append(f"largest error {worst:.1e}, allowed {allowed:.0e} ({parity['max_error']})")
    if target.format == "fp32" and not parity["greedy_equal"]:
        faults.append("greedy decoding gives other tokens")
    if target.min_agreement:
        min_agreement = getattr(settings, target.min_agreement)
        if parity["token_agreement"] < min_agreement:
            faults.append(
                f"prefers the same next token in {parity['token_agreement']:.1%}, at least {min_agreement:.1%} expected"
            )
        if parity["spectral_distance_db"] > settings.max_spectral_distance_db:
            faults.append(
                f"spectra differ by {parity['spectral_distance_db']:.2f} dB, "
                f"at most {settings.max_spectral_distance_db} dB expected"
            )
    if "pitch" in parity:
        found = parity["pitch"]
        if found["mean_cents"] > target.max_cents:
            faults.append(f"F0 is off by {found['mean_cents']:.2f} cents, at most {target.max_cents:g} expected")
        if found["other_voicing"] > target.max_other_voicing:
            faults.append(
                f"{found['other_voicing']:.2%} of the frames are voiced in one alone, "
                f"at most {target.max_other_voicing:.1%} expected"
            )
    if faults:
        raise VoiceCloneError(
            f"export {target.name}{how}: differs from the trained model: " + "; ".join(faults),
            "use a more exact target, or raise the limit under 'export' if you accept the difference",
        )


def spectral_distance(left: Floats, right: Floats) -> float:
    """Mean absolute distance in dB of the magnitude spectra of two waveforms (samples,) of the same length."""
    import librosa

    spectra = (np.abs(librosa.stft(wave, n_fft=WINDOW, hop_length=HOP)) for wave in (left, right))
    first, second = (20 * np.log10(np.maximum(spectrum, FLOOR)) for spectrum in spectra)
    return float(np.abs(first - second).mean())


def _forced(backend: Backend, phones: Any, bert: Floats | None, codes: Any, prompt: Any) -> Floats:
    """Logits (T, V + 1) before each token of a recording, given those before it."""
    logits, cache = backend.start(phones, bert, prompt)
    seen = [logits]
    for index, token in enumerate(codes[:-1].tolist()):
        logits, cache = backend.step(token, len(prompt) + index, cache)
        seen.append(logits)
    return np.stack(seen)


def _greedy(backend: Backend, phones: Any, bert: Floats | None, prompt: Any) -> list[int]:
    """First tokens of greedy decoding after the reference's prompt."""
    logits, cache = backend.start(phones, bert, prompt)
    tokens = [int(logits.argmax())]
    for index in range(GREEDY_STEPS - 1):
        logits, cache = backend.step(tokens[-1], len(prompt) + index, cache)
        tokens.append(int(logits.argmax()))
    return tokens


def _divergence(true: Floats, other: Floats) -> float:
    left, right = softmax(true).astype(np.float64), softmax(other).astype(np.float64)
    return float((left * (np.log(left + 1e-12) - np.log(right + 1e-12))).sum())


def _relative(left: Any, right: Any) -> float:
    return float(np.abs(left - right).max() / max(float(np.abs(right).max()), 1e-8))
