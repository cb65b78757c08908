"""Stage corpus: join slices, transcripts and corrections into the table that everything after it trains on."""

from __future__ import annotations

import logging
import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from voiceclone.corpus import coverage
from voiceclone.corpus.corrections import Correction, place_corrections, read_corrections
from voiceclone.corpus.filters import AGREEMENT, Candidate, Heard, Text, reject
from voiceclone.corpus.given import Given, by_take, group
from voiceclone.corpus.inventory import Rejection
from voiceclone.corpus.judge import COLUMNS as JUDGED_COLUMNS
from voiceclone.corpus.judge import ClipJudge, judge_all
from voiceclone.corpus.listfile import ListEntry, write_list
from voiceclone.corpus.normalise import normalise_text, unread_flags
from voiceclone.corpus.proofread import write_proofread
from voiceclone.corpus.split import HELDOUT, split_by_hash
from voiceclone.corpus.tiers import advice, check_clip, expected
from voiceclone.errors import DataError
from voiceclone.files import Row, read_jsonl, read_tsv, sha256_file, table_columns, write_json, write_tsv
from voiceclone.progress import Progress, announce
from voiceclone.sound.slice import Span, utterance_id
from voiceclone.stages.corpus import CorpusSettings
from voiceclone.text.inline import plain

log = logging.getLogger(__name__)

COLUMNS = table_columns("corpus")
REJECTED_COLUMNS = table_columns("rejected_utterances")
SLICE_COLUMNS = table_columns("slices")
FAILED_PAGE = "proofread-failed.html"
JUDGEMENTS = "judgements.tsv"

Rejected = list[tuple[Candidate, Rejection]]
Records = Mapping[str, Mapping[str, Any]]


def build_corpus(
    takes: Path,
    slices: Path,
    transcripts: Path,
    output_dir: Path,
    settings: CorpusSettings,
    *,
    speaker: str,
    corrections: Path | None = None,
    rejected_takes: Path | None = None,
    given: Path | None = None,
    judge: ClipJudge | None = None,
    texts: Path | None = None,
) -> None:
    """Build a speaker's corpus: corpus.tsv, SPEAKER.list, rejected.tsv, judgements.tsv, summary.json, proofread.html.

    Every row depends on its own utterance, but for being suspicious, which is told by the speaker's others: a corrected
    text changes one row, and perhaps one that lies at a limit.

    Args:
        takes: takes.tsv, for the flags of the recordings.
        slices: slices/manifest.tsv.
        transcripts: transcripts/manifest.tsv.
        output_dir: results/SPEAKER/corpus; paths in the tables are relative to its parent.
        settings: filters and split.
        speaker: name in the .list file.
        corrections: config/corrections/SPEAKER.tsv, if the speaker has one.
        rejected_takes: rejected.tsv of the intake, counted in the summary.
        given: given.tsv, texts beside the recordings, if there are any.
        judge: measures the utterances; None: they are not measured.
        texts: folder of reading lists; with them the run says which phones are missing.

    Raises:
        DataError: a correction is wrong or finds no place, an input is damaged, or too little is left.
    """
    rows = read_tsv(slices, SLICE_COLUMNS)
    records: Records = read_transcripts(transcripts)
    folder = Path(os.path.relpath(slices.parent, output_dir.parent))
    candidates = _candidates(takes, rows, folder, records, corrections, settings)
    (output_dir / JUDGEMENTS).unlink(missing_ok=True)
    if judge is not None:
        candidates, records = _judged(candidates, records, judge, output_dir, f"{speaker} · corpus")
    kept, rejected = _judge(candidates, settings)
    _check_sums(candidates, kept, rejected)
    log.info("corpus: %d kept, %d rejected", len(kept), len(rejected))
    _require_enough(candidates, kept, rejected, records, settings, output_dir, speaker)
    check_clip(settings.tier, [item.seconds for item in kept], speaker)

    split = split_by_hash((item.sha256 for item in kept), settings.heldout_share, min_heldout=settings.min_heldout)
    summary = summarise(kept, rejected, split, settings)
    if rejected_takes is not None:
        summary["rejected_takes"] = dict(Counter(row["reason"] for row in read_tsv(rejected_takes, ("reason",))))
    if hint := advice(settings.tier, summary["seconds"]["kept"]):
        summary["advice"] = hint
        log.warning("%s", hint)
        announce(f"{speaker} · corpus  {hint}")
    lost = [_lost_row(take, text) for take, text in _without_sound(given, takes, rows)]
    write_tsv(output_dir / "rejected.tsv", REJECTED_COLUMNS, [*(_rejected_row(*item) for item in rejected), *lost])
    write_list(output_dir / f"{speaker}.list", (ListEntry(c.path, speaker, c.language, plain(c.text)) for c in kept))
    write_proofread(output_dir / "proofread.html", speaker, kept, rejected, records)
    write_json(output_dir / "summary.json", summary)
    write_tsv(output_dir / "corpus.tsv", COLUMNS, (_corpus_row(item, split[item.sha256]) for item in kept))
    (output_dir / FAILED_PAGE).unlink(missing_ok=True)
    _announce(speaker, len(kept), len(rejected), summary)
    if texts is not None:
        spoken = coverage.measure(output_dir / "corpus.tsv", texts)
        for line in [*str(spoken).split("\n"), *expected(settings.tier, spoken.seconds)]:
            log.info("%s", line)
            announce(f"{speaker} · corpus  {line}")


