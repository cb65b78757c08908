"""Gates of a base voice: metrics of a packed base on held-out lines and held-out people, beside those of recordings.

Three things are measured. *Resynthesis*: the SoVITS speaks an utterance's own tokens in the utterance's own style; it
is what the voice could do behind a perfect text-to-semantic model. *Reading*: with the true tokens given, how often the
GPT's pointer finds the phone that a token speaks, and how many phones are wrong when tokens are read as phones.
*Speech*: held-out lines and fixed sentences from text, in the voice of a teacher.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voiceclone.assets import Asset
from voiceclone.backends.bundle import Reference
from voiceclone.base.card import gates_text, percent
from voiceclone.corpus.split import HELDOUT, TRAIN, sentence_key
from voiceclone.errors import DataError
from voiceclone.evaluation.measure import centroid, cosine, text_measures
from voiceclone.evaluation.sentences import Item, read_sentences
from voiceclone.evaluation.statistics import Interval, bootstrap_ratio
from voiceclone.features.spectrogram import magnitudes, training_audio
from voiceclone.features.store import Store, open_store
from voiceclone.files import Row, contained_path, digest, read_tsv, sha256_file, write_json, write_text
from voiceclone.lineage.items import ItemCache
from voiceclone.marks.labels import write_generated
from voiceclone.models.voice import VoiceModels, load_voice
from voiceclone.progress import Progress, announce
from voiceclone.sound.io import Waveform
from voiceclone.speaking.options import SpeechOptions
from voiceclone.speaking.synthesizer import Synthesizer
from voiceclone.stages.base_gates import GatesSettings
from voiceclone.text.symbols import PUNCTUATION, SYMBOLS

log = logging.getLogger(__name__)

RATE = 32_000
PLAIN, GUIDED = "plain", "guided"
MANNER = ("temperature", "top_k", "repetition_penalty", "noise_scale", "seed")
COUNTED = 2000  # training utterances whose alignment gives the phone of each token
OTHERS = 8  # recordings that represent a person
CORPUS_COLUMNS = ("utterance", "path", "language", "text", "split", "speaker", "source")


@dataclass(frozen=True)
class Group:
    """Held-out utterances that are reported together: a person, or a teacher with all of its pseudo-speakers."""

    name: str
    held_out_person: bool
    teacher: bool
    rows: tuple[Row, ...]


class Listeners:
    """The networks that measure: a recogniser, CAM++ and DistillMOS, and the digest of all."""

    def __init__(self, recogniser: Any, speaker: Any, quality: Any, digest: str = "") -> None:
        self.recogniser, self.speaker, self.quality, self.digest = recogniser, speaker, quality, digest

    def words(self, samples: Waveform, text: str, language: str) -> dict[str, Any]:
        """Word and character errors of float32 (N,) at 32 kHz against its text, and the recognised text."""
        heard = self.recogniser.transcribe(samples, RATE, language)
        return {"hypothesis": heard, **text_measures(text, heard, language)}


def open_listeners(assets: Sequence[Asset], beam_size: int, threads: int = 1) -> Listeners:
    """The listeners, from the assets ``campplus``, ``distillmos`` and a recogniser."""
    from voiceclone.listeners.campplus import SpeakerEncoder
    from voiceclone.listeners.mos import DistillMos
    from voiceclone.listeners.recogniser import ScoringRecogniser

    by_name = {asset.name: asset for asset in assets}
    known = digest([beam_size, *(by_name[name].digest for name in sorted(by_name))])
    speaker, quality = by_name.pop("campplus"), by_name.pop("distillmos")
    (recogniser,) = by_name.values()
    return Listeners(
        ScoringRecogniser(recogniser, threads, beam_size), SpeakerEncoder(speaker), DistillMos(quality), known
    )


class BaseUnderTest:
    """A packed base with the features of its corpus.

    Args:
        packed: folder of the packed files.
        results: ``results/NAME`` of the gathered voice.
        settings: of the gates.
    """

    def __init__(self, packed: Path, results: Path, settings: GatesSettings) -> None:
        self.models: VoiceModels = load_voice(packed)
        self.results, self.settings = results, settings
        #: What changes the sound of an utterance; how many are measured does not.
        self.manner = {name: getattr(settings, name) for name in MANNER}
        self.digest = digest([sha256_file(path) for path in sorted(packed.glob("*.safetensors"))])
        self.rows = read_tsv(results / "corpus" / "corpus.tsv", CORPUS_COLUMNS)
        features = results / "features"
        names = ("semantic", "phones", "speaker", "align")
        self.stores: dict[str, Store] = {
            name: open_store(path) for name in names if (path := features / f"{name}.safetensors").is_file()
        }
        if missing := sorted({"semantic", "phones", "speaker"} - self.stores.keys()):
            raise DataError(f"{features}: no store of {', '.join(missing)}", "run the workflow's features stage")
        self.rows = [row for row in self.rows if row["utterance"] in self.stores["semantic"]]
        trained = {sentence_key(row["text"]) for row in self.rows if row["split"] == TRAIN}
        held_out = [row for row in self.rows if row["split"] == HELDOUT and row["text"]]
        #: Utterances to measure on: of sentences that are trained on in no voice.
        self.held_out = [row for row in held_out if sentence_key(row["text"]) not in trained]
        if left := len(held_out) - len(self.held_out):
            log.info("%d held-out utterances are left out: their sentences are trained on in other voices", left)
        self.teachers = teachers_of(results)

    def recording(self, row: Row) -> npt.NDArray[np.int16]:
        """An utterance's clip, int16 (N,) at 32 kHz."""
        return training_audio(contained_path(self.results, row["path"]))

    def style(self, row: Row) -> npt.NDArray[np.float32]:
        """Style (1, G, 1) of an utterance's clip."""
        import torch

        spectrum = torch.from_numpy(magnitudes(self.recording(row)).astype(np.float32))[None]
        vector = None
        if self.models.sovits.config.speaker_vector_size:
            vector = torch.from_numpy(np.array(self.stores["speaker"][row["utterance"]], np.float32))[None]
        with torch.inference_mode():
            return np.asarray(self.models.sovits.style(spectrum, vector).numpy(), np.float32)

    def resynthesis(self, row: Row) -> Waveform:
        """An utterance's own tokens, spoken in its own style: float32 (N,) at 32 kHz."""
        import torch

        name, sovits = row["utterance"], self.models.sovits
        codes, phones = (
            torch.from_numpy(np.array(self.stores[kind][name], np.int64)) for kind in ("semantic", "phones")
        )
        shape = (1, sovits.config.inter_channels, 2 * len(codes))
        noise = np.random.Generator(np.random.Philox([self.settings.seed, 0])).standard_normal(shape, np.float32)
        with torch.inference_mode():
            torch.manual_seed(self.settings.seed)  # of the decoder's own noise, where it has any
            spoken = sovits.decode(
                codes[None, None], phones[None], torch.from_numpy(self.style(row)),
                torch.from_numpy(noise * np.float32(self.settings.noise_scale)),
            )  # fmt: skip
        return np.asarray(spoken.flatten().numpy(), np.float32)

    def pointed(self, row: Row) -> list[int] | None:
        """Tokens whose phone the pointer finds within one, and tokens; None without pointer or alignment."""
        import torch

        name, gpt = row["utterance"], self.models.gpt
        if "align" not in self.stores or name not in self.stores["align"] or not gpt.config.pointer_layer:
            return None
        codes, phones, spoken = (
            torch.from_numpy(np.array(self.stores[kind][name], np.int64)) for kind in ("semantic", "phones", "align")
        )
        with torch.inference_mode():
            lengths = torch.tensor([len(phones)]), torch.tensor([len(codes)])
            _, scores = gpt.forward_aligned(phones[None], lengths[0], codes[None], lengths[1])
        return [int(((scores[0].argmax(-1) - spoken).abs() <= 1).sum()), len(codes)]

    def phone_of_token(self) -> npt.NDArray[np.int64] | None:
        """The phone that each code speaks most often in training utterances (codes,); None without alignment."""
        if "align" not in self.stores:
            return None
        counts = np.zeros((self.models.gpt.config.codes, len(SYMBOLS)), np.int64)
        rows = [row for row in self.rows if row["split"] == TRAIN and row["utterance"] in self.stores["align"]]
        for row in _by_hash(rows, COUNTED):
            codes, phones, spoken = (
                np.asarray(self.stores[kind][row["utterance"]]) for kind in ("semantic", "phones", "align")
            )
            np.add.at(counts, (codes.astype(np.int64), phones[spoken.astype(np.int64)].astype(np.int64)), 1)
        return np.asarray(counts.argmax(axis=1), np.int64)

    def decodings(self) -> list[str]:
        """Ways to decode text: plain, and guided by the pointer if there is one."""
        return [PLAIN, GUIDED] if self.models.gpt.config.pointer_layer else [PLAIN]

    def groups(self) -> list[Group]:
        """Teachers, trained people and held-out people with held-out lines, in this order."""
        trained = {row["speaker"] for row in self.rows if row["split"] == TRAIN}
        by_name: dict[str, list[Row]] = defaultdict(list)
        for row in self.held_out:
            by_name[row["source"] if row["source"] in self.teachers else row["speaker"]].append(row)

        def limit(name: str) -> int:
            return self.settings.teacher_utterances if name in self.teachers else self.settings.utterances

        groups = [
            Group(name, name not in self.teachers and name not in trained, name in self.teachers,
                  tuple(_by_hash(rows, limit(name))))
            for name, rows in by_name.items()
        ]  # fmt: skip
        groups.sort(key=lambda group: (-len(group.rows), group.name))
        people = [group for group in groups if not group.teacher and not group.held_out_person]
        teachers, held_out = ([g for g in groups if g.teacher], [g for g in groups if g.held_out_person])
        return [*teachers, *people[: self.settings.people], *held_out]

    def synthesizer(self) -> Synthesizer:
        """Speaks in the voice of the first teacher, or of whom most is trained on where there is none."""
        rows = [row for row in self.rows if row["split"] == TRAIN]
        if not rows:
            raise DataError(f"{self.results}: no training utterance whose voice could be taken")
        amount: dict[tuple[bool, str], float] = defaultdict(float)
        for row in rows:
            amount[row["source"] in self.teachers, row["speaker"]] += float(row.get("seconds") or 1)
        speaker = max(amount, key=lambda key: (key[0], amount[key], key[1]))[1]
        own = [row for row in rows if row["speaker"] == speaker]
        row = min(own, key=lambda row: (abs(float(row.get("seconds") or 0) - 6), row["utterance"]))
        nothing = np.zeros(0, np.int64)
        reference = Reference(nothing, nothing, self.style(row))
        log.info("speech from text in the voice of %s, clip %s", speaker, row["utterance"])
        return Synthesizer.from_loaded(self.models, reference, row["language"])


