"""Sentences of an evaluation: the shipped sets, the user's lists, what is left out because it was trained on."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import pytest

from voiceclone.corpus.split import sentence_key
from voiceclone.errors import DataError
from voiceclone.evaluation.sentences import Item, by_hash, evaluation_items, read_own, read_sentences, read_set
from voiceclone.files import write_text
from voiceclone.languages import LANGUAGES
from voiceclone.stages.evaluate import EvaluateSettings
from voiceclone.teachers.speech import read_held_out
from voiceclone.text.frontend import to_phones
from voiceclone.usertext import read_user_text

RESOURCES = Path(__file__).parents[2] / "resources"
FIXED = [*(RESOURCES / "sentences" / f"{code}.txt" for code in LANGUAGES), RESOURCES / "sentences" / "mixed.txt"]
SELECTION = [RESOURCES / "sentences" / "selection" / f"{code}.txt" for code in LANGUAGES]
#: Strata of each fixed set, and how many of its sentences have them.
STRATA = {
    "plain": 10, "question": 5, "number": 6, "name": 6, "polyphone": 6, "tongue-twister": 5, "one-word": 4, "long": 3,
    "hard": 4,
}  # fmt: skip


def row(utterance: str, split: str, language: str = "en", text: str = "") -> dict[str, str]:
    return {"utterance": utterance, "split": split, "language": language, "text": text or f"Text of {utterance}."}


def test_choice_of_sentences_does_not_move_when_others_come() -> None:
    names = [f"u{n}" for n in range(40)]
    chosen = by_hash(names, 10)
    assert chosen == sorted(chosen) and len(chosen) == 10
    for later in ("new", "later", "last"):
        assert len(set(by_hash([*names, later], 10)) - set(chosen)) <= 1
    assert by_hash(reversed(names), 10) == chosen


# ---- the shipped sets


@pytest.mark.parametrize("path", [*FIXED, *SELECTION], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_shipped_sentence_is_read_without_a_warning(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for item in read_set(path):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", module="voiceclone")
            phones = to_phones(item.text, item.language)
        languages = {segment.language for segment in phones.segments}
        assert not phones.unread, item
        assert "UNK" not in phones.symbols or "ja" in languages, item  # in Japanese it parts accent phrases
        assert not any(character.isdigit() for character in item.text), f"{item}: scored in words"
        assert item.language in languages and (len(languages) > 1) == (path.stem == "mixed"), item
    assert "WARNING" not in capfd.readouterr().err


@pytest.mark.parametrize("path", FIXED[:-1], ids=lambda path: path.stem)
def test_fixed_sets_try_everything_and_begin_with_a_mix(path: Path) -> None:
    items = read_set(path)
    strata = Counter(item.stratum for item in items)
    assert [item.id for item in items] == [f"{path.stem}-{number:02d}" for number in range(1, 51)]
    assert strata.keys() == STRATA.keys()
    assert all(strata[name] >= least for name, least in STRATA.items())
    assert {item.stratum for item in items[:20]} == STRATA.keys()
    for item in items:
        length, long, short = (len(item.text.split()), 60, 2) if path.stem == "en" else (len(item.text), 150, 6)
        assert (length >= long) == (item.stratum == "long"), item
        assert (length < short) == (item.stratum == "one-word"), item


def test_mixed_sentences_are_as_many_in_every_language() -> None:
    items = read_set(FIXED[-1])
    assert Counter(item.language for item in items) == dict.fromkeys(LANGUAGES, 10)
    assert {item.language for item in items[:5]} == LANGUAGES.keys()


def test_no_sentence_stands_in_two_places() -> None:
    sets = [item for path in [*FIXED, *SELECTION] for item in read_set(path)]
    assert len(sets) == 6 * 50 + 5 * 20
    lists = [*(RESOURCES / "texts").glob("*.txt"), RESOURCES / "sentences" / "demo_speaker.txt"]
    others = {sentence_key(line) for path in lists for line in read_user_text(path).splitlines()} - {""}
    keys = Counter(sentence_key(item.text) for item in sets)
    assert [key for key, count in keys.items() if count > 1 or key in others] == []
    assert len({item.id for item in sets}) == len(sets)


def test_teachers_are_kept_from_every_set() -> None:
    never = read_held_out([*FIXED, *SELECTION])
    assert {item.text for path in [*FIXED, *SELECTION] for item in read_set(path)} == never


@pytest.mark.parametrize(
    "line", ["no tab", "a\t", "\ttext", "a/b\ttext", "..\ttext", "a\tone\na\ttwo", "a\tb\tc\td\te", "a\tb\tplain\txx"]
)
def test_broken_sentence_files_are_named(tmp_path: Path, line: str) -> None:
    write_text(tmp_path / "en.txt", line + "\n")
    with pytest.raises(DataError, match=r"en\.txt: line \d"):
        read_sentences(tmp_path / "en.txt")


# ---- what is spoken


def test_sets_that_a_target_speaks() -> None:
    corpus = [row("a", "train"), row("b", "heldout"), row("c", "heldout")]
    settings = EvaluateSettings(fixed=3, heldout=1)
    kinds = [item.kind for item in evaluation_items(corpus, FIXED, "recordings", settings)[0]]
    assert kinds == ["heldout"]
    spoken, left_out = evaluation_items(corpus, FIXED, "onnx-fp32", settings)
    assert [item.id for item in spoken][1:] == ["en-01", "en-02", "en-03"] and left_out == []
    both, _ = evaluation_items([*corpus, row("d", "train", "zh")], FIXED, "torch-fp32", settings)
    assert {item.language for item in both if item.kind == "fixed"} == {"en", "zh"}


def test_other_languages_and_two_at_once() -> None:
    settings = EvaluateSettings(fixed=1, heldout=0, mixed=2, cross_lingual=3)
    items, _ = evaluation_items([row("a", "train", "ko")], FIXED, "torch-fp32", settings)
    found = Counter((item.kind, item.language) for item in items)
    foreign = {("cross-lingual", code): 3 for code in LANGUAGES if code != "ko"}
    assert found == {("fixed", "ko"): 1, ("mixed", "ko"): 2, **foreign}
    assert {item.stratum for item in items if item.kind == "mixed"} == {"mixed"}


# ---- the user's lists


def test_lists_of_the_user(tmp_path: Path) -> None:
    folder = tmp_path / "zh"
    write_text(tmp_path / "my lines.en.txt", "# mine\n\nOne line.\nquiet\tAnother.\thard\nlast\t왜?\t\tko\n")
    assert read_own(tmp_path / "my lines.en.txt") == [
        Item("own-my_lines_en-003", "own", "en", "One line."),
        Item("own-quiet", "own", "en", "Another.", "hard"),
        Item("own-last", "own", "ko", "왜?"),
    ]
    write_text(folder / "meta.lst", "utt-1|参考文本。|prompt/1.wav|要读的句子。\nutt-2|参考。|p.wav|第二句。|w.wav\n")
    assert read_own(folder / "meta.lst") == [
        Item("own-utt-1", "own", "zh", "要读的句子。"), Item("own-utt-2", "own", "zh", "第二句。")
    ]  # fmt: skip
    (tmp_path / "old.ja.txt").write_bytes("古い文字。\n".encode("cp932"))
    assert [item.text for item in read_own(tmp_path / "old.ja.txt")] == ["古い文字。"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("meta.lst", "utt|prompt|wav"),
        ("meta.lst", "utt|prompt|wav| |gold"),
        ("a.en.txt", "a b\ttext"),
        ("a.en.txt", "x\tone\nx\ttwo"),
        ("a.txt", "Whose language is this?"),
        ("a.en.txt", "x\t "),
    ],
)
def test_broken_lists_are_named_with_their_line(tmp_path: Path, name: str, text: str) -> None:
    write_text(tmp_path / name, f"{text}\n")
    with pytest.raises(DataError, match=rf"{name}: line \d"):
        read_own(tmp_path / name)


def test_own_lists_are_spoken_whole_in_the_language_of_the_voice(tmp_path: Path) -> None:
    write_text(tmp_path / "lines.txt", "First.\nSecond.\nThird.\n")
    write_text(tmp_path / "more.ko.txt", "own\t왜?\n")
    names = tuple(str(tmp_path / name) for name in ("lines.txt", "more.ko.txt"))
    settings = EvaluateSettings(fixed=0, heldout=0, sentences=names)
    items, _ = evaluation_items([row("a", "train")], FIXED, "torch-fp32", settings)
    assert [(item.id, item.language) for item in items] == [
        ("own-lines-001", "en"), ("own-lines-002", "en"), ("own-lines-003", "en"), ("own-own", "ko")
    ]  # fmt: skip
    assert evaluation_items([row("a", "train")], FIXED, "recordings", settings) == ([], [])
    with pytest.raises(DataError, match=r"lines\.txt: line 1: language ''"):
        evaluation_items([row("a", "train"), row("b", "train", "zh")], FIXED, "torch-fp32", settings)
    twice = settings.model_copy(update={"sentences": (names[1], names[1])})
    with pytest.raises(DataError, match=r"more\.ko\.txt.*own-own"):
        evaluation_items([row("a", "train")], FIXED, "torch-fp32", twice)


# ---- never what was trained on


def test_a_held_out_text_that_was_trained_on_is_left_out_and_named() -> None:
    corpus = [
        row("a", "train", text="Yes, of course!"),
        row("b", "heldout", text="yes of course"),
        row("c", "heldout", text="Something else."),
        row("d", "heldout", text="..."),
        row("e", "train", text="!"),
    ]
    items, left_out = evaluation_items(corpus, [], "recordings", EvaluateSettings())
    assert [item.id for item in items] == ["c", "d"]
    assert left_out == ["b: left out, its text is that of training utterance a"]


def test_a_left_out_utterance_makes_room_for_another() -> None:
    corpus = [row(f"h{number}", "heldout") for number in range(9)]
    first = evaluation_items(corpus, [], "recordings", EvaluateSettings(heldout=3))[0]
    corpus.append(row("t", "train", text=first[0].text.upper()))
    items, left_out = evaluation_items(corpus, [], "recordings", EvaluateSettings(heldout=3))
    assert len(items) == 3 and {first[1].id, first[2].id} < {item.id for item in items}
    assert len(left_out) == 1 and left_out[0].startswith(f"{first[0].id}: ")


def test_a_fixed_or_own_sentence_that_was_trained_on_is_left_out(tmp_path: Path) -> None:
    write_text(tmp_path / "mine.en.txt", "NO ONE: answered?\nAnything but that.\n")
    corpus = [row("a", "train", text="No one  answered")]
    settings = EvaluateSettings(sentences=(str(tmp_path / "mine.en.txt"),))
    items, left_out = evaluation_items(corpus, FIXED, "torch-fp32", settings)
    assert "en-10" not in {item.id for item in items} and len(items) == 12
    assert [line.split(":")[0] for line in left_out] == ["en-10", "own-mine_en-001"]
    assert all("training utterance a" in line for line in left_out)