def _candidates(
    takes: Path, rows: Sequence[Row], folder: Path, records: Records, corrections: Path | None, settings: CorpusSettings
) -> list[Candidate]:
    """All utterances, corrected; ``folder``: of the slices, from that of the results."""
    flags = {row["take"]: tuple(filter(None, row["flags"].split(","))) for row in read_tsv(takes, ("take", "flags"))}
    placed: Mapping[str, list[Correction]] = {}
    if corrections is not None:
        placed = place_corrections(corrections, read_corrections(corrections), (row["utterance"] for row in rows))
        log.info("corpus: %d corrections", sum(map(len, placed.values())))
    return [
        _candidate(row, folder, records, flags.get(row["take"], ()), placed.get(row["utterance"], ()), settings)
        for row in rows
    ]


def _announce(speaker: str, kept: int, rejected: int, summary: Mapping[str, Any]) -> None:
    seconds = summary["seconds"]
    announce(
        f"{speaker} · corpus  {kept} utterances, {seconds['kept']:.0f} s kept "
        f"({summary['utterances'][HELDOUT]} held out), {rejected} utterances, {seconds['rejected']:.0f} s left out"
    )


def _judged(
    candidates: Sequence[Candidate], records: Records, judge: ClipJudge, output_dir: Path, label: str
) -> tuple[list[Candidate], Records]:
    """Utterances with what is suspicious about them, and their records with words and outline; writes the table."""
    measured: dict[str, dict[str, Any]] = {}
    for item in Progress(f"{label} judge", len(candidates)).track(candidates):
        measured[item.utterance] = judge.measure(item, output_dir.parent / item.path, records[item.utterance])
    log.info("judged: %s", judge.cache.summary())
    judge.prune(candidates)
    rows = judge_all(candidates, measured)
    table = [{column: row.get(column) for column in JUDGED_COLUMNS} for row in rows.values()]
    write_tsv(output_dir / JUDGEMENTS, JUDGED_COLUMNS, table, sort_by=["utterance"])
    found = [
        replace(
            item,
            suspicion=(row := rows[item.utterance])["suspicion"],
            suspects=row["reasons"],
            flags=item.flags + (("suspicious",) if row["reasons"] and not item.corrected else ()),
        )
        for item in candidates
    ]
    outlined = {
        name: {**record, "words": measured[name]["words"], "envelope": measured[name]["envelope"]}
        for name, record in records.items() if name in measured
    }  # fmt: skip
    return found, {**records, **outlined}


def _without_sound(given: Path | None, takes: Path, rows: Sequence[Row]) -> Iterator[tuple[str, Given]]:
    """Given texts whose stretch holds no utterance, with their take."""
    for take, texts in by_take(given, takes).items():
        held = {text for text, _ in group([row for row in rows if row["take"] == take], texts)}
        yield from ((take, text) for text in texts if text.text and text not in held)


