"""Listening tests: a folder that runs in a browser from the file system, and the results of what listeners answered.

Kinds, after ITU-T P.800 (MOS, CMOS), ITU-R BS.1534 (MUSHRA: hidden reference and a low-pass anchor at 3.5 kHz) and
Munson and Gardner (1950; ABX). Which system spoke a file is only in the key, which stays with who made the test; the
order of trials and of the files within one is drawn for each listener.
"""

from __future__ import annotations

import json
import math
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, permutations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field, ValidationError
from scipy.signal import butter, sosfiltfilt
from scipy.stats import binomtest

from voiceclone.errors import ConfigError, DataError
from voiceclone.evaluation.paired import find_metrics
from voiceclone.evaluation.statistics import bootstrap_mean, paired_test
from voiceclone.files import digest, read_json, read_tsv, write_json, write_text
from voiceclone.report.page import page
from voiceclone.sound.io import read_mono, write_flac

Kind = Literal["mos", "cmos", "abx", "mushra"]
ANCHOR = "anchor"
ANCHOR_HZ = 3500.0
FORMAT = 1


def systems_of(places: Sequence[Path], target: str) -> dict[str, Path]:
    """Name -> folder of an evaluation, for each place; names are the shortest that differ."""
    folders = [find_metrics(place, target).parent.resolve() for place in places]
    if len(set(folders)) < len(folders):
        raise ConfigError("the same evaluation is given twice")
    for depth in range(1, 6):
        names = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(names)) == len(names):
            break
    return dict(zip(names, folders, strict=True))


def common_sentences(systems: Mapping[str, Path], count: int, seed: int) -> dict[str, str]:
    """Id -> text of ``count`` sentences that every system spoke, drawn with ``seed``.

    Raises:
        DataError: there is none.
    """
    columns = ("item", "text", "audio")
    tables = [read_tsv(folder / "metrics.tsv", columns) for folder in systems.values()]
    spoken = [{(row["item"], row["text"]) for row in table if row["audio"]} for table in tables]
    common = sorted(set.intersection(*spoken))
    if not common:
        raise DataError(
            f"{', '.join(systems)}: no sentence that all spoke", "recordings have the held-out sentences alone"
        )
    return dict(sorted(random.Random(seed).sample(common, min(count, len(common)))))


def _low_pass(samples: Any, rate: int) -> Any:
    return sosfiltfilt(butter(8, ANCHOR_HZ, fs=rate, output="sos"), samples).astype(np.float32)


def make_test(
    kind: Kind, places: Sequence[Path], folder: Path, key: Path, target: str, sentences: int = 20, seed: int = 0
) -> int:
    """Write a listening test.

    Args:
        kind: ``mos`` (1 to 5 each), ``cmos`` (-3 to 3 a pair), ``abx`` (which of two is X), ``mushra`` (0 to 100 each,
            beside a reference).
        places: evaluations, see :func:`voiceclone.evaluation.paired.find_metrics`; for ``mushra`` the first is the
            reference.
        folder: to give to listeners, with ``index.html``.
        key: JSON file outside of it that says who spoke what.
        target: of places that are voices.
        sentences: number of them, at most.
        seed: of their choice and of the file names.

    Returns:
        The number of trials.

    Raises:
        ConfigError: too few systems, or a key inside the folder.
        DataError: nothing in common was spoken.
    """
    if len(places) < (1 if kind == "mos" else 2):
        raise ConfigError(f"{kind}: expected at least two evaluations")
    if key.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"{key}: lies in the folder that listeners get", "give --key a path outside of it")
    systems = systems_of(places, target)
    texts = common_sentences(systems, sentences, seed)
    draw, files, trials = random.Random(seed), {}, []

    def put(system: str, item: str, copy: int = 0) -> str:
        """Copy one sample under a name that says nothing; the path of the copy."""
        name = f"audio/{digest([seed, kind, system, item, copy], 16)}.flac"
        base = next(iter(systems)) if system == ANCHOR else system
        samples, rate = read_mono(systems[base] / "samples" / f"{item}.flac")
        write_flac(folder / name, _low_pass(samples, rate) if system == ANCHOR else samples, rate)
        files[name] = {"system": system, "item": item}
        return name

    (folder / "audio").mkdir(parents=True, exist_ok=True)
    for item, text in texts.items():
        if kind == "mos":
            trials += [{"text": text, "files": [put(system, item)]} for system in systems]
        elif kind == "mushra":
            reference, *others = systems
            hidden = [put(name, item, 1) for name in (reference, *others, ANCHOR)]
            trials.append({"text": text, "reference": put(reference, item), "files": hidden})
        else:
            for pair in combinations(systems, 2):
                first, second = draw.sample(pair, 2)
                trial = {"text": text, "files": [put(first, item), put(second, item)]}
                trials.append(trial | ({"x": put(draw.choice(pair), item, 1)} if kind == "abx" else {}))
    for number, trial in enumerate(trials):
        trial["id"] = f"t{number:04}"
    test = {"format": FORMAT, "kind": kind, "test": digest([kind, trials], 16), "trials": trials}
    write_json(key, {**test, "files": files, "systems": list(systems)})
    data = json.dumps(test, ensure_ascii=False).replace("<", "\\u003c")
    write_text(folder / "index.html", page("listening-test.html", kind=kind, trials=len(trials), data=data))
    return len(trials)


