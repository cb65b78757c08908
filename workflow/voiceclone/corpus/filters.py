"""Quality filters: each says why an utterance is not fit for training, in a code and in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from voiceclone.corpus.inventory import Rejection
from voiceclone.languages import BY_CHARACTER, SUPPORTED, UNSPACED
from voiceclone.stages.corpus import CorpusSettings


@dataclass(frozen=True)
class Heard:
    """The recogniser's output for an utterance."""

    text: str
    language: str
    confidence: float
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    other_language: str
    other_probability: float


@dataclass(frozen=True)
class Text:
    """The text that a file beside the recordings gives an utterance.

    Attributes:
        text: what it says.
        source: file and line.
        agreement: share of it that the recogniser heard, 0 to 1; None: nobody listened.
        cut: it is a part of a longer text, found by what was heard.
    """

    text: str
    source: str
    agreement: float | None
    cut: bool


@dataclass(frozen=True)
class Candidate:
    """An utterance on its way into the corpus."""

    utterance: str
    take: str
    path: str
    sha256: str
    start_ms: int
    end_ms: int
    seconds: float
    language: str
    text: str
    heard: Heard
    flags: tuple[str, ...] = ()
    corrected: bool = False  # a person gave its text or language, or said 'keep'
    forced: bool = False  # a person said 'keep'
    dropped: str = ""  # a person said 'drop': the note
    given: Text | None = None
    suspicion: float = 0.0  # how unlike the speaker's others it is; 1 is the limit
    suspects: str = ""  # what about it, the worst first


AGREEMENT = 0.6  # share of a given text that must be heard, where somebody listened
Filter = Callable[[Candidate, CorpusSettings], Rejection | None]


def reject(candidate: Candidate, settings: CorpusSettings) -> Rejection | None:
    """The first reason against an utterance, or None.

    ``drop`` always wins. An utterance that a person corrected is not judged by what the recogniser thought of it;
    one that a person said to keep must only have a text in a supported language.
    """
    if candidate.dropped:
        return Rejection("dropped", f"dropped by a correction: {candidate.dropped}")
    filters: list[Filter] = [_empty, _unsupported]
    if not candidate.forced:
        filters += [_length]
        if candidate.given and not candidate.corrected:
            filters += [_alignment, _rate, _suspicious]
        elif not candidate.corrected:
            filters += [_no_speech, _looping, _other_language, _confidence, _rate, _suspicious]
    return next((found for check in filters if (found := check(candidate, settings))), None)


def _empty(candidate: Candidate, settings: CorpusSettings) -> Rejection | None:
    if candidate.text:
        return None
    return Rejection("empty", "no words were recognised; a 'text' correction can give them")


def _unsupported(candidate: Candidate, settings: CorpusSettings) -> Rejection | None:
    if candidate.language in SUPPORTED:
        return None
    known = ", ".join(sorted(SUPPORTED))
    return Rejection("language", f"language {candidate.language!r} has no phones yet; supported: {known}")


def _length(candidate: Candidate, settings: CorpusSettings) -> Rejection | None:
    low, high = settings.min_utterance_seconds, settings.max_utterance_seconds
    if low <= candidate.seconds <= high:
        return None
    return Rejection("length", f"{candidate.seconds:.2f} s long, expected {low:g} to {high:g} s")


def _no_speech(candidate: Candidate, settings: CorpusSettings) -> Rejection | None:
    heard = candidate.heard
    if heard.no_speech_prob <= settings.max_no_speech or heard.avg_logprob > -0.5:
        return None
    return Rejection(
        "no_speech", f"probability of no speech {heard.no_speech_prob:.2f}, limit {settings.max_no_speech:g}"
    )


def _looping(candidate: Candidate, settings: CorpusSettings) -> Rejection | None:
    phrase = repeated_phrase(candidate.text, candidate.language)
    if phrase:
        return Rejection("looping", f"the recogniser repeated {phrase!r}")
    if candidate.heard.compression_ratio > settings.max_compression_ratio:
        ratio, limit = candidate.heard.compression_ratio, settings.max_compression_ratio
        return Rejection("looping", f"the text repeats itself: compression ratio {ratio:.2f}, limit {limit:g}")
    return None


def _other_language(candidate: Candidate, settings: CorpusSettings) -> Rejection | None:
    heard = candidate.heard
    if heard.other_language == candidate.language or heard.other_probability < settings.max_other_language:
        return None
    detail = f"sounds like {heard.other_language} ({heard.other_probability:.2f}), recognised as {candidate.language}"
    return Rejection("other_language", detail)


def _confidence(candidate: Candidate, settings: CorpusSettings) -> Rejection | None:
    heard = candidate.heard
    if heard.confidence < settings.min_confidence:
        detail = f"mean word probability {heard.confidence:.2f}, expected at least {settings.min_confidence:g}"
    elif heard.avg_logprob < settings.min_log_probability:
        detail = f"mean log-probability {heard.avg_logprob:.2f}, expected at least {settings.min_log_probability:g}"
    else:
        return None
    return Rejection("low_confidence", detail)


def _alignment(candidate: Candidate, settings: CorpusSettings) -> Rejection | None:
    given = candidate.given
    if given is None or not given.cut or given.agreement is None or given.agreement >= AGREEMENT:
        return None
    return Rejection(
        "alignment",
        f"{given.source}: {given.agreement:.0%} of this part of the text is heard, expected {AGREEMENT:.0%}",
    )


def _rate(candidate: Candidate, settings: CorpusSettings) -> Rejection | None:
    if candidate.language in BY_CHARACTER:
        low, high, unit = settings.min_characters_per_second, settings.max_characters_per_second, "characters"
    else:
        low, high, unit = settings.min_letters_per_second, settings.max_letters_per_second, "letters"
    rate = sum(char.isalnum() for char in candidate.text) / max(candidate.seconds, 1e-3)
    if low <= rate <= high:
        return None
    detail = f"{rate:.1f} {unit} per second, expected {low:g} to {high:g}: words are missing or were made up"
    return Rejection("speaking_rate", detail)


def _suspicious(candidate: Candidate, settings: CorpusSettings) -> Rejection | None:
    if candidate.suspicion <= settings.max_suspicion:
        return None
    detail = f"unlike the speaker's other utterances ({candidate.suspicion:.1f}, limit {settings.max_suspicion:g})"
    return Rejection("suspicious", f"{detail}: {candidate.suspects}")


def repeated_phrase(text: str, language: str) -> str:
    """A phrase repeated many times in a row, as a looping recogniser writes it; else empty.

    A word must stand there six times, two to four words four times, longer phrases three times.
    """
    joined = language in UNSPACED
    units = [char for char in text if char.isalnum()] if joined else _words(text)
    for size in range(1, len(units) // 3 + 1):
        times = 6 if size == 1 else 4 if size <= 4 else 3
        run = 0  # units in a row that equal the unit one phrase before
        for index in range(size, len(units)):
            run = run + 1 if units[index] == units[index - size] else 0
            if run >= size * (times - 1):
                return ("" if joined else " ").join(units[index - size + 1 : index + 1])
    return ""


def _words(text: str) -> Sequence[str]:
    words = ("".join(char for char in word if char.isalnum()).lower() for word in text.split())
    return [word for word in words if word]