def _lost_row(take: str, text: Given) -> dict[str, object]:
    end_ms = text.end_ms or text.start_ms
    return {
        "utterance": utterance_id(take, Span(text.start_ms, end_ms)), "take": take,
        "seconds": (end_ms - text.start_ms) / 1000, "reason": "no_sound",
        "detail": f"{text.source}: no speech in this stretch of {text.file}, or it lies behind the end",
        "text": text.text,
    }  # fmt: skip


def read_transcripts(manifest: Path) -> dict[str, dict[str, Any]]:
    """Records of all utterances of a transcripts/manifest.tsv.

    Raises:
        DataError: a transcript is not the one that the manifest was written for.
    """
    records: dict[str, dict[str, Any]] = {}
    for row in read_tsv(manifest, ("take", "path", "sha256")):
        path = manifest.parent / row["path"]
        if not path.is_file() or sha256_file(path) != row["sha256"]:
            raise DataError(
                f"{path}: missing or changed since it was transcribed",
                f"write changes of texts as corrections; delete {manifest} and run again to restore the file",
            )
        records.update({record["utterance"]: record for record in read_jsonl(path)})
    return records


def _candidate(
    row: Row,
    folder: Path,
    records: Records,
    flags: tuple[str, ...],
    corrections: Sequence[Correction],
    settings: CorpusSettings,
) -> Candidate:
    utterance = row["utterance"]
    if utterance not in records:
        raise DataError(f"utterance {utterance} has no transcript", "run the transcribe stage again")
    heard = _heard(records[utterance])
    actions = {item.action: item for item in corrections}
    language = actions["language"].value if "language" in actions else heard.language
    given = Text(**records[utterance]["given"]) if "given" in records[utterance] else None
    text = actions["text"].value if "text" in actions else given.text if given else heard.text
    if given:
        flags += ("given", *(["disagrees"] if given.agreement is not None and given.agreement < AGREEMENT else []))
    candidate = Candidate(
        utterance=utterance,
        take=row["take"],
        path=(folder / row["path"]).as_posix(),
        sha256=row["sha256"],
        start_ms=int(row["start_ms"]),
        end_ms=int(row["end_ms"]),
        seconds=float(row["seconds"]),
        language=language,
        text=normalise_text(text, language, simplified_chinese=settings.simplified_chinese),
        heard=heard,
        flags=flags + unread_flags(text, language),
        corrected=bool(actions.keys() & {"text", "language", "keep"}),
        forced="keep" in actions,
        given=given,
    )
    if "drop" in actions:
        note = actions["drop"].note or actions["drop"].value or "no note"
        candidate = replace(candidate, dropped=note)
    return candidate


def _heard(record: Mapping[str, Any]) -> Heard:
    probabilities = [float(word["probability"]) for word in record["words"]]
    return Heard(
        text=record["text"],
        language=record["language"],
        confidence=round(statistics.fmean(probabilities), 4) if probabilities else float("given" in record),
        avg_logprob=float(record["avg_logprob"]),
        no_speech_prob=float(record["no_speech_prob"]),
        compression_ratio=float(record["compression_ratio"]),
        other_language=record.get("heard", record["language"]),
        other_probability=float(record.get("heard_probability", 0.0)),
    )


def _judge(candidates: Sequence[Candidate], settings: CorpusSettings) -> tuple[list[Candidate], Rejected]:
    kept: list[Candidate] = []
    rejected: Rejected = []
    for candidate in sorted(candidates, key=lambda item: item.utterance):
        found = reject(candidate, settings)
        if found is None:
            kept.append(candidate)
        else:
            rejected.append((candidate, found))
    return kept, rejected


def _check_sums(candidates: Sequence[Candidate], kept: Sequence[Candidate], rejected: Rejected) -> None:
    """Nothing may be lost: each sliced utterance is kept or rejected, once."""
    ids = Counter(item.utterance for item in [*kept, *(candidate for candidate, _ in rejected)])
    double = sorted(utterance for utterance, count in ids.items() if count > 1)
    if double or len(ids) != len(candidates):
        raise DataError(f"utterances stand in the slices table more than once: {double}", "run the slice stage again")


def _corpus_row(item: Candidate, split: str) -> dict[str, object]:
    own = {column: getattr(item, column) for column in COLUMNS[:9]}
    flags = [*item.flags, *(["kept"] if item.forced else [])]
    heard = item.heard
    return own | {
        "text_asr": heard.text, "confidence": heard.confidence, "split": split,
        "flags": ",".join(flags), "corrected": item.corrected,
    }  # fmt: skip


