"""The report's vocabulary: names of metrics, targets and languages, and explanations of the values in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from voiceclone.languages import LANGUAGES

#: Outcomes of a second of a recording, in the order of the tables.
STATES = {
    "train": "Training",
    "heldout": "Held out",
    "slice": "Sliced, in no table",
    "silence": "Silence",
    "dropped": "Left out",
    "rejected": "Rejected when slicing",
}

#: Names of the trainings in a sentence, and why one leaves an utterance of the corpus out.
MODELS = {"gpt": "GPT", "sovits": "SoVITS"}
UNREAD = "too short or without phones for"

#: The trained models.
TRAININGS = {
    "gpt": "GPT: text to semantic tokens",
    "sovits": "SoVITS: semantic tokens to waveform",
    "tokenizer": "Tokenizer",
}

#: Logged quantities of the trainings, in the order of their charts.
LABELS = {
    "cross_entropy": "Cross-entropy per token",
    "top3_accuracy": "Top-3 accuracy",
    "logits": "Divergence from the teacher's next token",
    "hidden": "Difference of hidden states from the teacher's",
    "attention": "Divergence from the teacher's attention",
    "mel_l1": "Mel distance (L1)",
    "loss_mel": "Mel loss",
    "loss_kl": "KL loss",
    "loss_fm": "Feature matching loss",
    "loss_gen": "Generator loss",
    "loss_disc": "Discriminator loss",
}

TARGETS = {
    "recordings": "Recordings",
    "resynthesis": "Resynthesis",
    "torch-fp32": "Trained model",
    "torch-fp16": "Trained model, half precision",
    "zero-shot": "Base voice, not fine-tuned",
}

#: Languages that are recognised and left out.
OTHER_LANGUAGES = {
    "de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "pt": "Portuguese", "nl": "Dutch",
    "ru": "Russian",
}  # fmt: skip


def figure(value: float | None, style: str) -> str:
    """One number in the form of its metric; an en dash where there is none."""
    if value is None:
        return "–"
    forms = {"percent": "{:.1f} %", "score": "{:.2f}", "ms": "{:.0f} ms", "hz": "{:.0f} Hz", "plain": "{:.1f}"}
    return forms[style].format(100 * value if style == "percent" else value)


def bare(value: float | None, style: str, signed: bool = False) -> str:
    """One number of the table of quality and speed, its unit being in the heading; with a sign for a difference."""
    if value is None:
        return "–"
    shown = 100 * value if style == "bare_percent" else value
    digits = {"score": 2, "bare_percent": 1}.get(style, 0 if abs(shown) >= 10 else 1)
    shown = round(shown, digits) or 0.0  # no minus before a zero
    return f"{shown:{'+' if signed and shown else ''}.{digits}f}".replace("-", "−")


def range_of(interval: Mapping[str, float], style: str, signed: bool = False) -> str:
    """Bounds of an interval in little room: ``0.61…0.74``."""
    return f"{bare(interval['low'], style, signed)}…{bare(interval['high'], style, signed)}"


def span(interval: Mapping[str, float], style: str) -> str:
    """Bounds of an interval, the unit once."""
    low, high = figure(interval["low"], style), figure(interval["high"], style)
    return f"{low.split(' ')[0]} to {high}"


def number(value: Any, digits: int = 2) -> str:
    """A number or a table cell with fixed decimals; an en dash where there is none."""
    try:
        return f"{float(value):.{digits}f}".replace("-", "−")
    except (TypeError, ValueError):
        return "–"


def percent(value: Any, digits: int = 1) -> str:
    """A fraction as per cent."""
    return "–" if value in (None, "") else f"{100 * float(value):.{digits}f} %"


def megabytes(value: Any) -> str:
    """Bytes in MB of 10^6."""
    return "–" if value in (None, "") else f"{float(value) / 1e6:.1f} MB"


def whole(value: Any) -> str:
    """An integer with thin spaces between thousands."""
    return "–" if value in (None, "") else f"{int(float(value)):,}".replace(",", " ")


def target_name(target: str) -> str:
    """Name of a target in a heading."""
    return TARGETS.get(target, target)


def language_name(code: str) -> str:
    """English name of a language, or its code."""
    return LANGUAGES[code].name if code in LANGUAGES else OTHER_LANGUAGES.get(code, code)


def duration(seconds: Any) -> str:
    """Seconds for people: ``8.4 s``, ``1 min 52 s``, ``2 h 5 min``."""
    if seconds in (None, ""):
        return "–"
    value = float(seconds)
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def main_rate(summary: Mapping[str, Any]) -> tuple[str, Mapping[str, float]] | None:
    """Name and interval of the error rate that counts: words where the language has spaces, else characters."""
    for name, title in (("wer", "words"), ("cer", "characters")):
        if summary.get(name):
            return title, summary[name]
    return None


def spoken_by(summaries: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The target a user would speak with: the first export, else the trained model."""
    exports = [target for target in summaries if target not in TARGETS]
    return exports[0] if exports else ("torch-fp32" if "torch-fp32" in summaries else None)


