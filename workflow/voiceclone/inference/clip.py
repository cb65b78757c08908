"""A sound file as reference clip: read, encoded by the networks that the voice was trained with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from voiceclone.corpus.tiers import CLIP_SECONDS
from voiceclone.errors import DataError
from voiceclone.files import digest, sha256_file
from voiceclone.inference.bundle import Reference
from voiceclone.inference.encoders import Encoders
from voiceclone.inference.reference_cache import ReferenceCache
from voiceclone.inference.splitting import CLAUSE_MARKS
from voiceclone.languages import WITH_BERT
from voiceclone.lineage.revisions import CACHE_REVISIONS
from voiceclone.sound.channels import read_voice
from voiceclone.sound.io import Waveform, resample
from voiceclone.sound.spectra import magnitudes
from voiceclone.text.frontend import Phones, to_phones
from voiceclone.text.lexicon import Lexicon

if TYPE_CHECKING:
    from voiceclone.listeners.bert import LazyEncoder

log = logging.getLogger(__name__)

RATE, ENCODER_RATE = 32000, 16000
#: Silence after the prompt's sound, at the encoder's rate; the public program appends as much.
SILENCE_AFTER = 9600
#: Shortest clip whose sound can be taken on.
STYLE_SECONDS = 0.5
SILENT = 1e-4


class ClipReader:
    """Makes references of sound files for one voice; each is made once.

    Args:
        encoders: the networks.
        lexicon: the user's pronunciations.
        encode_text: gives the BERT features of phones; None: none.
        cache: of references; None: one in memory.
    """

    def __init__(
        self,
        encoders: Encoders,
        lexicon: Lexicon | None = None,
        encode_text: LazyEncoder | None = None,
        cache: ReferenceCache | None = None,
    ) -> None:
        self._encoders, self._lexicon, self._encode_text = encoders, lexicon, encode_text
        self.cache = cache or ReferenceCache()

    def read(
        self, clip: Path, text: str = "", language: str = "", styles: Sequence[Path] = (), any_length: bool = False
    ) -> Reference:
        """A reference of a clip.

        Args:
            clip: sound of any format and rate; 3 to 10 s, which the public models were made for.
            text: what is said in it; empty: only its sound is taken on, nothing is spoken on from it. A voice that was
                trained from scratch cannot speak on either.
            language: of the text, or a mode of the text front end; empty: ``auto``.
            styles: more clips, whose sound is averaged with that of the first.
            any_length: take a clip of another length too.

        Raises:
            DataError: a clip cannot be read, is silent or has another length.
            AssetError: an encoder is not there; says how to get it.
        """
        words, phones = "", None
        if text.strip() and self._encoders.prompt:
            words = with_end_mark(text, language)
            phones = to_phones(words, language or "auto", self._lexicon)
        elif text.strip():
            log.warning(
                "this voice was trained from scratch, on single utterances: it takes on the sound of the clip, but "
                "does not speak on from its words"
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
        return digest([CACHE_REVISIONS["clip"], sounds, networks, spoken, any_length], length=32)

    def _make(self, clips: Sequence[Path], words: str, phones: Phones | None, any_length: bool) -> Reference:
        sounds = [read_clip(path) for path in clips]
        seconds = len(sounds[0]) / RATE
        if not any_length and not CLIP_SECONDS[0] <= seconds <= CLIP_SECONDS[1]:
            raise DataError(
                f"{clips[0]}: {seconds:.1f} s, expected {CLIP_SECONDS[0]:g} to {CLIP_SECONDS[1]:g} s of speech",
                "cut the clip, or add --any-length to take it as it is",
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
    """The path.

    Raises:
        DataError: no file is there.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file", "name a sound file")
    return path


def read_clip(path: Path) -> Waveform:
    """Sound float32 (n,) at 32 kHz, scaled down where it goes beyond full scale, as the public program does.

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
    """The text of a clip, with a full stop where it ends without a mark: otherwise the next words join its last."""
    text = text.strip()
    return text if text[-1] in CLAUSE_MARKS else text + ("." if language == "en" else "。")
