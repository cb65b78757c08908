"""What a teacher speaks for its student: sentences in its voice, heard again, beside its recordings in one corpus.

Distillation by sequences (Kim and Rush 2016): the student learns from what the teacher says, whatever that is, and so
from as many texts as one likes. Each sentence is made once per content. It is training data and never leaves the
results, so it carries no watermark, which the student would learn.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voiceclone.assets import Asset
from voiceclone.errors import ConfigError, DataError, Interrupted
from voiceclone.evaluation.comparison import TRAINED
from voiceclone.evaluation.evaluate import check_sound
from voiceclone.evaluation.measure import text_measures
from voiceclone.evaluation.target import Source, Spoken, target_lexicon
from voiceclone.files import (
    Row,
    atomic_path,
    contained_path,
    digest,
    link,
    read_tsv,
    sha256_file,
    table_columns,
    write_json,
    write_tsv,
)
from voiceclone.lineage.items import ItemCache
from voiceclone.listeners.recogniser import ScoringRecogniser
from voiceclone.progress import Progress, announce
from voiceclone.sound.io import write_flac
from voiceclone.stages.distill import SPOKEN, SpokenSettings
from voiceclone.teachers.speech import read_held_out, read_lines

log = logging.getLogger(__name__)
COLUMNS = table_columns("student_speech")
CORPUS = table_columns("gathered")
#: Files of a voice that its student has as they are, where they are there.
SAME = ("consent.json", "takes.tsv", "models/tokenizer.safetensors")


class TeacherVoice:
    """Speaks and hears sentences; models are loaded for the first one that is not there yet.

    Args:
        source: the teacher.
        asr: the recogniser.
        settings: attempts, seed, what is let through.
    """

    def __init__(self, source: Source, asr: Asset, settings: SpokenSettings) -> None:
        self._source, self._asr, self._settings = source, asr, settings
        self._open: tuple[Any, ScoringRecogniser] | None = None

    def inputs(self, text: str, language: str) -> tuple[str, ...]:
        """All that decides what is spoken and heard."""
        used = self._source.lexicon.used_in(text) if self._source.lexicon else {}
        made = [self._settings.attempts, self._settings.seed, used]
        return self._source.digest, self._asr.digest, text, language, digest(made)

    def speak(self, text: str, language: str, path: Path) -> dict[str, Any]:
        """Write a sentence as FLAC; its seconds, the faults that the detector finds, what the recogniser hears."""
        if self._open is None:
            self._open = self._source.synthesizer(), ScoringRecogniser(self._asr, self._source.threads)
        synthesizer, recogniser = self._open
        try:
            speech = synthesizer.say(text, language, seed=self._settings.seed, attempts=self._settings.attempts)
            check_sound(Spoken(speech.samples, speech.rate, {}))
        except Interrupted:
            raise
        except Exception as error:  # one sentence less
            log.warning("%s: not spoken (%s)", text, error)
            return {"faults": f"not spoken: {type(error).__name__}"}
        write_flac(path, speech.samples, speech.rate)
        heard = recogniser.transcribe(speech.samples, speech.rate, language)
        errors = text_measures(text, heard, language)
        faults = sorted({finding.kind for finding in speech.findings})
        return {
            "faults": ", ".join(faults), "seconds": round(speech.seconds, 3), "hypothesis": heard,
            "character_errors": errors["character_errors"], "characters": errors["characters"],
        }  # fmt: skip


def choose_texts(
    texts: Sequence[Path], held_out: Sequence[Path], languages: set[str], settings: SpokenSettings
) -> list[tuple[str, str]]:
    """Languages and sentences to speak, of lists ``NAME.LANGUAGE.txt``.

    Raises:
        ConfigError: a name has no language.
    """
    left_out, chosen = read_held_out(held_out), []
    for language in sorted({_language(path) for path in texts} & languages):
        lists = [path for path in texts if _language(path) == language]
        sentences = read_lines(lists, settings.max_characters, left_out)
        sentences.sort(key=lambda text: digest([settings.seed, text]))
        chosen += [(language, text) for text in sentences[: settings.utterances]]
    return chosen


def _language(path: Path) -> str:
    parts = path.name.split(".")
    if len(parts) < 3:
        raise ConfigError(f"student.speech.texts: {path}: its name says no language", "rename it to NAME.LANGUAGE.txt")
    return parts[-2]


def speak_for_student(
    teacher: Path,
    texts: Sequence[Path],
    held_out: Sequence[Path],
    lexicons: Sequence[Path],
    assets: Sequence[Asset],
    output: Path,
    settings: SpokenSettings,
    threads: int = 1,
    label: str = "teacher speaks",
) -> None:
    """Write the corpus of a student: ``corpus/corpus.tsv``, and every sentence spoken in ``spoken/manifest.tsv``.

    Args:
        teacher: ``results/NAME`` of a voice with models, features and corpus.
        texts: see :func:`choose_texts`.
        held_out: lists of sentences that are not spoken.
        lexicons: the user's pronunciations.
        assets: a recogniser; what reads Chinese.
        output: ``results/NAME-student``. Sound of recordings is linked, not copied, where the disk allows.
        settings: how many, what is let through.
        threads: of the recogniser.
        label: of the progress lines.

    Raises:
        ConfigError: no recogniser, or see :func:`choose_texts`.
        DataError: no sentence was let through, though some were to be spoken.
    """
    by_name = {asset.name: asset for asset in assets}
    asr = next((asset for asset in assets if asset.kind == "asr"), None)
    if asr is None:
        raise ConfigError("no recogniser among the models given", "pass its asset.json with --assets")
    features = teacher / "features"
    lexicon = target_lexicon(TRAINED, features, None, lexicons, by_name)
    bert = next((asset for asset in assets if asset.kind == "bert"), None)
    voice = TeacherVoice(Source(TRAINED, features, teacher / "models", None, bert, lexicon, threads), asr, settings)
    recordings = read_tsv(teacher / "corpus" / "corpus.tsv", ("utterance", "path", "sha256", "seconds", "split"))
    chosen = choose_texts(texts, held_out, {row["language"] for row in recordings}, settings)
    cache = ItemCache("distill_texts", None, output / "spoken")
    rows = _speak(voice, chosen, cache, settings, label)
    kept = [row for row in rows if not row["reason"]]
    if rows and not kept:
        raise DataError(
            f"{label}: none of {len(rows)} sentences was let through; the first: {rows[0]['reason']}",
            "see spoken/manifest.tsv; raise student.speech.max_error_rate, or take a better teacher",
        )
    for file in SAME:
        if (teacher / file).is_file():  # copies: a linked output of a stage would be as old as the teacher's
            with atomic_path(output / file) as temporary:
                shutil.copyfile(teacher / file, temporary)
    reasons = Counter(str(row["reason"]).partition(":")[0] for row in rows if row["reason"])
    counts = {"recordings": len(recordings), "spoken": len(kept), "left_out": dict(sorted(reasons.items()))}
    corpus = [_recorded(row, teacher, output) for row in recordings]
    corpus += [_taught(row, teacher.name, output, settings.weight) for row in kept]
    write_json(output / "corpus" / "summary.json", counts)
    write_tsv(output / "corpus" / "corpus.tsv", CORPUS, corpus)
    announce(f"{label}: {len(kept)} of {len(rows)} sentences, {cache.summary()}")


def _speak(
    voice: TeacherVoice, chosen: Sequence[tuple[str, str]], cache: ItemCache, settings: SpokenSettings, label: str
) -> list[dict[str, Any]]:
    """Rows of ``spoken/manifest.tsv``, which it writes; sentences in the cache are not spoken again."""
    cache.folder.mkdir(parents=True, exist_ok=True)
    progress, rows = Progress(label, len(chosen)), []
    for language, text in chosen:
        name = f"spoken-{digest([language, text], 12)}"
        inputs, sound = voice.inputs(text, language), cache.folder / f"{name}.flac"
        record = cache.find(name, inputs)
        if record is None:
            record = voice.speak(text, language, sound)
            if "seconds" in record:  # what failed is tried again in the next run
                cache.put(name, inputs, record, [sound])
        path = f"spoken/{sound.name}" if "seconds" in record else ""
        row = {"utterance": name, "path": path, "text": text, "language": language, **record}
        rows.append(row | {"reason": left_out(record, settings)})
        progress.update()
    cache.prune({str(row["utterance"]) for row in rows if row["path"]})
    write_tsv(cache.folder / "manifest.tsv", COLUMNS, rows)
    return rows


def left_out(record: dict[str, Any], settings: SpokenSettings) -> str:
    """Why a spoken sentence is not trained on; empty: it is."""
    if record["faults"]:
        return f"detector: {record['faults']}"
    errors, characters = record["character_errors"], record["characters"]
    return f"words: {errors} of {characters} characters" if errors > settings.max_error_rate * characters else ""


def _recorded(row: Row, teacher: Path, output: Path) -> dict[str, object]:
    """A recording's row in the student's corpus; its sound is put there."""
    link(contained_path(teacher, row["path"]), output / row["path"])
    usual = {"speaker": teacher.name, "source": "recordings", "bandwidth": "0", "weight": "1", "use": "gpt sovits"}
    return {column: row.get(column) or usual.get(column, "") for column in CORPUS}


def _taught(row: Mapping[str, Any], speaker: str, output: Path, weight: float) -> dict[str, object]:
    """A spoken sentence's row in the student's corpus."""
    return {
        **{column: row[column] for column in ("utterance", "path", "seconds", "language", "text")},
        "sha256": sha256_file(output / str(row["path"])), "split": "train", "speaker": speaker,
        "source": SPOKEN, "bandwidth": 0, "weight": weight, "use": "gpt sovits",
    }  # fmt: skip
