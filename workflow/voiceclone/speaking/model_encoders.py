"""The encoders of a voice's models, in torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voiceclone.errors import ConfigError
from voiceclone.files import digest
from voiceclone.sound.io import Waveform

if TYPE_CHECKING:
    from voiceclone.assets import Asset
    from voiceclone.models.voice import VoiceModels

Floats = npt.NDArray[np.float32]
RATE = 16000
#: Content encoder by the number of its channels, and speaker encoder by the kind of its vectors.
CONTENT_ENCODERS = {512: "whisper-base", 768: "chinese-hubert-base"}
SPEAKER_ENCODERS = {"verification": "eres2netv2", "speaker": "campplus"}


def content_encoder(ssl_dim: int) -> str:
    """Name of the content encoder with a number of channels.

    Raises:
        ConfigError: none is known.
    """
    if ssl_dim not in CONTENT_ENCODERS:
        raise ConfigError(f"no content encoder of {ssl_dim} channels is known, only of {sorted(CONTENT_ENCODERS)}")
    return CONTENT_ENCODERS[ssl_dim]


def speaker_encoder(speaker_vector_size: int) -> str:
    """Name of the speaker encoder that a SoVITS with vectors of this size needs; empty: none."""
    from voiceclone.listeners.eres2netv2 import vector_kind

    return SPEAKER_ENCODERS.get(vector_kind(speaker_vector_size), "")


class ModelEncoders:
    """See :class:`voiceclone.speaking.encoders.Encoders`; each is loaded on first use.

    Args:
        models: the voice.
        find_asset: opens a fetched model by name.
        device: of the voice's SoVITS, used for the encoders too.
    """

    def __init__(self, models: VoiceModels, find_asset: Callable[[str], Asset], device: str = "cpu") -> None:
        self._models, self._find, self._device = models, find_asset, device
        self.prompt = models.prompt
        self._speaker = speaker_encoder(models.sovits.config.speaker_vector_size)
        self._loaded: dict[str, Any] = {}

    def tokens(self, sound: Waveform) -> npt.NDArray[np.int64]:
        """See :class:`voiceclone.speaking.encoders.Encoders`."""
        import torch

        encoder = self._encoder(content_encoder(self._models.sovits.config.ssl_dim))
        content = torch.from_numpy(encoder.encode(sound))[None].to(self._device)
        codes: npt.NDArray[np.int64] = self._models.sovits.extract_codes(content)[0, 0].cpu().numpy()
        return codes

    def style(self, magnitudes: Floats, sound: Waveform) -> Floats:
        """See :class:`voiceclone.speaking.encoders.Encoders`."""
        import torch

        vector = None
        if self._speaker:
            vector = torch.from_numpy(self._encoder(self._speaker).embed(sound, RATE))[None].to(self._device)
        with torch.inference_mode():
            spectrogram = torch.from_numpy(magnitudes)[None].to(self._device)
            return np.asarray(self._models.sovits.style(spectrogram, vector).float().cpu().numpy())

    def key(self, words: bool) -> str:
        """See :class:`voiceclone.speaking.encoders.Encoders`.

        Raises:
            AssetError: an encoder is missing; says how to fetch it.
        """
        names = [content_encoder(self._models.sovits.config.ssl_dim) if words else "", self._speaker]
        encoders = [self._find(name).digest for name in names if name]
        return digest(["torch", self._device, self._models.fingerprint, encoders])

    def _encoder(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = _load(self._find(name), self._device)
        return self._loaded[name]


def _load(asset: Asset, device: str) -> Any:
    from voiceclone.listeners.campplus import SpeakerEncoder
    from voiceclone.listeners.content import load_encoder
    from voiceclone.listeners.eres2netv2 import VerificationEncoder

    loaders: dict[str, Callable[[Asset, str], Any]] = {"campplus": SpeakerEncoder, "eres2netv2": VerificationEncoder}
    return loaders.get(asset.name, load_encoder)(asset, device)