def run_gates(
    packed: Path,
    results: Path,
    sentences: Sequence[Path],
    listeners: Listeners,
    settings: GatesSettings,
    output: Path,
    label: str = "gates",
) -> dict[str, Any]:
    """Measure a packed base; write ``gates.json``, ``gates.md`` and what was spoken, ``samples/*.flac``.

    Args:
        packed: folder of the packed base.
        results: ``results/NAME``, whose corpus and features it is measured on.
        sentences: files of fixed sentences, ``LANGUAGE.txt``.
        listeners: the networks that measure.
        settings: of the gates.
        output: folder to write to.
        label: for progress.

    Returns:
        What ``gates.json`` has.

    Raises:
        DataError: features are missing, or nothing is held out.
    """
    base = BaseUnderTest(packed, results, settings)
    groups = base.groups()
    if not groups:
        raise DataError(f"{results}/corpus/corpus.tsv: nothing is held out with features to measure on")
    items = spoken_items(base, sentences)
    progress = Progress(label, sum(len(group.rows) for group in groups) + len(items))
    phone_of = base.phone_of_token()
    metrics = [
        {**_describe(group), **summarise_group([_measure(base, row, listeners, phone_of, output, progress)
                                                for row in group.rows])}
        for group in groups
    ]  # fmt: skip
    report: dict[str, Any] = {
        "groups": metrics,
        "speech": speech_from_text(base, items, listeners, output, progress) if items else [],
        "files": {path.name: sha256_file(path) for path in sorted(packed.glob("*.safetensors"))},
        "settings": settings.model_dump(mode="json"),
    }
    report["wanted"] = wanted(report, settings)
    report["passed"] = all(item["passed"] for item in report["wanted"])
    write_json(output / "gates.json", report)
    write_text(output / "gates.md", gates_text(report))
    verdicts = ", ".join(f"{item['measure']} {percent(item['value'])} % ({item['lines']})" for item in report["wanted"])
    announce(f"{label}  {'passed' if report['passed'] else 'NOT passed'}: {verdicts}")
    return report