class _Spoken(BaseModel):
    system: str
    item: str


class _Trial(BaseModel):
    id: str
    files: list[str] = Field(min_length=1)


class _Key(BaseModel):
    """The shape of a key, which may come from anywhere."""

    test: str
    kind: Kind
    trials: list[_Trial]
    files: dict[str, _Spoken]
    systems: list[str]


def _answers(key: Mapping[str, Any], files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Listener -> trial -> answer.

    Raises:
        DataError: a file is of another test, or a listener comes twice.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in files:
        stored = read_json(path)
        if not isinstance(stored, dict) or stored.get("test") != key["test"]:
            raise DataError(f"{path}: answers of another test than the key's")
        listener, answers = stored.get("listener"), stored.get("answers")
        if not isinstance(listener, str) or not isinstance(answers, dict):
            raise DataError(f"{path}: expected a name under 'listener' and a table under 'answers'")
        if listener in found:
            raise DataError(f"{path}: a second file of listener {listener!r}", "keep one of them")
        found[listener] = answers
    if not found:
        raise DataError("no file of answers", "listeners download answers-NAME.json at the end of the test")
    return found


def krippendorff_alpha(ratings: Mapping[str, Mapping[str, float]]) -> float | None:
    """Agreement of listeners, interval metric (Krippendorff 2011): 1 all agree, 0 as by chance; None if undefined.

    Args:
        ratings: unit -> listener -> value.
    """
    units = [list(values.values()) for values in ratings.values() if len(values) > 1]
    pooled = [value for values in units for value in values]
    if not pooled:
        return None
    observed = sum(sum((a - b) ** 2 for a, b in permutations(values, 2)) / (len(values) - 1) for values in units)
    n = len(pooled)
    mean = sum(pooled) / n
    expected = 2 * n * sum((value - mean) ** 2 for value in pooled) / (n - 1)
    return None if expected == 0 else 1 - observed / expected


def collect(key_file: Path, answer_files: Sequence[Path]) -> dict[str, Any]:
    """Results of a test: per system (or pair) a mean with its 95 % interval over sentences, and the agreement.

    ``abx``: share of right answers with the p-value against guessing. ``cmos``: the mean of second against first, with
    the p-value of :func:`voiceclone.evaluation.statistics.paired_test`.

    Raises:
        DataError: a file is no key, no answers, or of another test.
    """
    key = read_json(key_file)
    try:
        _Key.model_validate(key)
    except ValidationError as error:
        raise DataError(
            f"{key_file}: not the key of a listening test", "it is what --key named when the test was made"
        ) from error
    listeners = _answers(key, answer_files)
    kind, files = key["kind"], key["files"]
    per_unit: dict[str, dict[str, float]] = defaultdict(dict)
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for listener, answers in listeners.items():
        for trial in key["trials"]:
            if trial["id"] not in answers:
                continue
            try:
                ratings = list(_ratings(kind, trial, answers[trial["id"]], files, key["systems"]))
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise DataError(
                    f"listener {listener!r}: the answer to {trial['id']} is none of a {kind} test"
                ) from error
            for name, value in ratings:
                item = files[trial["files"][0]]["item"]
                scores[name][item].append(value)
                per_unit[f"{trial['id']} {name}"][listener] = value
    rows = []
    for name, items in scores.items():
        means = [sum(values) / len(values) for values in items.values()]
        interval = bootstrap_mean(means)
        row = {"name": name, "answers": sum(map(len, items.values())), **(interval.as_dict() if interval else {})}
        if kind == "abx":
            given = [value for values in items.values() for value in values]
            row["p"] = float(binomtest(round(sum(given)), len(given), 0.5, "greater").pvalue)
        elif kind == "cmos" and (test := paired_test([0.0] * len(means), means)) is not None:
            row["p"] = test.p
        rows.append(row)
    return {
        "kind": kind,
        "listeners": len(listeners),
        "agreement": krippendorff_alpha(per_unit),
        "rows": sorted(rows, key=lambda row: -row.get("value", -math.inf)),
    }


def _ratings(
    kind: str, trial: Mapping[str, Any], answer: Any, files: Mapping[str, Any], systems: Sequence[str]
) -> Iterable[tuple[str, float]]:
    """What one answer says: names of systems or pairs, with a number."""
    spoke = [files[name]["system"] for name in trial["files"]]
    if kind in ("mos", "mushra"):
        for name, value in answer.items():
            yield files[name]["system"], _rating(value)
        return
    first, second = sorted(spoke, key=list(systems).index)
    if kind == "cmos":  # the answer is the second file against the first
        yield f"{second} against {first}", _rating(answer) * (1 if spoke == [first, second] else -1)
    else:
        yield f"{first} / {second}", float(answer == (0 if files[trial["x"]]["system"] == spoke[0] else 1))


def _rating(value: Any) -> float:
    """A number that a listener can have given."""
    if not abs(number := float(value)) <= 100:
        raise ValueError(f"{number} is no rating")
    return number
