"""A voice that is no network: tokens come by chance, the waveform is a tone per token. For tests of what is around."""

from __future__ import annotations

from typing import Any

import numpy as np

from voiceclone.backends.bundle import Reference
from voiceclone.speaking.synthesizer import Synthesizer

CODES = 64
NOTHING = np.zeros(0, np.int64)


class ChanceBackend:
    """Every token is as likely as another, the end as likely as ``end`` of them; counts what it is asked for.

    The first token is a little likelier than the end, which would otherwise end every utterance at once.
    """

    pitched = False

    def __init__(self, end: float = 2.0) -> None:
        self._logits = np.append(np.zeros(CODES), np.log(end)).astype(np.float32)
        self._logits[0] = self._logits[-1] + 0.1
        self.starts = self.decodes = 0

    def start(self, phones: Any, bert: Any, prompt: Any) -> tuple[Any, Any]:
        self.starts += 1
        return self._logits, None

    def step(self, token: int, position: int, cache: Any) -> tuple[Any, Any]:
        return self._logits, None

    def decode(self, codes: Any, phones: Any, style: Any, noise: Any, source: Any = None) -> Any:
        self.decodes += 1
        frames = noise.shape[2]
        assert noise.shape == (1, 4, frames)
        tones = np.repeat(np.asarray(codes, np.float32) / CODES, 1280)[: frames * 640]
        return np.pad(tones, (0, frames * 640 - len(tones))) + 0.01 * noise[0, 0].repeat(640)


class ToyEncoders:
    """A clip's style is its mean loudness, its tokens count up; counts the sounds it hears."""

    def __init__(self) -> None:
        self.prompt, self.heard, self.name = True, 0, "a"

    def tokens(self, sound: Any) -> Any:
        return np.arange(len(sound) // 640)

    def style(self, magnitudes: Any, sound: Any) -> Any:
        self.heard += 1
        return magnitudes.mean(keepdims=True)[None].astype(np.float32)

    def key(self, words: bool) -> str:
        return f"{self.name} {words}"


def toy_voice(end: float = 2.0, fingerprint: str = "toy") -> Synthesizer:
    """An English synthesiser of :class:`ChanceBackend` without a prompt."""
    return Synthesizer(
        ChanceBackend(end), Reference(NOTHING, NOTHING, np.zeros((1, 1, 1), np.float32)),
        sample_rate=32000, prior_channels=4, end_token=CODES, language="en", fingerprint=fingerprint,
    )  # fmt: skip
