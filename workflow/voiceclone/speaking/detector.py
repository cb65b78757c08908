"""Detects faults of a spoken sentence: repeats, omissions, words of the prompt, no end.

It compares the semantic tokens with the phones of the text, without listening. A run of equal tokens counts as one
unit, so that a repeat at another pace is still a repeat. A text that itself repeats, or has words of the prompt, is not
checked for repeats, or for words of the prompt.

The defaults of :class:`voiceclone.speaking.options.DetectorSettings` keep a distance from natural speech: 102
utterances of three speakers (LJ Speech, Kathleen, an AISHELL speaker) as whisper-base tokens of fitted codebooks of 128
to 512 codes. There one token lasted 13 steps at most; the best match of a sequence with itself, shifted, was 0.62; two
utterances of a speaker shared 14 units at most; an utterance had 0.72 to 1.39 times its speaker's median of tokens per
phone, which was 2.2 (English) to 4.7 (Mandarin, slow and with pauses at both ends).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from voiceclone.speaking.guidance import Guide
from voiceclone.speaking.options import DetectorSettings

Tokens = npt.NDArray[np.int64]
Kind = Literal["runaway", "omission", "loop", "stuck", "leak", "words", "skip", "repeat", "unclear"]
#: Tokens that a sentence may have beyond its rate: short ones vary more.
SLACK_TOKENS = 25
#: Phones that a text must share with itself, shifted, or with the prompt's text to be allowed to sound so.
SHARED_PHONES = 10
#: Mean length of a unit in natural speech.
TOKENS_PER_UNIT = 1.75
#: Minimum period of a repeat that is compared token by token: slow speech changes its tokens less often.
SHORTEST_TIMED = 8
#: Phones in a row that may have no token; tokens in a row for which the pointer may look back, and by how many phones.
SKIPPED_PHONES, BACKWARD_TOKENS, BACKWARD_PHONES = 4, 10, 4
WORST = 10.0
#: Recordings below which a voice keeps the limits of others.
FEWEST_RECORDINGS = 20
#: Minimum excess of a sentence without end, at whatever length it was cut.
ENDLESS = 2.0


@dataclass(frozen=True)
class Finding:
    """A suspected fault of a spoken sentence.

    Attributes:
        kind: ``runaway`` (no end, or far too long), ``omission`` (far too short), ``loop`` (says something again and
            again), ``stuck`` (holds one token), ``leak`` (says the prompt), ``words`` (a recogniser hears other words),
            ``skip`` (phones in a row have no token), ``repeat`` (the pointer looks back at phones that were spoken),
            ``unclear`` (tokens that its phones seldom have).
        excess: how far beyond its limit, from 1 (at the limit) to 10.
        detail: values for a person.
    """

    kind: Kind
    excess: float
    detail: str

    def __str__(self) -> str:
        return f"{self.kind} ({self.detail})"


def score(findings: list[Finding]) -> float:
    """0 without findings; larger is worse."""
    return sum(finding.excess for finding in findings)


def find_faults(
    codes: Tokens,
    phones: Tokens,
    ended: bool,
    settings: DetectorSettings,
    prompt: Tokens | None = None,
    prompt_phones: Tokens | None = None,
    rate: float | None = None,
) -> list[Finding]:
    """Faults of one spoken sentence.

    Args:
        codes: its semantic tokens, int64 (T,).
        phones: symbol ids of its text, int64 (X,).
        ended: the model ended the sentence.
        settings: limits.
        prompt: semantic tokens of the prompt, int64 (P,).
        prompt_phones: symbol ids of the prompt's text.
        rate: the voice's usual number of tokens per phone; None: unknown.
    """
    return [
        *_length(len(codes), len(phones), ended, settings, rate),
        *_stuck(codes, settings),
        *_loop(codes, phones, settings),
        *_leak(codes, phones, prompt, prompt_phones, settings),
    ]


def calibrated(
    recordings: Sequence[tuple[Tokens, Tokens, float]], prompt: Tokens, settings: DetectorSettings | None = None
) -> DetectorSettings:
    """Limits for one voice, as far from its own recordings as the defaults are from those they were made on.

    A limit starts at what 99 % of the recordings stay within, so that one with a wrong text moves none.

    Args:
        recordings: of each its semantic tokens, its phones, and the usual number of tokens per phone in its language.
        prompt: semantic tokens of the voice's reference, which is none of the recordings.
        settings: the limits of other voices; returned for fewer than 20 recordings.
    """
    settings = settings or DetectorSettings()
    if len(recordings) < FEWEST_RECORDINGS:
        return settings
    held = [_runs(codes)[1].max(initial=0) for codes, _, _ in recordings]
    pace = [len(codes) / len(phones) / rate for codes, phones, rate in recordings]
    alike = [
        found[0]
        for codes, phones, _ in recordings
        if (found := _most_alike(codes, phones, replace(settings, loop_share=0.001))) is not None
    ]
    units = prompt[_runs(prompt)[0]]
    shared = [longest_common(codes[_runs(codes)[0]], units) for codes, _, _ in recordings] if len(units) else []
    low, high = np.quantile(pace, [0.01, 0.99])

    def most(values: Sequence[float], default: float) -> float:
        return float(np.quantile(values, 0.99)) if values else default

    return replace(
        settings,
        stuck_tokens=max(2, round(2.3 * most(held, settings.stuck_tokens / 2.3))),
        loop_share=round((1 + most(alike, 2 * settings.loop_share - 1)) / 2, 4),
        leak_units=max(4, round(1.3 * most(shared, settings.leak_units / 1.3))),
        least_share=round(min(1.0, 0.7 * float(low)), 4),
        most_share=round(max(1.0, 1.44 * float(high)), 4),
    )


def find_detours(guide: Guide, codes: Tokens, settings: DetectorSettings) -> list[Finding]:
    """Phones that a guided attempt skipped, went back to, or spoke unclearly: int64 ``codes`` (T,) are its tokens."""
    spoken = guide.spans()[:, 1] > 0
    skipped = _longest(~spoken)
    backward = _longest(np.asarray(guide.seen) < np.asarray(guide.path) - BACKWARD_PHONES)
    findings = []
    if skipped > SKIPPED_PHONES:
        findings.append(Finding("skip", _excess(skipped, SKIPPED_PHONES), f"{skipped} phones without a token"))
    if backward > BACKWARD_TOKENS:
        findings.append(Finding("repeat", _excess(backward, BACKWARD_TOKENS), f"looks back for {backward} tokens"))
    if len(codes) and (surprise := guide.surprise(codes)) > settings.unclear_nats:
        detail = f"tokens as unlikely for their phones as {surprise:.2f} nats"
        findings.append(Finding("unclear", _excess(surprise, settings.unclear_nats), detail))
    return findings


def _longest(flags: npt.NDArray[np.bool_]) -> int:
    """Length of the longest run of true values."""
    starts, lengths = _runs(flags.astype(np.int64))
    return int(lengths[flags[starts]].max(initial=0)) if len(flags) else 0


def _length(tokens: int, phones: int, ended: bool, settings: DetectorSettings, rate: float | None) -> list[Finding]:
    min_rate = settings.least_share * rate if rate else settings.least_rate
    max_rate = settings.most_share * rate if rate else settings.most_rate
    counts = f"{tokens} tokens for {phones} phones"
    longest = max_rate * phones + SLACK_TOKENS
    if not ended:
        return [Finding("runaway", max(ENDLESS, _excess(tokens, longest)), f"no end after {counts}")]
    if tokens > longest:
        return [Finding("runaway", _excess(tokens, longest), f"{counts}, at most {longest:.0f} expected")]
    if tokens < min_rate * phones:
        limit = min_rate * phones
        return [Finding("omission", _excess(limit, tokens), f"{counts}, at least {limit:.0f} expected")]
    return []


def _stuck(codes: Tokens, settings: DetectorSettings) -> list[Finding]:
    starts, lengths = _runs(codes)
    longest = int(lengths.max(initial=0))
    if longest <= settings.stuck_tokens:
        return []
    token = codes[starts[lengths.argmax()]]
    return [Finding("stuck", _excess(longest, settings.stuck_tokens), f"token {token} for {longest / 25:.1f} s")]


def _loop(codes: Tokens, phones: Tokens, settings: DetectorSettings) -> list[Finding]:
    found = _most_alike(codes, phones, settings)
    if found is None:
        return []
    share, period, name = found
    return [Finding("loop", _excess(share, settings.loop_share), f"{share:.0%} equal to {period} {name} before")]


def _most_alike(codes: Tokens, phones: Tokens, settings: DetectorSettings) -> tuple[float, int, str] | None:
    """The stretch that is most like the one before it: unit by unit (at any pace), or token by token (some differ).

    Returns:
        Share of equal ones, the period, and of what; None below the least share, or where the text repeats itself.
    """
    if shifted_match(phones, SHARED_PHONES, 1.0, (2, len(phones))) is not None:
        return None
    units = codes[_runs(codes)[0]]
    min_units, share, longest = settings.loop_units, settings.loop_share, settings.longest_loop
    paced = shifted_match(units, min_units, share, (2, longest))
    timed = shifted_match(
        codes, round(min_units * TOKENS_PER_UNIT), share, (SHORTEST_TIMED, round(longest * TOKENS_PER_UNIT))
    )
    found = max(filter(None, (paced, timed)), default=None)
    return None if found is None else (*found, "units" if found == paced else "tokens")


def shifted_match(units: Tokens, min_length: int, share: float, periods: tuple[int, int]) -> tuple[float, int] | None:
    """Largest share of equal units between a stretch and the one ``period`` units before, and that period.

    Args:
        units: int64 (U,).
        min_length: minimum length of a stretch; a longer period makes it as long as the period.
        share: minimum share; below it nothing is found.
        periods: shortest and longest period.
    """
    best: tuple[float, int] | None = None
    for period in range(periods[0], min(periods[1], len(units) - min_length) + 1):
        width = max(period, min_length)
        equal = units[period:] == units[:-period]
        if len(equal) < width:
            break
        total = np.concatenate([[0], np.cumsum(equal)])
        found = float((total[width:] - total[:-width]).max()) / width
        if found >= share and (best is None or found > best[0]):
            best = found, period
    return best


def _leak(
    codes: Tokens, phones: Tokens, prompt: Tokens | None, prompt_phones: Tokens | None, settings: DetectorSettings
) -> list[Finding]:
    if prompt is None or not len(prompt):
        return []
    if prompt_phones is not None and longest_common(phones, prompt_phones) >= SHARED_PHONES:
        return []
    shared = longest_common(codes[_runs(codes)[0]], prompt[_runs(prompt)[0]])
    if shared < settings.leak_units:
        return []
    return [Finding("leak", _excess(shared, settings.leak_units), f"{shared} units as in the prompt")]


def longest_common(first: Tokens, second: Tokens) -> int:
    """Length of the longest stretch that occurs in both."""
    longest = 0
    before = np.zeros(len(second) + 1, np.int64)
    for value in first:
        here = np.zeros_like(before)
        here[1:] = np.where(second == value, before[:-1] + 1, 0)
        longest = max(longest, int(here.max()))
        before = here
    return longest


def _runs(codes: Tokens) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """First index and length of each run of equal tokens."""
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]])) if len(codes) else np.zeros(0, np.intp)
    return starts, np.diff(np.append(starts, len(codes)))


def _excess(value: float, limit: float) -> float:
    return round(min(WORST, max(1.0, value / max(limit, 1e-9))), 4)
