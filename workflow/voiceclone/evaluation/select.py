"""Choose the checkpoints that a voice speaks with, by what one hears: words, speaker, naturalness.

Losses do not order checkpoints as listeners do: the authors of GPT-SoVITS advise to listen to test sentences at
intervals rather than to read losses (GPT-SoVITS issues 982 and 1761). Here each pair of a GPT and a SoVITS checkpoint
speaks sentences that are in no other part of the evaluation, and successive halving (Jamieson and Talwalkar 2016)
leaves out the worse half after each round, on paired sentences, so that good pairs are heard most.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from voiceclone.assets import Asset
from voiceclone.errors import DataError
from voiceclone.evaluation.evaluate import TRAINING_RATE, Spoken, recording, speak_item
from voiceclone.evaluation.measure import MeterAssets, Meters, text_measures
from voiceclone.evaluation.sentences import Item, by_hash, read_set, without_trained
from voiceclone.evaluation.statistics import bootstrap_mean, bootstrap_ratio
from voiceclone.features.store import open_store
from voiceclone.files import Row, atomic_path, digest, read_json, read_jsonl, read_tsv, sha256_file, write_json
from voiceclone.lineage.items import ItemCache
from voiceclone.lineage.rights import load_rights
from voiceclone.progress import Progress, announce
from voiceclone.sound.io import read_mono
from voiceclone.speaking.synthesizer import Synthesizer
from voiceclone.stages.select import SelectSettings
from voiceclone.text.lexicon import Lexicon

log = logging.getLogger(__name__)

#: What the quality of one sentence is made of: characters that a recogniser gets right, likeness to the speaker beside
#: that of the speaker's own recordings, naturalness of 5. A point of 100 in the characters counts as much as two in
#: the likeness or a tenth of a MOS point: what cannot be understood is worth least.
WEIGHTS = {"cer": -1.0, "sim_rel": 0.5, "mos": 0.1}


@dataclass(frozen=True)
class Candidate:
    """A checkpoint of one network: ``best`` by its loss, ``last``, or ``step-N``; ``file`` in the folder of models."""

    name: str
    step: int
    file: str = ""


Pair = tuple[Candidate, Candidate]
Measures = Mapping[str, float]


def quality(measures: Measures) -> float:
    """Quality of one spoken sentence, higher is better, see :data:`WEIGHTS`.

    Args:
        measures: ``character_errors`` and ``characters``, ``sim_rel`` (similarity over the speaker's own), ``mos``. A
            sentence that was not spoken has errors alone.
    """
    rate = min(1.0, measures["character_errors"] / max(1.0, measures["characters"]))
    likeness = min(1.0, max(0.0, measures.get("sim_rel", 0.0)))
    return WEIGHTS["cer"] * rate + WEIGHTS["sim_rel"] * likeness + WEIGHTS["mos"] * measures.get("mos", 1.0)


def distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    """One candidate per step; of several names the first."""
    first: dict[int, Candidate] = {}
    for item in candidates:
        first.setdefault(item.step, item)
    return list(first.values())


@dataclass(frozen=True)
class Choice:
    """The pair that was chosen, and what every pair was heard to do.

    Attributes:
        pair: GPT and SoVITS.
        heard: pair -> measures per sentence, in the order of the sentences.
        rounds: pairs that were left at the start of each round, with the sentences heard by its end.
    """

    pair: Pair
    heard: Mapping[Pair, Sequence[Measures]]
    rounds: Sequence[tuple[int, int]]


def choose_by_ear(
    pairs: Sequence[Pair],
    kept: Sequence[Pair],
    sentences: int,
    first: int,
    listen: Callable[[Pair, int], Measures],
) -> Choice:
    """Successive halving over pairs of checkpoints.

    Args:
        pairs: all of them, in an order that settles ties.
        kept: pairs that no round leaves out: best by loss and last, so that the choice is never much worse than they.
        sentences: to hear in all by those that stay to the end.
        first: sentences of the first round; each round doubles them.
        listen: speaks sentence number i with a pair and measures it.
    """
    heard: dict[Pair, list[Measures]] = {pair: [] for pair in pairs}
    left, count, rounds = list(pairs), min(first, sentences), []
    while True:
        for pair in left:
            heard[pair] += [listen(pair, number) for number in range(len(heard[pair]), count)]
        rounds.append((len(left), count))
        ranked = sorted(left, key=lambda pair: -_mean(heard[pair]))  # stable: ties stay in the order of pairs
        if count >= sentences:
            return Choice(ranked[0], heard, rounds)
        stay = set(ranked[: max(1, math.ceil(len(ranked) / 2))]) | set(kept)
        left = [pair for pair in left if pair in stay]
        count = min(sentences, 2 * count)


def _mean(heard: Sequence[Measures]) -> float:
    return sum(map(quality, heard)) / len(heard)


def grid(choice: Choice) -> list[dict[str, Any]]:
    """Every pair for the report, best first: names, steps, sentences heard, quality and its parts with intervals."""
    rows = []
    for (gpt, sovits), heard in choice.heard.items():
        spoken = [item for item in heard if "mos" in item]
        interval = bootstrap_mean(map(quality, heard))
        errors = bootstrap_ratio([item["character_errors"] for item in heard], [item["characters"] for item in heard])
        parts = {name: bootstrap_mean(item[name] for item in spoken) for name in ("sim_rel", "mos")}
        rows.append(
            {
                "gpt": gpt.name,
                "gpt_step": gpt.step,
                "sovits": sovits.name,
                "sovits_step": sovits.step,
                "chosen": (gpt, sovits) == choice.pair,
                "sentences": len(heard),
                "quality": interval and interval.as_dict(),
                "cer": errors and errors.as_dict(),
                **{name: value and value.as_dict() for name, value in parts.items()},
            }
        )
    return sorted(rows, key=lambda row: (not row["chosen"], -row["sentences"], -row["quality"]["value"]))


OVERFIT, UNSTEADY = 0.05, 0.2


def read_losses(history: Sequence[Mapping[str, Any]], metric: str, loss: str) -> dict[str, Any]:
    """What the losses of a training say, as the field reads them.

    Args:
        history: rows of ``*.history.jsonl``.
        metric: held-out metric that chooses the best checkpoint.
        loss: training loss of the same rows.

    Returns:
        ``best`` and ``last`` held-out values with their steps; ``overfit``: the last one is 5 % above the best;
        ``unsteady``: training losses of the last quarter spread by more than a fifth of their mean, which the authors
        of GPT-SoVITS take as a sign of transcripts that do not fit their sound.
    """
    held_out = [(row["step"], row[metric]) for row in history if row.get("split") == "heldout" and metric in row]
    losses = [float(row[loss]) for row in history if row.get("split") == "train" and loss in row]
    found: dict[str, Any] = {"metric": metric, "overfit": False, "unsteady": False}
    if held_out:
        best = min(held_out, key=lambda item: item[1])
        last = held_out[-1]
        found |= {"best": {"step": best[0], "value": best[1]}, "last": {"step": last[0], "value": last[1]}}
        found["overfit"] = last[1] > (1 + OVERFIT) * best[1]
    tail = losses[-max(4, len(losses) // 4) :]
    if len(tail) >= 4:
        mean = sum(tail) / len(tail)
        spread = math.sqrt(sum((value - mean) ** 2 for value in tail) / len(tail))
        found["unsteady"] = spread > UNSTEADY * abs(mean)
    return found


#: Held-out metric and training loss of each network, by which its history is read.
LOSSES = {"gpt": ("cross_entropy", "cross_entropy"), "sovits": ("mel_l1", "loss_mel")}
KINDS = ("gpt", "sovits")
#: Files of a training that stand beside the chosen model, with their endings.
BESIDE = (".history.jsonl", ".suspects.tsv")


def candidates_of(report: Mapping[str, Any]) -> list[Candidate]:
    """The checkpoints that a training kept, one per step, the best first."""
    listed = report.get("candidates") or [{"name": report["selected"], "step": report["step"], "file": ""}]
    return distinct([Candidate(item["name"], item["step"], item["file"]) for item in listed])


def named(candidates: Sequence[Candidate], by: str) -> Candidate:
    """The checkpoint of the lowest loss, or the last; the one there is where a training has no other."""
    return max(candidates, key=lambda item: item.step) if by == "last" else candidates[0]


class Listening:
    """Speaks selection sentences with pairs of checkpoints, measures them, and keeps both by their content.

    Args:
        trained: folder of both trainings' outputs.
        features_dir: of the voice.
        training: utterances that stand for the speaker, with the digests of their sound.
        sentences: to speak.
        meters: what measures.
        folder: for sound, pairs and measures.
        bert: encoder of Chinese text.
        lexicon: the pronunciations that ``say`` has with this voice.
        seed: of the synthesis.
        progress: moved on with each sentence.
    """

    def __init__(
        self,
        trained: Path,
        features_dir: Path,
        training: Mapping[str, str],
        sentences: Sequence[Item],
        meters: Meters,
        folder: Path,
        bert: Asset | None,
        lexicon: Lexicon,
        seed: int,
        progress: Progress,
    ) -> None:
        self._trained, self._features, self._training, self._sentences = trained, features_dir, training, sentences
        self._meters, self._folder, self._bert, self._seed, self._progress = meters, folder, bert, seed, progress
        self._lexicon = lexicon
        self._speaker: dict[str, Any] | None = None
        self._open: tuple[Pair, Any] | None = None
        self._context = digest([meters.beam_size, meters.assets.digests(), sorted(training.items()), seed])

    def __call__(self, pair: Pair, number: int) -> Measures:
        """Measures of one sentence, see :func:`quality`."""
        item = self._sentences[number]
        name = f"{pair[0].name}-{pair[1].name}"
        cache = ItemCache("select", None, self._folder / name)
        cache.folder.mkdir(parents=True, exist_ok=True)
        files = [self._file(kind, candidate) for kind, candidate in zip(KINDS, pair, strict=True)]
        manifest = self._features / "manifest.tsv"
        used = digest([self._lexicon.used_in(item.text)])
        source = (self._context, *map(sha256_file, [*files, manifest]), item.text, item.language, used)
        sound = cache.folder / f"{item.id}.flac"
        found = cache.find(item.id, source)
        if found is None:
            spoken = speak_item(self._voice(pair, files), item, sound)
            found = self._measure(item, sound, spoken)
            if "failure" not in spoken:  # what failed may succeed the next time
                cache.put(item.id, source, found)
        self._progress.update(note=f"GPT {pair[0].name}, SoVITS {pair[1].name}")
        return found

    def _file(self, kind: str, candidate: Candidate) -> Path:
        path = self._trained / (candidate.file or f"{kind}.safetensors")
        if not path.is_file():
            raise DataError(f"{path}: checkpoint {candidate.name} is missing", f"delete {self._trained / kind}.json")
        return path

    def _voice(self, pair: Pair, files: Sequence[Path]) -> Any:
        """What speaks with a pair; the last one stays open."""
        if self._open is None or self._open[0] != pair:
            self._open = None  # memory of the last one goes first
            folder = self._folder / "pair"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for kind, file in zip(KINDS, files, strict=True):
                (folder / f"{kind}.safetensors").symlink_to(file.resolve())
                (folder / f"{kind}.json").symlink_to((self._trained / f"{kind}.json").resolve())
            voice = Synthesizer.from_models(folder, self._features, self._lexicon, self._bert)
            self._open = (pair, self._speaks(voice))
        return self._open[1]

    def _speaks(self, synthesizer: Any) -> Callable[[Item], Spoken]:
        def say(item: Item) -> Spoken:
            speech = synthesizer.say(item.text, item.language, seed=self._seed)
            return Spoken(speech.samples, speech.rate, speech.timings, number=speech.number)

        return say

    def _measure(self, item: Item, sound: Path, spoken: Mapping[str, Any]) -> dict[str, Any]:
        if "failure" in spoken:
            words = text_measures(item.text, "", item.language)
            return {name: words[name] for name in ("character_errors", "characters")}
        if self._speaker is None:
            audio = open_store(self._features / "audio.safetensors")
            self._speaker = self._meters.speaker([(recording(audio, name), TRAINING_RATE) for name in self._training])
        samples, rate = read_mono(sound)
        found = self._meters.measure(samples, rate, item.text, item.language, self._speaker)
        return {
            "hypothesis": found["hypothesis"],
            "character_errors": found["character_errors"],
            "characters": found["characters"],
            "sim_rel": found["similarity_relative"] or 0.0,  # unknown with a single recording
            "mos": found["distillmos"],
        }


def selection_sentences(files: Sequence[Path], spoken: set[str], count: int) -> list[Item]:
    """The first ``count`` sentences of each language that the voice has, of files ``LANGUAGE.txt``, interleaved."""
    lists = [
        read_set(path, "selection")[:count] for path in sorted(files, key=lambda path: path.stem) if path.stem in spoken
    ]
    longest = max(map(len, lists), default=0)
    return [items[number] for number in range(longest) for items in lists if number < len(items)]


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def write_choice(trained: Path, models: Path, chosen: Pair, by: str, rights: Mapping[str, Any]) -> None:
    """Put the chosen checkpoints into the folder of models, with what is known of their trainings and rights."""
    for kind, candidate in zip(KINDS, chosen, strict=True):
        for ending in BESIDE:
            _copy(trained / f"{kind}{ending}", models / f"{kind}{ending}")
        report = read_json(trained / f"{kind}.json")
        chosen_now = {"step": candidate.step, "selected": candidate.name, "by": by}
        write_json(models / f"{kind}.json", {**report, **chosen_now, **rights})
        _copy(trained / (candidate.file or f"{kind}.safetensors"), models / f"{kind}.safetensors")
    discriminator = trained / "discriminator.safetensors"
    if discriminator.is_file():
        _copy(discriminator, models / discriminator.name)


def select_checkpoints(
    trained: Path,
    features_dir: Path,
    corpus: Path,
    sentences: Sequence[Path],
    assets: MeterAssets | None,
    models: Path,
    output: Path,
    settings: SelectSettings,
    bert: Asset | None = None,
    lexicon: Lexicon | None = None,
    threads: int = 1,
    label: str = "select",
    consent: Path | None = None,
) -> None:
    """Choose the checkpoints of a voice; writes them into ``models`` and what was heard into ``output``.

    Args:
        trained: folder of both trainings' outputs.
        features_dir: of the voice.
        corpus: ``corpus.tsv``.
        sentences: files ``LANGUAGE.txt``, spoken for nothing but this choice.
        assets: what measures; None where nothing is heard.
        models: folder to write.
        output: ``selection.json``; sound and measures lie beside it.
        settings: how it is chosen.
        bert: encoder of Chinese text.
        lexicon: the pronunciations that ``say`` has with this voice.
        threads: CPU threads.
        label: for the progress lines.
        consent: ``consent.json``, whose digest and terms go with the models; None: there is none to ask for.
    """
    reports = {kind: read_json(trained / f"{kind}.json") for kind in KINDS}
    candidates = {kind: candidates_of(report) for kind, report in reports.items()}
    losses = {kind: read_losses(read_jsonl(trained / f"{kind}.history.jsonl"), *LOSSES[kind]) for kind in KINDS}
    found: dict[str, Any] = {
        "by": settings.by,
        "losses": losses,
        "candidates": {kind: [vars(item) for item in items] for kind, items in candidates.items()},
    }
    gpts, decoders = (candidates[kind] for kind in KINDS)
    best, last = ((named(gpts, by), named(decoders, by)) for by in ("best", "last"))
    pairs = list(product(gpts, decoders))
    chosen, items = last if settings.by == "last" else best, list[Item]()
    rows = read_tsv(corpus, ("utterance", "split", "language", "text", "sha256"))
    if settings.by == "ear" and len(pairs) > 1:
        known = {row["language"] for row in rows}
        items, left_out = without_trained(selection_sentences(sentences, known, settings.sentences), rows)
        for reason in left_out:
            log.warning("%s", reason)
    if items and assets is not None:
        training = _representatives(features_dir, rows, settings.centroid_utterances)
        progress = Progress(label, len(pairs) * len(items))
        meters, words = Meters(assets, settings.beam_size, max(1, threads)), lexicon or Lexicon()
        listen = Listening(
            trained, features_dir, training, items, meters, output.parent, bert, words, settings.seed, progress
        )
        choice = choose_by_ear(pairs, [best, last], len(items), settings.first, listen)
        chosen = choice.pair
        found |= {"grid": grid(choice), "rounds": choice.rounds, "sentences": len(items), "weights": WEIGHTS}
    found["chosen"] = {kind: vars(candidate) for kind, candidate in zip(KINDS, chosen, strict=True)}
    by = settings.by if items or settings.by != "ear" else "best"
    write_choice(trained, models, chosen, by, load_rights(consent).as_notes() if consent else {})
    write_json(output, found)
    announce(f"{label}: GPT {chosen[0].name} (step {chosen[0].step}), SoVITS {chosen[1].name} (step {chosen[1].step})")


def _representatives(features_dir: Path, rows: Sequence[Row], count: int) -> dict[str, str]:
    """Training utterances that stand for the speaker, chosen by hash, with the digests of their sound."""
    audio = open_store(features_dir / "audio.safetensors")
    digests = {row["utterance"]: row["sha256"] for row in rows if row["split"] == "train" and row["utterance"] in audio}
    return {name: digests[name] for name in by_hash(digests, count)}
