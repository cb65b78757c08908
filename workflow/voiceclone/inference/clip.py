"""A sound file as reference clip: read, encoded by the networks that the voice was trained with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voiceclone.audio.io import Waveform, read_mono, resample
from voiceclone.errors import ConfigError, DataError
from voiceclone.inference.bundle import Reference
from voiceclone.inference.reference import PROMPT_SECONDS
from voiceclone.inference.splitting import CLAUSE_MARKS
from voiceclone.text.frontend import Phones, to_phones
from voiceclone.text.lexicon import Lexicon

if TYPE_CHECKING:
    from voiceclone.assets import Asset
    from voiceclone.models.voice import VoiceModels

log = logging.getLogger(__name__)

RATE, ENCODER_RATE = 32000, 16000
#: Silence after the prompt's sound, at the encoder's rate; the public program appends as much.
SILENCE_AFTER = 9600
#: Shortest clip whose sound can be taken on.
STYLE_SECONDS = 0.5
SILENT = 1e-4
#: Content encoder by the number of its values, and speaker encoder by the kind of its vectors.
CONTENT_ENCODERS = {512: "whisper-base", 768: "chinese-hubert-base"}
SPEAKER_ENCODERS = {"verification": "eres2netv2", "speaker": "campplus"}


class ClipReader:
    """Makes references of sound files for one voice; encoders are loaded when a clip needs them.

    Args:
        models: the voice.
        find_asset: opens a fetched model by name.
        device: where the voice's SoVITS is; the encoders go there too.
        lexicon: the user's pronunciations.
        encode_text: gives the BERT features of phones; None: none.
    """

    def __init__(
        self,
        models: VoiceModels,
        find_asset: Callable[[str], Asset],
        device: str = "cpu",
        lexicon: Lexicon | None = None,
        encode_text: Callable[[Phones], Any] | None = None,
    ) -> None:
        self._models, self._find, self._device = models, find_asset, device
        self._lexicon, self._encode_text = lexicon, encode_text
        self._encoders: dict[str, Any] = {}

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
            AssetError: an encoder is not there; says how to fetch it.
        """
        sound = read_clip(clip)
        seconds = len(sound) / RATE
        if not any_length and not PROMPT_SECONDS[0] <= seconds <= PROMPT_SECONDS[1]:
            raise DataError(
                f"{clip}: {seconds:.1f} s, expected {PROMPT_SECONDS[0]:g} to {PROMPT_SECONDS[1]:g} s of speech",
                "cut the clip, or add --any-length to take it as it is",
            )
        sounds = [sound, *map(read_clip, styles)]
        style = np.stack([self._style(each) for each in sounds]).mean(axis=0)
        nothing = np.zeros(0, np.int64)
        if not text.strip():
            return Reference(nothing, nothing, style)
        if not self._models.prompt:
            log.warning(
                "this voice was trained from scratch, on single utterances: it takes on the sound of the clip, but "
                "does not speak on from its words"
            )
            return Reference(nothing, nothing, style)
        words = with_end_mark(text, language)
        phones = to_phones(words, language or "auto", self._lexicon)
        bert = None if self._encode_text is None else np.asarray(self._encode_text(phones), np.float32)
        return Reference(self._tokens(sound), phones.ids, style, bert, words)

    def _tokens(self, sound: Waveform) -> Any:
        """Semantic tokens int64 (P,), 25 a second, of a sound at 32 kHz and the silence after it."""
        import torch

        size = self._models.sovits.config.ssl_dim
        if size not in CONTENT_ENCODERS:
            raise ConfigError(f"no content encoder of {size} values is known, only of {sorted(CONTENT_ENCODERS)}")
        padded = np.pad(resample(sound, RATE, ENCODER_RATE), (0, SILENCE_AFTER))
        content = torch.from_numpy(self._encoder(CONTENT_ENCODERS[size]).encode(padded))[None].to(self._device)
        return self._models.sovits.extract_codes(content)[0, 0].cpu().numpy()

    def _style(self, sound: Waveform) -> npt.NDArray[np.float32]:
        """Style float32 (1, G, 1) of a sound at 32 kHz."""
        import torch

        from voiceclone.features.verification import vector_kind
        from voiceclone.models.mel import spectrogram

        sovits, vector = self._models.sovits, None
        kind = vector_kind(sovits.config.speaker_vector_size)
        if kind:
            embedded = self._encoder(SPEAKER_ENCODERS[kind]).embed(resample(sound, RATE, ENCODER_RATE), ENCODER_RATE)
            vector = torch.from_numpy(embedded)[None].to(self._device)
        with torch.inference_mode():
            magnitudes = spectrogram(torch.from_numpy(sound)[None]).to(self._device)
            return np.asarray(sovits.style(magnitudes, vector).float().cpu().numpy())

    def _encoder(self, name: str) -> Any:
        if name not in self._encoders:
            self._encoders[name] = _load(self._find(name), self._device)
        return self._encoders[name]


def _load(asset: Asset, device: str) -> Any:
    from voiceclone.features.campplus import SpeakerEncoder
    from voiceclone.features.content import load_encoder
    from voiceclone.features.verification import VerificationEncoder

    loaders: dict[str, Callable[[Asset, str], Any]] = {"campplus": SpeakerEncoder, "eres2netv2": VerificationEncoder}
    return loaders.get(asset.name, load_encoder)(asset, device)


def read_clip(path: Path) -> Waveform:
    """Sound float32 (n,) at 32 kHz, scaled down where it goes beyond full scale, as the public program does.

    Raises:
        DataError: unreadable, shorter than half a second, silent or not finite.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file", "name a sound file")
    sound, _ = read_mono(path, RATE)
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
