"""Amount of speech that each preset is made for: one clip, a minute, or hours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from voiceclone.errors import DataError

ZERO_SHOT = "zero-shot"
#: Presets without training, which need a clip as reference.
CLIP = (ZERO_SHOT, "zero-shot-small")
#: Length in seconds of a clip that the public models take as prompt.
CLIP_SECONDS = (3.0, 10.0)
#: From here on the field trains on all of the speech instead of fine-tuning on a little: three hours.
FULL_SECONDS = 3 * 3600.0


@dataclass(frozen=True)
class Tier:
    """Seconds of speech from and to which a preset is the right one, and the ones below and above it."""

    min_seconds: float
    max_seconds: float
    below: str = ""
    above: str = ""


TIERS = {
    "zero-shot-small": Tier(0.0, 30.0, above="small"),
    "small": Tier(30.0, 1800.0, below="zero-shot-small", above="few-shot"),
    ZERO_SHOT: Tier(0.0, 30.0, above="few-shot"),
    "few-shot": Tier(30.0, FULL_SECONDS, below=ZERO_SHOT, above="full"),
    "full": Tier(FULL_SECONDS, float("inf"), below="few-shot"),
}
#: What may be expected of a preset, measured where it says so: docs/base_voice.md has more.
EXPECTED = {
    "zero-shot-small": "one understands it, and it is little like the person",
    "small": "of 77 to 117 s of five people: 12 to 13 % word errors (recordings 0 to 9), 0.72 to 0.82 of the person's "
    "own similarity, DistillMOS 3.1 to 3.7 (recordings 3.6 to 4.4)",
    ZERO_SHOT: "the public model's speech with a resemblance to the person; not measured here",
    "few-shot": "the public model's speech in the person's voice; not measured here",
    "full": "the same, closer where there is more to learn from; not measured here",
}
#: Presets that train small models from scratch, with any amount of speech.
SCRATCH = ("nano",)


def check_clip(tier: str, seconds: Sequence[float], speaker: str) -> None:
    """Make sure that a voice without training has a clip to speak after.

    Args:
        tier: name in :data:`TIERS`, or empty.
        seconds: length of each utterance that was kept.
        speaker: for the message.

    Raises:
        DataError: none of them is 3 to 10 s long.
    """
    low, high = CLIP_SECONDS
    if tier not in CLIP or any(low <= length <= high for length in seconds):
        return
    lengths = ", ".join(f"{length:.1f}" for length in seconds[:5])
    raise DataError(
        f"speaker {speaker}: {tier} needs a clip of {low:g} to {high:g} s of speech as its reference, but the "
        f"utterances found are {lengths} s long{' (and more)' if len(seconds) > 5 else ''}",
        "record one or two whole sentences without a long pause; a longer recording is cut at its pauses",
    )


def advice(tier: str, seconds: float) -> str:
    """Advice for a user whose amount of speech fits another preset better; empty if it fits.

    Args:
        tier: name in :data:`TIERS` or :data:`SCRATCH`, or empty for none.
        seconds: of speech in the corpus.
    """
    if not tier:
        return ""
    speech = f"{amount(seconds)} of speech"
    if tier in SCRATCH:
        fitting = next(name for name, other in TIERS.items() if seconds <= other.max_seconds)
        return f"preset {tier} without a base voice makes nothing intelligible of {speech}: {fitting} fits"
    own = TIERS[tier]
    if seconds < own.min_seconds:
        return f"{speech} is little for preset {tier}, made for {amount(own.min_seconds)} or more: {own.below} fits"
    if seconds > own.max_seconds:
        return f"{speech} is more than preset {tier} makes use of: {own.above} learns from all of it"
    return ""


def expected(tier: str, seconds: float) -> list[str]:
    """Lines for a user: what to expect of a preset, and which one more speech would be enough for.

    Args:
        tier: name in :data:`TIERS`; nothing is said of others.
        seconds: of speech in the corpus.
    """
    if tier not in TIERS:
        return []
    lines = [f"expect of {tier}: {EXPECTED[tier]}"]
    above = TIERS[tier].above
    if above and seconds < TIERS[above].min_seconds:
        more = amount(TIERS[above].min_seconds - seconds)
        lines.append(f"with {more} more, {above}: {EXPECTED[above]}")
    return lines


def amount(seconds: float) -> str:
    """An amount of speech in the unit that people would say."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.3g} hours"