def _rejected_row(item: Candidate, rejection: Rejection) -> dict[str, object]:
    return {
        "utterance": item.utterance,
        "take": item.take,
        "seconds": item.seconds,
        "reason": rejection.reason,
        "detail": rejection.detail,
        "text": item.text or item.heard.text,
    }


def summarise(
    kept: Sequence[Candidate], rejected: Rejected, split: Mapping[str, str], settings: CorpusSettings
) -> dict[str, Any]:
    """Counts and seconds per state, reason, language and length, for the report."""
    reasons: dict[str, list[float]] = defaultdict(list)
    languages: dict[str, list[float]] = defaultdict(list)
    for candidate, rejection in rejected:
        reasons[rejection.reason].append(candidate.seconds)
    for item in kept:
        languages[item.language].append(item.seconds)
    lost = [candidate.seconds for candidate, _ in rejected]
    own = [item.seconds for item in kept]
    heldout = [item.seconds for item in kept if split[item.sha256] == HELDOUT]
    return {
        "utterances": {
            "sliced": len(own) + len(lost), "kept": len(own), "rejected": len(lost),
            "heldout": len(heldout), "train": len(own) - len(heldout),
        },
        "seconds": {
            "sliced": round(sum(own) + sum(lost), 3), "kept": round(sum(own), 3), "rejected": round(sum(lost), 3),
            "heldout": round(sum(heldout), 3), "train": round(sum(own) - sum(heldout), 3),
        },
        "reasons": {reason: _count(seconds) for reason, seconds in sorted(reasons.items())},
        "languages": {language: _count(seconds) for language, seconds in sorted(languages.items())},
        "lengths": {f"{second}-{second + 1}": count for second, count in sorted(Counter(int(s) for s in own).items())},
        "median_seconds": round(statistics.median(own), 3),
        "median_confidence": round(statistics.median(item.heard.confidence for item in kept), 4),
        "corrected": sum(item.corrected for item in kept),
        "flags": dict(sorted(Counter(flag for item in kept for flag in item.flags).items())),
        "heldout_share": settings.heldout_share,
    }  # fmt: skip


def _count(seconds: Sequence[float]) -> dict[str, float]:
    return {"utterances": len(seconds), "seconds": round(sum(seconds), 3)}


def _require_enough(
    candidates: Sequence[Candidate],
    kept: Sequence[Candidate],
    rejected: Rejected,
    records: Records,
    settings: CorpusSettings,
    output_dir: Path,
    speaker: str,
) -> None:
    """Stop with a table of what was lost where if too little is left to train on."""
    seconds = sum(item.seconds for item in kept)
    if len(kept) >= settings.min_utterances and seconds >= settings.min_seconds:
        return
    page = output_dir / FAILED_PAGE
    write_proofread(page, speaker, kept, rejected, records)
    raise DataError(
        f"speaker {speaker}: {len(kept)} utterances with {seconds:.1f} s are left, expected at least "
        f"{settings.min_utterances} with {settings.min_seconds:g} s\n{loss_table(candidates, kept, rejected)}",
        f"add recordings; or listen in {page} and correct or keep utterances; or lower corpus.min_seconds and "
        "corpus.min_utterances",
    )


def loss_table(candidates: Sequence[Candidate], kept: Sequence[Candidate], rejected: Rejected) -> str:
    """Readable table of utterances and seconds: sliced, lost for each reason, kept."""
    reasons: dict[str, list[float]] = defaultdict(list)
    for candidate, rejection in rejected:
        code = candidate.language if rejection.reason == "language" else ""
        reasons[f"{rejection.reason} {code}".strip()].append(candidate.seconds)
    lines = [("sliced from the takes", [item.seconds for item in candidates])]
    lines += [(f"- {reason}", values) for reason, values in sorted(reasons.items())]
    lines += [("= left", [item.seconds for item in kept])]
    body = [f"  {name:<24}{len(values):>12}{sum(values):>12.1f}" for name, values in lines]
    return "\n".join([f"  {'':<24}{'utterances':>12}{'seconds':>12}", *body])