#: Share of words (or characters) that a recogniser gets wrong, above which speech cannot be understood.
UNINTELLIGIBLE = 0.5


def is_intelligible(summaries: Mapping[str, Mapping[str, Any]]) -> bool:
    """False if the voice was measured, and most of its words cannot be understood."""
    target = spoken_by(summaries)
    found = main_rate(summaries[target]) if target else None
    return not found or bool(found[1]["value"] <= UNINTELLIGIBLE)


def plain_words(summaries: Mapping[str, Mapping[str, Any]], scratch: bool) -> list[str]:
    """A few sentences that say what the figures mean, over the held-out sentences that all targets share."""
    target = spoken_by(summaries)
    if target is None:
        return ["Nothing was evaluated that speaks text."]
    real = summaries.get("recordings", {}).get("by_kind", {}).get("heldout", {})
    voice = summaries[target]["by_kind"].get("heldout") or summaries[target]
    sentences = [
        *_about_words(real, voice, scratch),
        *_about_voice(real, voice),
        *_about_base(summaries),
        *_about_quality(real, voice),
        *_about_speed(voice),
        *_about_export(summaries, target),
    ]
    count = voice.get("sentences", 0)
    if count < 30:
        sentences.append(
            f"These figures come from {count} held-out sentence{'s' if count != 1 else ''}. That is few: where two "
            "intervals overlap, the difference between two columns is no evidence."
        )
    failures = summaries[target].get("failures", [])
    if failures:
        sentences.append(f"Sentences that could not be spoken, each counted as entirely wrong: {len(failures)}.")
    return sentences


def _about_words(real: Mapping[str, Any], voice: Mapping[str, Any], scratch: bool) -> list[str]:
    found = main_rate(voice)
    if not found:
        return []
    unit, rate = found
    text = f"A speech recogniser gets {100 * rate['value']:.0f} % of the {unit} of this voice wrong"
    floor = main_rate(real)
    if floor:
        text += f", and {100 * floor[1]['value']:.0f} % on the person's own recordings of the same sentences"
    if rate["value"] > UNINTELLIGIBLE:
        text += ": the words cannot be understood"
        text += ", as expected of a model of this size trained from nothing" if scratch else ""
    elif floor and rate["low"] <= floor[1]["high"]:
        text += ": no clear difference"
    return [text + "."]


def _about_voice(real: Mapping[str, Any], voice: Mapping[str, Any]) -> list[str]:
    here, there = (part.get("metrics", {}).get("similarity_campplus") for part in (voice, real))
    if not here:
        return []
    text = f"Its likeness to the speaker is {here['value']:.2f}"
    if there:
        text += f"; the speaker's own held-out recordings reach {there['value']:.2f}"
    return [text + " (1 is identical, strangers score about 0)."]


def _about_base(summaries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    base = summaries.get("zero-shot", {})
    part = base.get("by_kind", {}).get("heldout") or base
    rate, likeness = main_rate(part), part.get("metrics", {}).get("similarity_campplus")
    if not rate or not likeness:
        return []
    wrong = f"{100 * rate[1]['value']:.0f} % of the {rate[0]}"
    return [f"The base voice without fine-tuning gets {wrong} wrong, and its likeness is {likeness['value']:.2f}."]


def _about_quality(real: Mapping[str, Any], voice: Mapping[str, Any]) -> list[str]:
    here, there = (part.get("metrics", {}).get("distillmos") for part in (voice, real))
    if not here:
        return []
    text = f"Listeners would be expected to rate it {here['value']:.1f} of 5"
    return [text + (f", the recordings {there['value']:.1f}." if there else ".")]


def _about_speed(voice: Mapping[str, Any]) -> list[str]:
    rtf = voice.get("metrics", {}).get("rtf")
    if not rtf:
        return []
    pace = "faster than" if rtf["value"] < 1 else "slower than"
    return [f"On the machine of this run it computes {rtf['value']:.2f} s per second of speech, {pace} real time."]


def _about_export(summaries: Mapping[str, Mapping[str, Any]], target: str) -> list[str]:
    if target == "torch-fp32" or "torch-fp32" not in summaries:
        return []
    exported, trained = main_rate(summaries[target]), main_rate(summaries["torch-fp32"])
    if not exported or not trained:
        return []
    apart = exported[1]["low"] > trained[1]["high"] or exported[1]["high"] < trained[1]["low"]
    verdict = (
        "differ in their error rates: compare both columns"
        if apart
        else "show no clear difference in their error rates"
    )
    return [f"The bundle {target} and the trained model {verdict}."]
