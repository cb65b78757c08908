"""The quantiser of semantic tokens: 50 Hz content vectors to 25 Hz codes.

Its tensors carry the names that they have inside the public SoVITS generator (``ssl_proj``, ``quantizer``), so that
both trainings and every export read the same file. It comes from a base voice, or is fitted to the speaker: then
``ssl_proj`` averages two frames and brings every dimension to unit variance, and the codes are the centres of k-means.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voiceclone.errors import AssetError, DataError
from voiceclone.features.phone_tokenizer import kmeans, nearest
from voiceclone.features.store import Entry, Store, open_store, write_store
from voiceclone.files import Row, atomic_path, read_tsv, sha256_file, write_json
from voiceclone.progress import announce
from voiceclone.stages.fit_tokenizer import TokenizerSettings

if TYPE_CHECKING:
    from voiceclone.assets import Asset

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int64]

CODEBOOK = "quantizer.vq.layers.0._codebook."
KEYS = (
    "ssl_proj.weight",
    "ssl_proj.bias",
    *(CODEBOOK + name for name in ("inited", "cluster_size", "embed", "embed_avg")),
)
MAX_FRAMES = 8 * 3600 * 25  # eight hours: more speech does not move the map to phones noticeably
ITERATIONS = 50  # of k-means, at most
MIN_FRAMES_PER_CODE = 8  # token frames (1/25 s) that a fitted code needs on average
FRAMES_PER_CODE = 256  # more frames than this for each code do not move the centres noticeably
log = logging.getLogger(__name__)


class Tokenizer:
    """Content vectors to codes.

    Args:
        tensors: as the public generator names them.

    Raises:
        DataError: a tensor is missing or has another shape than the rest asks for.
    """

    def __init__(self, tensors: Mapping[str, Floats]) -> None:
        missing = [key for key in KEYS if key not in tensors]
        if missing:
            raise DataError(f"the tokenizer lacks {missing}", "fit it again")
        self.tensors = {key: np.asarray(tensors[key], dtype=np.float32) for key in KEYS}
        self.dimension = self.tensors["ssl_proj.bias"].shape[0]
        self.embed = self.tensors[CODEBOOK + "embed"]
        expected = {
            "ssl_proj.weight": (self.dimension, self.dimension, 2),
            CODEBOOK + "embed": (self.size, self.dimension),
        }
        for key, shape in expected.items():
            if self.tensors[key].shape != shape:
                raise DataError(f"the tokenizer's {key} has shape {self.tensors[key].shape}, expected {shape}")

    @property
    def size(self) -> int:
        """Number of codes K."""
        return int(self.embed.shape[0])

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read a fitted tokenizer."""
        store = open_store(path)
        return cls({key: store[key] for key in KEYS if key in store})

    def project(self, content: Floats) -> Floats:
        """Content float32 (D, T) at 50 Hz to (T // 2, D) at 25 Hz: the strided convolution ``ssl_proj``.

        Raises:
            DataError: content of another encoder.
        """
        if content.shape[0] != self.dimension:
            raise DataError(
                f"content vectors have {content.shape[0]} numbers, the tokenizer expects {self.dimension}",
                "features.content and the tokenizer's base belong to different encoders: the public voices need "
                "chinese-hubert-base",
            )
        frames = content[:, : content.shape[1] // 2 * 2]
        first, second = self.tensors["ssl_proj.weight"].transpose(2, 1, 0)
        projected = frames[:, 0::2].T @ first + frames[:, 1::2].T @ second + self.tensors["ssl_proj.bias"]
        return np.asarray(projected, dtype=np.float32)

    def encode(self, content: Floats) -> Codes:
        """Codes int64 (T // 2,) nearest (Euclidean) to the projected content (D, T)."""
        return nearest(self.project(np.asarray(content, dtype=np.float32)), self.embed)[0]


def averaging_projection(frames: Floats) -> tuple[Floats, Floats]:
    """``ssl_proj`` that averages two frames and standardises: weight (D, D, 2), bias (D,) from pairs' means (N, D)."""
    mean = frames.mean(axis=0, dtype=np.float64)
    deviation = frames.std(axis=0, dtype=np.float64)
    scale = 1.0 / np.maximum(deviation, 1e-3 * max(float(deviation.max()), 1e-12))
    weight = np.repeat(np.diag(0.5 * scale)[:, :, None], 2, axis=2)
    return weight.astype(np.float32), (-mean * scale).astype(np.float32)


def usage(codes: Codes, size: int) -> dict[str, float | int]:
    """Use of the codes: number used and perplexity (K if all are equally frequent)."""
    counts = np.bincount(codes, minlength=size)
    share = counts[counts > 0] / max(int(counts.sum()), 1)
    return {"used": int((counts > 0).sum()), "perplexity": round(float(np.exp(-(share * np.log(share)).sum())), 3)}


def fit_tokenizer(
    features: Path,
    content: Path,
    output: Path,
    settings: TokenizerSettings,
    base: Asset | None = None,
    label: str = "",
) -> None:
    """Write ``tokenizer.safetensors`` and a JSON beside it with source, size and use of the codes.

    Args:
        features: ``features/manifest.tsv``; a quantiser is fitted to its training split alone.
        content: ``features/content.safetensors``; the method ``phones`` reads the stores of phones and, if
            there is one, of pitch beside it.
        output: file to write.
        settings: size and seed, or the name of the base.
        base: the public generator whose quantiser is taken over; None: fit.
        label: for the progress lines.

    Raises:
        AssetError: the base has no quantiser.
        DataError: too little speech, or content of another encoder than the base's.
    """
    store = open_store(content)
    rows = read_tsv(features, ["utterance", "split"])
    chosen = [row for row in rows if row["split"] == "train"] or rows
    training = [row["utterance"] for row in chosen]
    if base is not None:
        tensors = read_base(base)
    elif settings.base:
        raise AssetError(f"tokenizer.base: the model {settings.base} was not given", "fetch it and pass its asset.json")
    elif settings.method == "phones":
        tensors = _fit_to_phones(store, chosen, settings)
    else:
        tensors = _fit(store, training, settings)
    tokenizer = Tokenizer(tensors)
    codes = np.concatenate([tokenizer.encode(store[utterance]) for utterance in training])
    report: dict[str, Any] = {
        "source": base.name if base is not None else "fitted",
        "source_digest": base.digest if base is not None else "",
        "codes": tokenizer.size,
        "dimension": tokenizer.dimension,
        "frames": len(codes),
        **usage(codes, tokenizer.size),
    }
    announce(f"{label}  {report['used']} of {tokenizer.size} codes used, perplexity {report['perplexity']:.0f}".strip())
    log.info("tokenizer: %s", report)
    with atomic_path(output) as temporary:
        from safetensors.numpy import save_file

        save_file(tokenizer.tensors, str(temporary))
    write_json(output.with_suffix(".json"), {**report, "sha256": sha256_file(output)})


def _fit(store: Store, utterances: Sequence[str], settings: TokenizerSettings) -> dict[str, Floats]:
    size = _codebook_size(store, utterances, settings)
    available = sum(store.shape(utterance)[1] // 2 for utterance in utterances)
    pairs = _sample(store, utterances, available, size * FRAMES_PER_CODE, settings.seed)
    weight, bias = averaging_projection(pairs)
    points = pairs * (2.0 * np.diagonal(weight[:, :, 0])) + bias
    centres, codes = kmeans(points, size, ITERATIONS, settings.seed)
    return _tensors(weight, bias, centres, codes)


def _codebook_size(store: Store, utterances: Sequence[str], settings: TokenizerSettings) -> int:
    """Number of codes that the speech is enough for."""
    available = sum(store.shape(utterance)[1] // 2 for utterance in utterances)
    size = min(settings.codes, available // MIN_FRAMES_PER_CODE)
    if size < 2:
        raise DataError(
            f"{store.path}: {available} token frames ({available / 25:.1f} s) of speech are too few for a codebook; "
            f"each code needs {MIN_FRAMES_PER_CODE} frames",
            "add recordings",
        )
    if size < settings.codes:
        log.warning(
            "tokenizer: %d codes instead of %d: %.1f s of speech give %d frames, and each code needs %d; more "
            "recordings allow more codes", size, settings.codes, available / 25, available, MIN_FRAMES_PER_CODE,
        )  # fmt: skip
        announce(f"tokenizer: {size} codes instead of {settings.codes}, for want of speech ({available / 25:.0f} s)")
    return size


def _tensors(weight: Floats, bias: Floats, centres: Floats, codes: Codes) -> dict[str, Floats]:
    """A quantiser under its public names; centres may have fewer dimensions than ``ssl_proj``."""
    counts = np.bincount(codes, minlength=len(centres)).astype(np.float32)
    embed = np.pad(centres, ((0, 0), (0, len(bias) - centres.shape[1])))
    return {
        "ssl_proj.weight": weight,
        "ssl_proj.bias": bias,
        CODEBOOK + "inited": np.ones(1, dtype=np.float32),
        CODEBOOK + "cluster_size": counts,
        CODEBOOK + "embed": embed,
        CODEBOOK + "embed_avg": embed * counts[:, None],
    }


def _fit_to_phones(content: Store, rows: Sequence[Row], settings: TokenizerSettings) -> dict[str, Floats]:
    """A quantiser by :mod:`voiceclone.features.phone_tokenizer`, of the utterances that have phones."""
    from voiceclone.features.phone_tokenizer import Speech, fit_phone_tokenizer

    phones, measured = (
        open_store(content.path.with_name("phones.safetensors")),
        content.path.with_name("pitch.safetensors"),
    )
    pitch = open_store(measured) if measured.is_file() else None
    rows = [row for row in rows if row["utterance"] in phones and phones.shape(row["utterance"])[0]]
    rows = _enough(content, rows)
    size = _codebook_size(content, [row["utterance"] for row in rows], settings)
    speech = [
        Speech(
            partial(_pairs, content, name := row["utterance"]),
            phones[name],
            pitch[name] if pitch is not None and name in pitch else None,
            row.get("speaker", ""),
            row.get("text", ""),
        )
        for row in rows
    ]
    projection, centres, codes = fit_phone_tokenizer(speech, settings.model_copy(update={"codes": size}))
    return _tensors(*projection.convolution(), centres, codes)


def _enough(content: Store, rows: Sequence[Row], max_frames: int = MAX_FRAMES) -> list[Row]:
    """The rows with the smallest hashes, up to ``max_frames`` token frames, in their order."""
    order = sorted(rows, key=lambda row: hashlib.sha256(row["utterance"].encode()).digest())
    before = np.cumsum([0, *(content.shape(row["utterance"])[1] // 2 for row in order)])[:-1]
    kept = {row["utterance"] for row, frames in zip(order, before, strict=True) if frames < max_frames}
    return [row for row in rows if row["utterance"] in kept]


def _pairs(content: Store, utterance: str) -> Floats:
    """Neighbouring frames of an utterance side by side, float32 (T, 2 D)."""
    frames = content[utterance]
    frames = frames[:, : frames.shape[1] // 2 * 2]
    return np.concatenate([frames[:, 0::2], frames[:, 1::2]]).T.astype(np.float32)


def _sample(store: Store, utterances: Sequence[str], available: int, max_count: int, seed: int) -> Floats:
    """Means of neighbouring frames (N, D): all, or a seeded selection of ``max_count``; one utterance in memory."""
    kept = np.ones(available, dtype=bool)
    if available > max_count:
        kept[:] = False
        kept[np.random.default_rng(seed).choice(available, max_count, replace=False)] = True
    parts, position = [], 0
    for utterance in utterances:
        content = store[utterance]
        frames = content[:, : content.shape[1] // 2 * 2]
        means = 0.5 * (frames[:, 0::2] + frames[:, 1::2]).T
        parts.append(means[kept[position : position + len(means)]])
        position += len(means)
    return np.ascontiguousarray(np.concatenate(parts), dtype=np.float32)


def read_base(base: Asset) -> dict[str, Floats]:
    """Quantiser and projection of a public SoVITS generator (a ``.pth`` of tensors and plain types, or safetensors).

    Raises:
        AssetError: the file cannot be read safely, or has no quantiser.
    """
    for path in map(base.file, sorted(base.files)):
        if path.suffix in (".pth", ".ckpt", ".pt", ".safetensors"):
            state = _read_state(path)
            missing = [key for key in KEYS if key not in state]
            if missing:
                raise AssetError(f"{path}: lacks {missing}", "choose a SoVITS generator (sovits-g) as tokenizer.base")
            return {key: state[key] for key in KEYS}
    raise AssetError(f"{base.folder}: no weights of a SoVITS generator", "fetch the model again")


def _read_state(path: Path) -> dict[str, Floats]:
    if path.suffix == ".safetensors":
        store = open_store(path)
        return {key: np.asarray(store[key], dtype=np.float32) for key in KEYS if key in store}
    from voiceclone.models.public_files import read_weights

    state = read_weights(path)
    return {key: state[key].numpy() for key in KEYS if key in state}


def tokenize(features: Path, content: Path, tokenizer: Path, output: Path) -> None:
    """Write the semantic tokens of every utterance: a store of int64 (T // 2,), 25 Hz.

    Args:
        features: ``features/manifest.tsv``.
        content: ``features/content.safetensors``.
        tokenizer: as :func:`fit_tokenizer` writes it.
        output: store to write.
    """
    store, model = open_store(content), Tokenizer.load(tokenizer)
    utterances = [row["utterance"] for row in read_tsv(features, ["utterance"])]
    codes = {utterance: model.encode(store[utterance]) for utterance in utterances}
    entries = {name: Entry(values.shape, lambda values=values: values) for name, values in codes.items()}  # type: ignore[misc]
    metadata = {"kind": "semantic", "codes": str(model.size), "tokenizer_sha256": sha256_file(tokenizer)}
    write_store(output, "int64", entries, metadata)
    if codes:
        log.info("tokenize: %d utterances, %s", len(codes), usage(np.concatenate(list(codes.values())), model.size))
