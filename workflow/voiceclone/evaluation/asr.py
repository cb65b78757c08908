"""Speech recognition for scoring: one fixed decoding, so that two runs hear the same words."""

from __future__ import annotations

import numpy as np

from voiceclone.assets import Asset
from voiceclone.audio.io import Waveform, resample
from voiceclone.errors import DataError

RATE = 16_000
MOST_TOKENS = 224  # of a 30 s window; keeps unintelligible sound from being read for ever


class Recogniser:
    """Whisper (Radford et al. 2022) through faster-whisper, without retries, filters or memory between windows.

    Args:
        asset: a CTranslate2 Whisper asset.
        threads: CPU threads.
        beam_size: width of the beam search.
    """

    def __init__(self, asset: Asset, threads: int = 1, beam_size: int = 5) -> None:
        from faster_whisper import WhisperModel

        self.name = asset.name
        self.beam_size = beam_size
        self._model = WhisperModel(
            str(asset.folder), device="cpu", compute_type="int8", cpu_threads=max(1, threads), local_files_only=True
        )

    def transcribe(self, samples: Waveform, rate: int, language: str) -> str:
        """Words of samples float32 (frames,) in ``language`` (ISO code).

        Raises:
            DataError: the model does not know the language.
        """
        if not self._model.model.is_multilingual and language != "en":
            raise DataError(
                f"recogniser {self.name}: knows English only, asked for {language!r}",
                "configure a multilingual recogniser, for example whisper-base",
            )
        signal = resample(np.asarray(samples, dtype=np.float32), rate, RATE)
        segments, _ = self._model.transcribe(
            signal,
            language=language,
            beam_size=self.beam_size,
            temperature=0.0,
            condition_on_previous_text=False,
            compression_ratio_threshold=None,
            log_prob_threshold=None,
            no_speech_threshold=None,
            without_timestamps=True,
            vad_filter=False,
            max_new_tokens=MOST_TOKENS,
        )
        return " ".join(segment.text.strip() for segment in segments).strip()