def _measure(
    base: BaseUnderTest,
    row: Row,
    listeners: Listeners,
    phone_of: npt.NDArray[np.int64] | None,
    output: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Everything that is measured of one held-out utterance."""
    name, cache = row["utterance"], output / "cache"
    person = [other for other in base.rows if other["speaker"] == row["speaker"] and other is not row]
    others = _by_hash(person, OTHERS)
    vectors = [np.asarray(base.stores["speaker"][other["utterance"]]) for other in others]
    content = [row["sha256"], row["text"], listeners.digest, *(other["utterance"] for other in others)]

    def hear(sound: Waveform) -> dict[str, Any]:
        own = listeners.speaker.embed(sound, RATE)
        return {
            "heard": listeners.words(sound, row["text"], row["language"]),
            "mos": listeners.quality.score(sound, RATE),
            "similarity": cosine(own, centroid(vectors)) if vectors else None,
        }

    def speak() -> dict[str, Any]:
        spoken = base.resynthesis(row)
        write_generated(output / "samples" / f"{name}.flac", np.clip(spoken, -1, 1), RATE, base.models.number)
        return {**hear(spoken), "pointed": base.pointed(row)}

    def listen() -> dict[str, Any]:
        return hear(np.asarray(base.recording(row), np.float32) / np.float32(32768))

    recording = ItemCache("base_gates", None, cache).get(f"recording-{name}", content, listen)
    spoken = ItemCache("base_gates", base.manner, cache).get(name, (base.digest, *content), speak)
    measures = {"utterance": name, **spoken, "recording": recording}
    if phone_of is not None:
        codes, phones = (np.asarray(base.stores[kind][name], np.int64) for kind in ("semantic", "phones"))
        measures["phones"] = list(phone_edits(phone_of[codes], phones))
    progress.update(note=row["source"])
    return measures


def phone_edits(read: Iterable[int], wanted: Iterable[int]) -> tuple[int, int]:
    """Edits between phones read from tokens, repeats merged, and those of the text; and phones of the text.

    Pauses do not count, nor do stress and tone.
    """
    import jiwer

    heard, said = (_plain_phones(ids) for ids in (read, wanted))
    if not said:
        return len(heard), 0
    counts = jiwer.process_words(" ".join(said), " ".join(heard))
    return counts.substitutions + counts.deletions + counts.insertions, len(said)


def _plain_phones(ids: Iterable[int]) -> list[str]:
    phones: list[str] = []
    for number in ids:
        symbol = SYMBOLS[int(number)]
        plain = "" if symbol in PUNCTUATION or symbol.startswith(("SP", "_")) else re.sub(r"\d$", "", symbol)
        if not phones or phones[-1] != plain:
            phones.append(plain)
    return [phone for phone in phones if phone]


def summarise_group(measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Metrics of a group: error rates over all words, means of the rest; None if unknown."""

    def mean(items: Iterable[Mapping[str, Any]], key: str) -> float | None:
        known = [item[key] for item in items if item[key] is not None]
        return float(np.mean(known)) if known else None

    def share(key: str) -> Interval | None:
        known = [item[key] for item in measured if item.get(key) is not None]
        return bootstrap_ratio([part for part, _ in known], [whole for _, whole in known], 1000)

    metrics: dict[str, Any] = {"utterances": len(measured)}
    for items, suffix in ((measured, ""), ([item["recording"] for item in measured], "_recording")):
        rates = error_rates([item["heard"] for item in items])
        rates |= {key: mean(items, key) for key in ("mos", "similarity")}
        metrics |= {key + suffix: value for key, value in rates.items()}
    for name, key in (("pointer", "pointed"), ("phone_errors", "phones")):
        found = share(key)
        metrics[name] = found.value if found else None
        metrics[f"{name}_interval"] = [found.low, found.high] if found else None
    return {**metrics, "items": list(measured)}


def error_rates(heard: Sequence[Mapping[str, Any]], seed: int = 0) -> dict[str, Any]:
    """Word (or, for languages without them, character) error rate, its 95 % interval, and the character error rate."""
    edits, units = [item["word_errors"] for item in heard], [item["words"] for item in heard]
    words = bootstrap_ratio(edits, units, 1000, seed)
    characters = bootstrap_ratio([h["character_errors"] for h in heard], [h["characters"] for h in heard], 1000, seed)
    return {
        "wer": words.value if words else None,
        "wer_interval": [words.low, words.high] if words else None,
        "cer": characters.value if characters else None,
    }


def spoken_items(base: BaseUnderTest, sentences: Sequence[Path]) -> list[Item]:
    """Held-out lines of teachers (of all, where there is no teacher) and fixed sentences of their languages."""
    rows = [row for row in base.held_out if row["source"] in base.teachers] or base.held_out
    items = [Item(row["utterance"], "held-out lines", row["language"], row["text"])
             for row in _by_hash(rows, base.settings.lines)]  # fmt: skip
    languages = {row["language"] for row in base.rows if row["split"] == TRAIN}
    for path in sorted(sentences):
        if path.stem in languages:
            fixed = read_sentences(path)[: base.settings.fixed]
            items += [Item(name, "fixed sentences", path.stem, text) for name, text in fixed]
    return items


def speech_from_text(
    base: BaseUnderTest, items: Sequence[Item], listeners: Listeners, output: Path, progress: Progress
) -> list[dict[str, Any]]:
    """Error rates and quality of speech from text, by set and language."""
    synthesizer, settings = base.synthesizer(), base.settings
    options = SpeechOptions(
        top_k=settings.top_k,
        temperature=settings.temperature,
        repetition_penalty=settings.repetition_penalty,
        noise_scale=settings.noise_scale,
        attempts=1,
    )

    def speak(item: Item, decoding: str) -> dict[str, Any]:
        guidance = 0.0 if decoding == PLAIN else None
        try:
            speech = synthesizer.say(item.text, item.language, seed=settings.seed, options=options, guidance=guidance)
            sound, truncated = speech.samples, speech.truncated
        except DataError as error:
            log.warning("%s: not spoken: %s", item.id, error)
            sound, truncated = np.zeros(RATE, np.float32), 0
        sample = output / "samples" / f"text-{item.id}-{decoding}.flac"
        write_generated(sample, np.clip(sound, -1, 1), RATE, base.models.number)
        heard = listeners.words(sound, item.text, item.language)
        return {"line": item.id, "truncated": truncated, "mos": listeners.quality.score(sound, RATE), **heard}

    cache = ItemCache("base_gates", base.manner, output / "cache")
    by_set: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for item in items:
        for decoding in base.decodings():
            inputs = (base.digest, synthesizer.fingerprint, item.text, listeners.digest)
            line = cache.get(f"text-{item.id}-{decoding}", inputs, partial(speak, item, decoding))
            by_set[item.kind, item.language, decoding].append(line)
        progress.update(note="speaking")
    return [
        {
            "set": kind, "language": language, "decoding": decoding, "lines": len(lines), **error_rates(lines),
            "mos": float(np.mean([line["mos"] for line in lines])),
            "truncated": sum(line["truncated"] for line in lines), "items": lines,
        }
        for (kind, language, decoding), lines in by_set.items()
    ]  # fmt: skip


def wanted(report: Mapping[str, Any], settings: GatesSettings) -> list[dict[str, Any]]:
    """Required and measured values on the held-out sentences of each teacher, and if they pass."""
    teachers = [group for group in report["groups"] if group["teacher"]] or list(report["groups"])
    measures = (
        ("resynthesis WER", "wer", f"<= {settings.resynthesis_wer:.0%}", lambda x: x <= settings.resynthesis_wer),
        ("pointer within one phone", "pointer", f">= {settings.pointer:.0%}", lambda x: x >= settings.pointer),
    )
    return [
        {
            "measure": measure, "lines": group["name"], "utterances": group["utterances"], "wanted": limit,
            "value": group[key], "interval": group[f"{key}_interval"],
            "passed": group[key] is not None and enough(group[key]),
        }
        for measure, key, limit, enough in measures
        for group in teachers
    ]  # fmt: skip


def _describe(group: Group) -> dict[str, Any]:
    return {"name": group.name, "teacher": group.teacher, "held_out_person": group.held_out_person}


def _by_hash(rows: Sequence[Row], max_count: int) -> list[Row]:
    """The ``max_count`` rows whose ids have the smallest hashes."""
    return sorted(rows, key=lambda row: hashlib.sha256(row["utterance"].encode()).digest())[:max_count]


def teachers_of(results: Path) -> frozenset[str]:
    """Names of the sources of a gathered corpus that are teachers."""
    table = results / "corpus" / "licences.tsv"
    rows = read_tsv(table, ("source", "kind")) if table.is_file() else []
    return frozenset(row["source"] for row in rows if row["kind"] == "teacher")
