"""The quantiser of semantic tokens: 50 Hz content vectors to 25 Hz codes.

Its tensors carry the names that they have inside the public SoVITS generator (``ssl_proj``, ``quantizer``), so that
both trainings and every export read the same file. It comes from a base voice, or is fitted to the speaker: then
``ssl_proj`` averages two frames and brings every dimension to unit variance, and the codes are the centres of k-means.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voiceclone.config.tokenizer import TokenizerSettings
from voiceclone.errors import AssetError, DataError
from voiceclone.features.store import Entry, Store, open_store, write_store
from voiceclone.files import atomic_path, read_tsv, sha256_file, write_json
from voiceclone.progress import announce

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
FRAMES_PER_CODE = 256  # more frames than this for each code do not move the centres noticeably
BLOCK = 8192
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


def nearest(points: Floats, centres: Floats) -> tuple[Codes, Floats]:
    """Index of the nearest centre (K, D) of each point (N, D), and its squared distance (N,)."""
    codes = np.empty(len(points), dtype=np.int64)
    distances = np.empty(len(points), dtype=np.float32)
    lengths = np.square(centres).sum(axis=1)
    for start in range(0, len(points), BLOCK):
        block = points[start : start + BLOCK]
        relative = lengths - 2.0 * (block @ centres.T)
        found = relative.argmin(axis=1)
        codes[start : start + BLOCK] = found
        distances[start : start + BLOCK] = relative[np.arange(len(block)), found] + np.square(block).sum(axis=1)
    return codes, np.maximum(distances, 0.0)


def kmeans(points: Floats, size: int, iterations: int, seed: int) -> tuple[Floats, Codes]:
    """Centres by Lloyd's algorithm from k-means++ seeds (Arthur and Vassilvitskii 2007).

    A centre without points moves to the point farthest from its own. Deterministic for given data, seed and threads.

    Args:
        points: float32 (N, D).
        size: number of centres K, at most N.
        iterations: most rounds.
        seed: of the first centres.

    Returns:
        Centres float32 (K, D) and the centre of each point int64 (N,).
    """
    centres = points[_first_centres(points, size, seed)].copy()
    codes = np.full(len(points), -1, dtype=np.int64)
    for _ in range(iterations):
        before = codes
        codes, distances = nearest(points, centres)
        if np.array_equal(before, codes):
            break
        counts = np.bincount(codes, minlength=size)
        occupied = counts > 0
        starts = np.concatenate([[0], np.cumsum(counts[occupied])[:-1]])
        sums = np.add.reduceat(points[np.argsort(codes, kind="stable")], starts, axis=0, dtype=np.float64)
        centres[occupied] = (sums / counts[occupied, None]).astype(np.float32)
        farthest = np.argsort(distances, kind="stable")[::-1]
        centres[~occupied] = points[farthest[: int((~occupied).sum())]]
    return centres, nearest(points, centres)[0]


def _first_centres(points: Floats, size: int, seed: int) -> list[int]:
    """Indices of the k-means++ seeds, each drawn in proportion to its squared distance to the rest."""
    random = np.random.default_rng(seed)
    lengths = np.square(points).sum(axis=1)

    def distance_to(index: int) -> Floats:
        return np.maximum(lengths - 2.0 * (points @ points[index]) + lengths[index], 0.0)

    chosen = [int(random.integers(len(points)))]
    distance = distance_to(chosen[0])
    while len(chosen) < size:
        cumulated, draw = np.cumsum(distance, dtype=np.float64), random.random()
        position = np.searchsorted(cumulated, draw * cumulated[-1]) if cumulated[-1] > 0 else int(draw * len(points))
        chosen.append(min(int(position), len(points) - 1))
        distance = np.minimum(distance, distance_to(chosen[-1]))
    return chosen


def averaging_projection(frames: Floats) -> tuple[Floats, Floats]:
    """``ssl_proj`` that averages two frames and standardises: weight (D, D, 2), bias (D,) from pairs' means (N, D)."""
    mean = frames.mean(axis=0, dtype=np.float64)
    deviation = frames.std(axis=0, dtype=np.float64)
    scale = 1.0 / np.maximum(deviation, 1e-3 * max(float(deviation.max()), 1e-12))
    weight = np.repeat(np.diag(0.5 * scale)[:, :, None], 2, axis=2)
    return weight.astype(np.float32), (-mean * scale).astype(np.float32)


def usage(codes: Codes, size: int) -> dict[str, float | int]:
    """How evenly codes are used: number used and perplexity (K if all are equally frequent)."""
    counts = np.bincount(codes, minlength=size)
    share = counts[counts > 0] / max(int(counts.sum()), 1)
    return {"used": int((counts > 0).sum()), "perplexity": round(float(np.exp(-(share * np.log(share)).sum())), 3)}


def fit_tokenizer(
    features: Path, content: Path, output: Path, settings: TokenizerSettings, base: Asset | None = None, label: str = ""
) -> None:
    """Write ``tokenizer.safetensors`` and a JSON beside it that tells source, size and use of the codes.

    Args:
        features: ``features/manifest.tsv``; a quantiser is fitted to its training split alone.
        content: ``features/content.safetensors``.
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
    training = [row["utterance"] for row in rows if row["split"] == "train"] or [row["utterance"] for row in rows]
    if base is not None:
        tensors = read_base(base)
    elif settings.base:
        raise AssetError(f"tokenizer.base: the model {settings.base} was not given", "fetch it and pass its asset.json")
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
    available = sum(store.shape(utterance)[1] // 2 for utterance in utterances)
    size = min(settings.codes, available // settings.frames_per_code)
    if size < 2:
        raise DataError(
            f"{store.path}: {available} token frames ({available / 25:.1f} s) of speech are too few for a codebook; "
            f"each code needs {settings.frames_per_code} frames",
            "add recordings",
        )
    if size < settings.codes:
        log.warning(
            "tokenizer: %d codes instead of %d: %.1f s of speech give %d frames, and each code needs %d; more "
            "recordings allow more codes", size, settings.codes, available / 25, available, settings.frames_per_code,
        )  # fmt: skip
        announce(f"tokenizer: {size} codes instead of {settings.codes}, for want of speech ({available / 25:.0f} s)")
    pairs = _sample(store, utterances, available, size * FRAMES_PER_CODE, settings.seed)
    weight, bias = averaging_projection(pairs)
    points = pairs * (2.0 * np.diagonal(weight[:, :, 0])) + bias
    centres, codes = kmeans(points, size, settings.iterations, settings.seed)
    counts = np.bincount(codes, minlength=size).astype(np.float32)
    return {
        "ssl_proj.weight": weight,
        "ssl_proj.bias": bias,
        CODEBOOK + "inited": np.ones(1, dtype=np.float32),
        CODEBOOK + "cluster_size": counts,
        CODEBOOK + "embed": centres,
        CODEBOOK + "embed_avg": centres * counts[:, None],
    }


def _sample(store: Store, utterances: Sequence[str], available: int, most: int, seed: int) -> Floats:
    """Means of neighbouring frames (N, D): all of them, or a seeded selection of ``most``, one utterance in memory."""
    kept = np.ones(available, dtype=bool)
    if available > most:
        kept[:] = False
        kept[np.random.default_rng(seed).choice(available, most, replace=False)] = True
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
    from voiceclone.models.checkpoints import read_weights

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
