"""Gates of a base voice: who is reported beside whom, what is counted, what is wanted. The real listeners hear one in
tests/workflow/test_base_voice.py; here they are stand-ins, since only the figures that they give are looked at."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tests.support.voice_fixture import CODES

from voiceclone.base.card import write_card
from voiceclone.base.gates import BaseUnderTest, Listeners, phone_edits, run_gates
from voiceclone.base.pack import FILES
from voiceclone.corpus.gather import COLUMNS, LICENCE_COLUMNS
from voiceclone.errors import DataError
from voiceclone.features.store import Entry, write_store
from voiceclone.files import read_json, read_tsv, write_json, write_tsv
from voiceclone.lineage.rights import GENERATED_NOTICE
from voiceclone.sound.io import write_flac
from voiceclone.stages.base_gates import GatesSettings
from voiceclone.text.frontend import to_phones
from voiceclone.text.symbols import SYMBOL_IDS

RATE = 32_000
TEXT = "The harbour was quiet."
SETTINGS = GatesSettings(utterances=2, people=4, lines=1, fixed=1)


class Recogniser:
    def __init__(self, heard: str = TEXT) -> None:
        self.heard = heard

    def transcribe(self, samples, rate, language) -> str:
        assert rate == RATE and samples.dtype == np.float32
        return self.heard


class Speaker:
    def embed(self, samples, rate):
        return np.eye(192, dtype=np.float32)[0]


class Quality:
    def score(self, samples, rate) -> float:
        return 3.0


def listeners(heard: str = TEXT) -> Listeners:
    return Listeners(Recogniser(heard), Speaker(), Quality())


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """One teacher of two pseudo-speakers, a trained person and a person of whom nothing is trained on."""
    folder = tmp_path / "results" / "base"
    plan = [("hibari", "hibari-1", "train"), ("hibari", "hibari-1", "heldout"), ("hibari", "hibari-2", "heldout"),
            ("set", "anna", "train"), ("set", "anna", "heldout"), ("set", "ls84", "heldout")]  # fmt: skip
    random = np.random.default_rng(0)
    rows, stores = [], {name: {} for name in ("semantic", "phones", "speaker", "align")}
    phones = np.asarray(to_phones(TEXT, "en").ids)
    for number, (source, speaker, split) in enumerate(plan):
        name, text = f"{source}-{number}", TEXT if split == "heldout" else f"Line {number}."
        path = folder / "clips" / source / f"{number}.flac"
        write_flac(path, (0.1 * random.standard_normal(RATE)).astype(np.float32), RATE)
        rows.append({
            "utterance": name, "path": path.relative_to(folder).as_posix(), "sha256": "0" * 64, "seconds": 1.0,
            "language": "en", "text": text, "split": split, "speaker": speaker, "source": source, "bandwidth": 0,
            "weight": 1.0, "use": "gpt sovits",
        })  # fmt: skip
        stores["semantic"][name] = random.integers(0, CODES, 25)
        stores["phones"][name] = phones
        stores["speaker"][name] = np.eye(192, dtype=np.float32)[number % 3]
        stores["align"][name] = np.sort(random.integers(0, len(phones), 25))
    types = {"semantic": "int64", "phones": "int64", "speaker": "float32", "align": "int16"}
    for kind, arrays in stores.items():
        entries = {name: Entry(value.shape, lambda value=value: value) for name, value in arrays.items()}
        write_store(folder / "features" / f"{kind}.safetensors", types[kind], entries, {"kind": kind})
    write_tsv(folder / "corpus" / "corpus.tsv", COLUMNS, rows)
    licences = [{"source": "hibari", "kind": "teacher"}, {"source": "set", "kind": "list"}]
    filled = [dict.fromkeys(LICENCE_COLUMNS, "1") | row | {"licence": "CC0 1.0"} for row in licences]
    write_tsv(folder / "corpus" / "licences.tsv", LICENCE_COLUMNS, filled)
    return folder


@pytest.fixture
def sentences(tmp_path: Path) -> list[Path]:
    (tmp_path / "en.txt").write_text("en-01\tA short line.\nen-02\tNever spoken.\n")
    (tmp_path / "zh.txt").write_text("zh-01\t你好。\n")
    return [tmp_path / "en.txt", tmp_path / "zh.txt"]


def test_trained_and_held_out_people_stand_side_by_side(packed, results, sentences, tmp_path) -> None:
    report = run_gates(packed, results, sentences, listeners(), SETTINGS, tmp_path / "gates")
    groups = {group["name"]: group for group in report["groups"]}
    assert list(groups) == ["hibari", "anna", "ls84"]
    assert [group["held_out_person"] for group in groups.values()] == [False, False, True]
    assert groups["hibari"]["utterances"] == 2 and groups["hibari"]["teacher"]
    for group in groups.values():
        assert group["wer"] == 0 and group["wer_recording"] == 0 and group["mos"] == 3.0
        assert 0 <= group["pointer"] <= 1 and group["phone_errors"] > 0
    assert groups["ls84"]["similarity_recording"] is None, "nothing else of this person is there"
    assert [(item["set"], item["decoding"], item["lines"]) for item in report["speech"]] == [
        ("held-out lines", "plain", 1), ("held-out lines", "guided", 1),
        ("fixed sentences", "plain", 1), ("fixed sentences", "guided", 1),
    ]  # fmt: skip
    text = (tmp_path / "gates" / "gates.md").read_text()
    for word in ("**teachers**", "**trained people**", "**held-out people**", "ls84", "resynthesis WER"):
        assert word in text
    assert len(list((tmp_path / "gates" / "samples").glob("*.flac"))) == 4 + 4
    assert read_json(tmp_path / "gates" / "gates.json") == json.loads(json.dumps(report))


def test_a_sentence_that_is_trained_on_in_another_voice_is_not_measured(packed, results, sentences, tmp_path) -> None:
    table = results / "corpus" / "corpus.tsv"
    table.write_text(table.read_text().replace("Line 3.", "the harbour was QUIET"))
    with pytest.raises(DataError, match="nothing is held out"):
        run_gates(packed, results, sentences, listeners(), SETTINGS, tmp_path / "gates")


def test_samples_say_that_they_are_generated(packed, results, sentences, tmp_path) -> None:
    run_gates(packed, results, sentences, listeners(), SETTINGS, tmp_path / "gates")
    for path in (tmp_path / "gates" / "samples").glob("*.flac"):
        with soundfile.SoundFile(path) as sound:
            assert sound.comment.startswith(GENERATED_NOTICE), path


def test_every_teacher_must_reach_what_is_wanted_and_intervals_stand_beside(packed, results, tmp_path) -> None:
    """Two kinds of lines; of one of them a word of each four is misheard."""
    rows = read_tsv(results / "corpus" / "corpus.tsv")
    for row in rows:
        if row["utterance"] == "hibari-2":
            row |= {"source": "talk", "text": "The harbour was noisy."}
    write_tsv(results / "corpus" / "corpus.tsv", COLUMNS, rows)
    licences = read_tsv(results / "corpus" / "licences.tsv")
    write_tsv(results / "corpus" / "licences.tsv", LICENCE_COLUMNS, [*licences, licences[0] | {"source": "talk"}])
    settings = SETTINGS.model_copy(update={"lines": 0, "pointer": 0.0})
    report = run_gates(packed, results, [], listeners(), settings, tmp_path / "gates")
    verdicts = {item["lines"]: item["passed"] for item in report["wanted"] if item["measure"] == "resynthesis WER"}
    assert verdicts == {"hibari": True, "talk": False} and not report["passed"]
    text = (tmp_path / "gates" / "gates.md").read_text()
    assert "| resynthesis WER | talk | 1 | <= 15% | 25.0 (25.0 to 25.0) | **missed** |" in text


def test_a_second_run_measures_nothing_again(packed, results, sentences, tmp_path) -> None:
    first = run_gates(packed, results, sentences, listeners(), SETTINGS, tmp_path / "gates")
    deaf = Listeners(None, None, None)
    assert run_gates(packed, results, sentences, deaf, SETTINGS, tmp_path / "gates") == first


def test_the_pointer_is_held_against_the_alignment(packed, results) -> None:
    base = BaseUnderTest(packed, results, SETTINGS)
    row = base.rows[1]
    codes, phones, spoken = (torch.from_numpy(np.array(base.stores[kind][row["utterance"]], np.int64))
                             for kind in ("semantic", "phones", "align"))  # fmt: skip
    scores = base.models.gpt.forward_aligned(
        phones[None], torch.tensor([len(phones)]), codes[None], torch.tensor([len(codes)])
    )[1]
    expected = sum(abs(int(scores[0, place].argmax()) - int(spoken[place])) <= 1 for place in range(len(codes)))
    assert base.pointed(row) == [expected, 25]


@pytest.mark.parametrize(("heard", "passed"), [(TEXT, True), ("The harbour is quiet.", False), ("", False)])
def test_what_is_wanted_passes_or_is_missed(packed, results, tmp_path, heard, passed) -> None:
    settings = SETTINGS.model_copy(update={"lines": 0, "pointer": 0.0})
    report = run_gates(packed, results, [], listeners(heard), settings, tmp_path / "gates")
    verdicts = {item["measure"]: item["passed"] for item in report["wanted"]}
    assert verdicts == {"resynthesis WER": passed, "pointer within one phone": True}
    assert report["passed"] is passed and report["speech"] == []
    assert ("**missed**" in (tmp_path / "gates" / "gates.md").read_text()) is not passed


def test_without_alignment_nothing_is_read_and_the_gate_is_missed(packed, results, tmp_path) -> None:
    (results / "features" / "align.safetensors").unlink()
    report = run_gates(packed, results, [], listeners(), SETTINGS.model_copy(update={"lines": 0}), tmp_path / "gates")
    assert all(group["pointer"] is None and group["phone_errors"] is None for group in report["groups"])
    assert not report["passed"]


def test_phones_are_compared_without_stress_pauses_and_repeats() -> None:
    def ids(text: str) -> list[int]:
        return [SYMBOL_IDS[symbol] for symbol in text.split()]

    assert phone_edits(ids("HH HH AH0 AH0 L OW1 OW1 ."), ids("HH AH1 L OW0 .")) == (0, 4)
    assert phone_edits(ids("HH AH0 OW1"), ids("HH AH0 L OW1")) == (1, 4)
    assert phone_edits([], ids("HH AH0")) == (2, 2)
    assert phone_edits(ids("HH"), ids(", .")) == (1, 0)


def test_a_corpus_without_held_out_lines_is_an_error(packed, results, tmp_path) -> None:
    text = (results / "corpus" / "corpus.tsv").read_text().replace("heldout", "train")
    (results / "corpus" / "corpus.tsv").write_text(text)
    with pytest.raises(DataError, match="nothing is held out"):
        run_gates(packed, results, [], listeners(), SETTINGS, tmp_path / "gates")


def test_the_card_names_data_licences_hours_figures_and_command(packed, results, tmp_path) -> None:
    run_gates(packed, results, [], listeners(), SETTINGS.model_copy(update={"lines": 0}), tmp_path / "gates")
    write_json(results / "corpus" / "summary.json", {
        "utterances": {"train": 2, "heldout": 4}, "hours": {"train": 1.5, "heldout": 0.25}, "speakers": 4,
        "heldout_people": ["ls84"],
    })  # fmt: skip
    for kind in ("gpt", "sovits"):
        write_json(results / "models" / f"{kind}.json", {
            "step": 7, "epochs": 1.0, "seconds": 3600.0, "fingerprint": "f", "architecture": {}, "versions": {},
            "components": {"settings": {"seed": 1}}, "best": {"step": 7, "cross_entropy": 1.0},
        })  # fmt: skip
    write_card(packed, results, tmp_path / "gates" / "gates.json")
    text = (packed / "card.md").read_text()
    for word in ("CC0 1.0", "1.50 hours", "ls84", "base_voice --config preset=base", "## Gates", "sovits.safetensors"):
        assert word in text, word
    card = read_json(packed / "card.json")
    assert set(card["files"]) == set(FILES.values()) and "items" not in card["gates"]["groups"][0]
    rows = (results / "corpus" / "corpus.tsv").read_text().splitlines()
    stolen = [line.replace("heldout", "train") if "ls84" in line else line for line in rows]
    (results / "corpus" / "corpus.tsv").write_text("\n".join(stolen) + "\n")
    with pytest.raises(DataError, match="ls84: held-out people"):
        write_card(packed, results, tmp_path / "gates" / "gates.json")
