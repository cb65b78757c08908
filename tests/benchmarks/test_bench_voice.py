"""People whom the base voice has never heard, after a minute of each and after one clip: what a user gets.

Word errors by whisper-base beside those of the person's own recordings, CAM++ over the person's own ceiling, DistillMOS
beside theirs. Each floor holds for each person; goals are printed. BENCHMARK_PEOPLE=lj,84 measures some of them.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.aims import Aims

from project import REPOSITORY, Project
from voiceclone.assets import open_asset
from voiceclone.evaluation.sentences import read_set
from voiceclone.files import read_json
from voiceclone.listeners.recogniser import ScoringRecogniser
from voiceclone.teachers.hibari import Hibari
from voiceclone.teachers.speakers import Manner
from voiceclone.text.wer import ErrorCounts, word_errors

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(4 * 3600)]

CONFIG = Path(__file__).with_name("voice.yaml")
PEOPLE = ("lj", "84", "1988", "777", "652")
CLIPS = 10  # of a LibriSpeech reader: about a minute in all
TARGETS = ("torch-fp32", "onnx-int8")


def recordings(person: str, data: Path, base: Path) -> list[Path]:
    """Recordings of a person who is in no training set."""
    if person == "lj":
        return sorted((data / "speakers" / "ljspeech").glob("*.flac"))
    return sorted((base / "real" / "librispeech-dev-clean" / person).rglob("*.wav"))[:CLIPS]


@pytest.fixture(scope="module")
def project(
    new_project: Callable[..., Project], shared_data: Path, shared_base: Path, asset: Callable[[str], Path]
) -> Iterator[Project]:
    """The people's folders."""
    asset("whisper-base")  # skips where the models cannot be reached
    made = new_project("bench-voice", "--configfile", str(CONFIG))
    for person in os.environ.get("BENCHMARK_PEOPLE", ",".join(PEOPLE)).split(","):
        folder = made.root / "resources" / "speakers" / f"person-{person}"
        folder.mkdir(parents=True)
        for path in recordings(person, shared_data, shared_base):
            shutil.copyfile(path, folder / path.name)
    yield made


def test_what_the_recogniser_makes_of_a_clear_reader(asset: Callable[[str], Path]) -> None:
    """Word errors of the fixed sentences by kind, read by the packaged teacher: no voice can be held to fewer."""
    recogniser = ScoringRecogniser(open_asset(asset("whisper-base")))
    reader = Hibari(asset("hibari").parent)
    errors: dict[str, ErrorCounts] = defaultdict(ErrorCounts)
    for number, sentence in enumerate(read_set(REPOSITORY / "resources" / "sentences" / "en.txt")):
        speech = reader.speak(sentence.text, [Manner()], np.random.default_rng(number))[0]
        counts = word_errors(sentence.text, recogniser.transcribe(speech.samples, reader.rate, "en"), "en")
        for kind in (sentence.stratum, "all", *(["the first 24"] if number < 24 else [])):
            errors[kind] += counts
    for kind, counts in sorted(errors.items(), key=lambda item: item[1].rate):
        print(f"{kind:<16}{counts.rate:>7.1%} of {counts.words} words")
    assert errors["plain"].rate < 0.03 and errors["all"].rate < 0.08


def value(summary: dict[str, Any], name: str) -> float:
    found = summary.get(name) or summary["metrics"].get(name)
    return float(found["value"]) if found else float("nan")


def measured(project: Project, preset: str) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Person, target, its summary, and that of the recordings."""
    project.run("--config", f"preset={preset}")
    for folder in sorted((project.root / "resources" / "speakers").iterdir()):
        evaluated = project.results / folder.name / "eval"
        for target in TARGETS:
            yield folder.name, target, read_json(evaluated / target / "summary.json"), read_json(
                evaluated / "recordings" / "summary.json"
            )  # fmt: skip


@pytest.mark.parametrize(
    ("preset", "max_errors", "min_likeness", "max_mos_loss"),
    [("small", 0.10, 0.6, 1.5), ("zero-shot-small", 0.5, 0.0, 2.5)],
)
def test_people(project: Project, preset: str, max_errors: float, min_likeness: float, max_mos_loss: float) -> None:
    print(
        f"\n{preset}\n{'person':<14}{'target':<11}{'WER':>7}{'real':>7}{'SIM_rel':>9}{'MOS':>6}{'real':>6}{'faults':>8}"
    )
    aims = Aims()
    rows = []
    for person, target, spoken, real in measured(project, preset):
        errors, real_errors = value(spoken, "wer"), value(real, "wer")
        likeness, mos, real_mos = (
            value(spoken, "similarity_relative"),
            value(spoken, "distillmos"),
            value(real, "distillmos"),
        )
        faults = sum(value(spoken, name) for name in ("repeats", "omissions", "leaks", "runaways"))
        print(
            f"{person:<14}{target:<11}{errors:>7.1%}{real_errors:>7.1%}{likeness:>9.2f}{mos:>6.2f}{real_mos:>6.2f}{faults:>8.1%}"
        )
        rows.append((f"{person} {target}", errors - real_errors, likeness, real_mos - mos, faults))
    for name, more_errors, likeness, loss, faults in rows:
        aims.add(f"{name}: word errors above the recordings'", more_errors, at_most=max_errors)
        aims.add(f"{name}: similarity over the person's own", likeness, at_least=min_likeness)
        aims.add(f"{name}: DistillMOS below the recordings'", loss, at_most=max_mos_loss)
        aims.add(f"{name}: faults after re-roll", faults, at_most=0.03)
    aims.check()
