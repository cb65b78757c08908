"""Reference clips: a sound file read and encoded by the networks of the voice, or the voice's own clip.

References of clips are kept by content, in memory and in the user's cache folder. An entry's name is the digest of all
that decides it: the bytes of the clips, the networks, the phones of the words. A voice's own clip is the utterance
that sounds most like the speaker.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load, save

from voiceclone.backends.bundle import Reference
from voiceclone.corpus.tiers import CLIP_SECONDS
from voiceclone.errors import DataError
from voiceclone.features.store import open_store
from voiceclone.files import Row, digest, read_tsv, sha256_file
from voiceclone.languages import IN_LATIN, WITH_BERT
from voiceclone.lineage.revisions import revisions
from voiceclone.lineage.user_cache import UserCache
from voiceclone.sound.channels import read_voice
from voiceclone.sound.io import Waveform, resample
from voiceclone.sound.spectra import magnitudes
from voiceclone.speaking.encoders import Encoders
from voiceclone.speaking.splitting import CLAUSE_MARKS
from voiceclone.stages.distill import SPOKEN
from voiceclone.text.frontend import Phones, to_phones
from voiceclone.text.lexicon import Lexicon

if TYPE_CHECKING:
    from voiceclone.listeners.bert import LazyEncoder

log = logging.getLogger(__name__)
#: Entries that are kept in memory and on disk.
IN_MEMORY, ON_DISK = 64, 500


def reference_cache(folder: Path | None = None) -> UserCache[Reference]:
    """References by key; ``folder``: of those that processes share, None: memory alone."""
    return UserCache(folder, _content, _reference, IN_MEMORY, ON_DISK)


def _content(reference: Reference) -> bytes:
    words = np.frombuffer(reference.text.encode(), np.uint8)
    return bytes(save({**reference.tensors(), "text": words}))


def _reference(content: bytes) -> Reference:
    tensors = load(content)
    words = tensors["text"].tobytes().decode()
    return Reference(tensors["tokens"], tensors["phones"], tensors["style"], tensors.get("bert"), words)


def choose_reference(features_dir: Path) -> Row:
    """Row of ``features/manifest.tsv`` of the training utterance nearest to the speaker's centroid.

    Utterances of 3 to 10 seconds are preferred; if there is none, the one nearest to that range is taken.

    Raises:
        DataError: no training utterance at all.
    """
    rows = [row for row in read_tsv(features_dir / "manifest.tsv") if row["split"] == "train"]
    rows = [row for row in rows if row.get("source") != SPOKEN]
    if not rows:
        raise DataError(f"{features_dir}/manifest.tsv: no training utterance to take as reference")
    speaker = open_store(features_dir / "speaker.safetensors")
    vectors = np.stack([np.asarray(speaker[row["utterance"]]) for row in rows])
    likeness = vectors @ vectors.mean(axis=0)

    def rank(index: int) -> tuple[float, float, str]:
        seconds = float(rows[index]["seconds"])
        outside = max(CLIP_SECONDS[0] - seconds, seconds - CLIP_SECONDS[1], 0.0)
        return outside, -float(likeness[index]), rows[index]["utterance"]

    return rows[min(range(len(rows)), key=rank)]


def has_bert(features_dir: Path) -> bool:
    """True: some utterances of these features have BERT vectors."""
    return (features_dir / "bert.safetensors").is_file()


def usual_rates(features_dir: Path) -> dict[str, float]:
    """Median of semantic tokens per phone by language, over the utterances of a training."""
    tokens, phones = (open_store(features_dir / f"{kind}.safetensors") for kind in ("semantic", "phones"))
    found: dict[str, list[float]] = {}
    for row in read_tsv(features_dir / "manifest.tsv", ["utterance", "language"]):
        name = row["utterance"]
        found.setdefault(row["language"], []).append(tokens.shape(name)[0] / phones.shape(name)[0])
    return {language: round(median(values), 4) for language, values in sorted(found.items())}


def make_reference(sovits: Any, features_dir: Path, row: Row, prompt: bool) -> Reference:
    """The reference of an utterance of the training.

    Args:
        sovits: the trained :class:`voiceclone.models.sovits.SoVITS`.
        features_dir: folder of the feature stores.
        row: its row of ``features/manifest.tsv``.
        prompt: the clip's words come before the text. A model trained from scratch saw one utterance at a time and
            would end after the prompt; it speaks from the text alone, in the clip's style.
    """
    import torch

    bert = open_store(features_dir / "bert.safetensors") if has_bert(features_dir) else {}
    spectrogram, vector = spectrogram_and_vector(sovits, features_dir, row)
    with torch.inference_mode():
        style = sovits.style(
            torch.from_numpy(spectrogram)[None], None if vector is None else torch.from_numpy(vector)[None]
        )
    if not prompt:
        return Reference(np.zeros(0, np.int64), np.zeros(0, np.int64), style.numpy())
    return Reference(
        tokens=_read(features_dir, "semantic", row).astype(np.int64),
        phones=_read(features_dir, "phones", row).astype(np.int64),
        style=style.numpy(),
        bert=np.asarray(bert[row["utterance"]], np.float32) if row["utterance"] in bert else None,
    )


def spectrogram_and_vector(
    sovits: Any, features_dir: Path, row: Row
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
    """Inputs of the style encoder for an utterance: spectrogram float32 (1025, F), speaker vector (S,) or None."""
    from voiceclone.listeners.eres2netv2 import vector_kind

    vectors = vector_kind(sovits.config.speaker_vector_size)
    spectrogram = _read(features_dir, "spectrogram", row).astype(np.float32)
    return spectrogram, _read(features_dir, vectors, row).astype(np.float32) if vectors else None


def _read(features_dir: Path, kind: str, row: Row) -> npt.NDArray[Any]:
    return np.array(open_store(features_dir / f"{kind}.safetensors")[row["utterance"]])


RATE, ENCODER_RATE = 32000, 16000
#: Silence after the prompt's sound, at the encoder's rate, as GPT-SoVITS appends it.
SILENCE_AFTER = 9600
#: Shortest clip whose style can be used.
STYLE_SECONDS = 0.5
SILENT = 1e-4


class ClipReader:
    """Makes references of sound files for one voice; each is made once.

    Args:
        encoders: the networks.
        lexicon: the user's pronunciations.
        encode_text: computes the BERT features of phones; None: none.
        cache: of references; None: one in memory.
    """

    def __init__(
        self,
        encoders: Encoders,
        lexicon: Lexicon | None = None,
        encode_text: LazyEncoder | None = None,
        cache: UserCache[Reference] | None = None,
    ) -> None:
        self._encoders, self._lexicon, self._encode_text = encoders, lexicon, encode_text
        self.cache = cache or reference_cache()

    def read(
        self, clip: Path, text: str = "", language: str = "", styles: Sequence[Path] = (), any_length: bool = False
    ) -> Reference:
        """A reference of a clip.

        Args:
            clip: sound of any format and rate; 3 to 10 s, which the models of GPT-SoVITS were made for.
            text: its words; empty: only its style is used. A voice that was trained from scratch only uses the style.
            language: of the text, or a mode of the text front end; empty: ``auto``.
            styles: further clips, whose style is averaged with that of the first.
            any_length: accept a clip of any length.

        Raises:
            DataError: a clip cannot be read, is silent or has another length.
            AssetError: an encoder is missing; says how to get it.
        """
        words, phones = "", None
        if text.strip() and self._encoders.prompt:
            words = with_end_mark(text, language)
            phones = to_phones(words, language or "auto", self._lexicon)
        elif text.strip():
            log.warning(
                "this voice was trained from scratch, on single utterances: it uses the sound of the clip, but does "
                "not continue from its words"
            )
        key = self._key([clip, *styles], words, phones, any_length)
        return self.cache.get(key, lambda: self._make([clip, *styles], words, phones, any_length))

    def _key(self, clips: Sequence[Path], words: str, phones: Phones | None, any_length: bool) -> str:
        sounds = [sha256_file(check_there(path)) for path in clips]
        networks = [self._encoders.key(phones is not None)]
        spoken = None
        if phones is not None:
            spoken = [words, *([run.language, run.normalised, *run.symbols] for run in phones.segments)]
            networks += [] if self._encode_text is None else [self._encode_text.digest]
        return digest([revisions()["clip"], sounds, networks, spoken, any_length], length=32)

    def _make(self, clips: Sequence[Path], words: str, phones: Phones | None, any_length: bool) -> Reference:
        sounds = [read_clip(path) for path in clips]
        seconds = len(sounds[0]) / RATE
        if not any_length and not CLIP_SECONDS[0] <= seconds <= CLIP_SECONDS[1]:
            raise DataError(
                f"{clips[0]}: {seconds:.1f} s, expected {CLIP_SECONDS[0]:g} to {CLIP_SECONDS[1]:g} s of speech",
                "cut the clip, or add --any-length to use it as it is",
            )
        at_16_khz = [resample(sound, RATE, ENCODER_RATE) for sound in sounds]
        styles = [self._encoders.style(magnitudes(sound), low) for sound, low in zip(sounds, at_16_khz, strict=True)]
        style = np.stack(styles).mean(axis=0)
        if phones is None:
            return Reference(np.zeros(0, np.int64), np.zeros(0, np.int64), style)
        tokens = self._encoders.tokens(np.pad(at_16_khz[0], (0, SILENCE_AFTER)))
        bert = None
        if self._encode_text is not None and any(run.language in WITH_BERT for run in phones.segments):
            bert = np.asarray(self._encode_text(phones), np.float32)
        return Reference(tokens, phones.ids, style, bert, words)


def check_there(path: Path) -> Path:
    """Check that a file exists; returns its path.

    Raises:
        DataError: there is no file.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file", "name a sound file")
    return path


def read_clip(path: Path) -> Waveform:
    """Sound float32 (n,) at 32 kHz, scaled down if it exceeds full scale, as in GPT-SoVITS.

    Raises:
        DataError: unreadable, of two voices, shorter than half a second, silent or not finite.
    """
    sound = read_voice(check_there(path), RATE)
    if not np.isfinite(sound).all():
        raise DataError(f"{path}: has samples that are not finite numbers")
    if len(sound) < STYLE_SECONDS * RATE:
        raise DataError(f"{path}: {len(sound) / RATE:.2f} s, expected at least {STYLE_SECONDS} s")
    peak = float(np.abs(sound).max())
    if peak < SILENT:
        raise DataError(f"{path}: silent")
    return np.asarray(sound / min(2.0, peak) if peak > 1.0 else sound, np.float32)


def with_end_mark(text: str, language: str) -> str:
    """The text of a clip, with a full stop if it ends without a mark: otherwise the next words would join its last."""
    text = text.strip()
    return text if text[-1] in CLAUSE_MARKS else text + ("." if language in IN_LATIN else "。")
