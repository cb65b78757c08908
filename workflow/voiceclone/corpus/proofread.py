"""The proof-reading page: every utterance with its sound and text, the most suspicious first, and its corrections.

One file without anything from elsewhere but the utterances beside it; it works from a folder and on a phone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from voiceclone.corpus.filters import Candidate
from voiceclone.corpus.inventory import Rejection
from voiceclone.files import write_text

LOW, VERY_LOW = 0.6, 0.3  # word probabilities below which a word is marked


def write_proofread(
    target: Path,
    speaker: str,
    kept: Sequence[Candidate],
    rejected: Sequence[tuple[Candidate, Rejection]],
    records: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write the page into results/SPEAKER/corpus.

    Args:
        target: the page; audio paths are relative to the folder above it.
        speaker: name of the voice.
        kept: utterances of the corpus.
        rejected: utterances left out, with the reason.
        records: transcripts per utterance, for the words and their probabilities.
    """
    items: list[tuple[Candidate, Rejection | None]] = [*((item, None) for item in kept), *rejected]
    items.sort(key=lambda pair: first_to_hear(pair[0]))
    rows = "\n".join(_row(item, rejection, records[item.utterance]) for item, rejection in items)
    intro = (
        f"{len(kept)} utterances are in the corpus, {len(rejected)} are left out; the most suspicious come first, "
        "doubtful words are marked. Correct the text, or choose keep or drop, then download the corrections and run "
        f"'voiceclone corrections merge {speaker} FILE'. "
        f"'voiceclone review {speaker}' shows this page too and saves at once."
    )
    page = (files("voiceclone.corpus") / "proofread.html").read_text(encoding="utf-8")
    for mark, value in (
        ("@TITLE@", escape(f"{speaker}: proof-reading")), ("@INTRO@", escape(intro)), ("@SPEAKER@", escape(speaker)),
        ("@ROWS@", rows),
    ):  # fmt: skip
        page = page.replace(mark, value)
    write_text(target, page)


def first_to_hear(item: Candidate) -> tuple[float, float, str]:
    """Order of the queue: what people corrected comes last, the most suspicious first, then the least certain."""
    return (-item.suspicion if not item.corrected else 1.0, item.heard.confidence, item.utterance)


def _row(item: Candidate, rejection: Rejection | None, record: Mapping[str, Any]) -> str:
    words: Sequence[Mapping[str, Any]] = record["words"]
    text, language, utterance = escape(item.text), escape(item.language), escape(item.utterance)
    audio = escape(quote(f"../{item.path}"))
    why = f'<p class="reason">left out: {escape(rejection.detail)}</p>' if rejection else ""
    flags = f" · {escape(', '.join(item.flags))}" if item.flags else ""
    mark = " · corrected" if item.corrected else ""
    suspect = f'<p class="suspect">{escape(item.suspects)}</p>' if item.suspects and not item.corrected else ""
    times = escape(json.dumps([word["start"] for word in words]))
    return (
        f'<article id="{utterance}" class="{"rejected" if rejection else "kept"}" tabindex="0" '
        f'data-take="{escape(item.take)}" data-start="{item.start_ms}" data-end="{item.end_ms}" '
        f'data-heard="{escape(item.heard.text)}" data-times="{times}">'
        f'<div class="meta">{utterance} · {item.seconds:.1f} s · {language} · '
        f"certainty {item.heard.confidence:.0%}{flags}{mark}</div>"
        f'<canvas data-envelope="{escape(record.get("envelope", ""))}"></canvas>'
        f'<audio controls preload="none" src="{audio}"></audio>{why}{suspect}'
        f'<p class="words" lang="{language}">{_marked(words)}</p>'
        '<p class="diff"></p><p class="cut"></p>'
        f'<textarea name="text" lang="{language}" data-original="{text}" aria-label="text">{text}</textarea>'
        f'<div class="edit"><input name="language" value="{language}" data-original="{language}" maxlength="3" '
        'aria-label="language"><select name="verdict" data-original="" aria-label="keep or drop">'
        '<option value="">as judged</option><option value="keep">keep</option>'
        '<option value="drop">drop</option></select>'
        '<input class="note" name="note" data-original="" placeholder="note" aria-label="note"></div></article>'
    )


def _marked(words: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for word in words:
        probability, text = float(word["probability"]), escape(str(word["word"]))
        grade = "verylow" if probability < VERY_LOW else "low" if probability < LOW else ""
        parts.append(f'<span class="{grade}" title="{probability:.0%}">{text}</span>' if grade else text)
    return "".join(parts).strip()
