"""How a text is spoken: everything that a caller may choose, in one value."""

from __future__ import annotations

from dataclasses import dataclass, field

from voiceclone.errors import ConfigError
from voiceclone.speaking.detector import DetectorSettings
from voiceclone.speaking.sampling import SamplingSettings
from voiceclone.speaking.splitting import AUTO, check_method

SPEEDS = (0.25, 4.0)


@dataclass(frozen=True)
class Speaking:
    """How a text is spoken.

    Args:
        sampling: how tokens are drawn.
        speed: above 1 speaks faster.
        noise_scale: of the prior's normal noise; 0 takes its mean.
        pitch: semitones by which the voice is raised; of voices with a source-filter decoder alone.
        pitch_range: factor of how far F0 moves from its mean, as a logarithm; the same.
        pause_seconds: silence between pieces.
        split: how the text is cut into pieces, see :func:`voiceclone.speaking.splitting.pieces_of`.
        max_tokens_per_phone: length limit of a piece; a model that never ends is cut there.
        attempts: a piece that the detector suspects is spoken anew with another seed, up to so many times in all, and
            the best one is kept.
        detector: what is suspected.
        guidance: weight of guided decoding, see :mod:`voiceclone.speaking.guidance`; 0: off; None: the usual one for
            voices with a pointer.

    Raises:
        ConfigError: a value out of its range.
    """

    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    speed: float = 1.0
    noise_scale: float = 0.5
    pitch: float = 0.0
    pitch_range: float = 1.0
    pause_seconds: float = 0.3
    split: str = AUTO
    max_tokens_per_phone: float = 5.0
    attempts: int = 1
    detector: DetectorSettings = field(default_factory=DetectorSettings)
    guidance: float | None = None

    def __post_init__(self) -> None:
        check_method(self.split)
        ranges = (
            ("speed", self.speed, *SPEEDS),
            ("noise_scale", self.noise_scale, 0.0, 2.0),
            ("pitch", self.pitch, -24.0, 24.0),
            ("pitch_range", self.pitch_range, 0.0, 4.0),
            ("pause_seconds", self.pause_seconds, 0.0, 60.0),
            ("attempts", self.attempts, 1, 100),
            ("max_tokens_per_phone", self.max_tokens_per_phone, 0.0, 1000.0),
            ("guidance", self.guidance or 0.0, 0.0, 10.0),
            ("top_k", self.sampling.top_k, 0, 100_000),
            ("top_p", self.sampling.top_p, 0.01, 1.0),
            ("temperature", self.sampling.temperature, 0.0, 5.0),
            ("repetition_penalty", self.sampling.repetition_penalty, 1.0, 5.0),
        )
        for name, value, least, most in ranges:
            if not least <= value <= most:
                raise ConfigError(f"{name} {value:g}: out of range, expected {least:g} to {most:g}")

    @property
    def moves_pitch(self) -> bool:
        """Whether F0 is not to be the voice's own."""
        return self.pitch != 0.0 or self.pitch_range != 1.0
