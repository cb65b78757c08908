from pathlib import Path

import pytest

from voiceclone.corpus.corrections import (
    Correction,
    merge_corrections,
    parse_utterance,
    place_corrections,
    read_corrections,
)
from voiceclone.errors import DataError

HEADER = "utterance\taction\tvalue\tnote\n"
ONE, TWO = "take-a-0123abcd-0001000-0005000", "take-a-0123abcd-0006000-0009000"


def write(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "anna.tsv"
    path.write_text(header + "".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def test_a_file_is_read_with_line_numbers_comments_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "anna.tsv"
    text = f"\ufeffutterance\taction\tvalue\tnote\r\n# second session\r\n\r\n{ONE}\ttext\tNew words.\r\n{TWO}\tkeep\r\n"
    path.write_bytes(text.encode())
    assert read_corrections(path) == [
        Correction(4, ONE, "text", "New words.", ""),
        Correction(5, TWO, "keep", "", ""),
    ]


def test_an_empty_file_holds_no_corrections(tmp_path: Path) -> None:
    assert read_corrections(write(tmp_path, header="")) == []
    assert read_corrections(write(tmp_path)) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"{ONE}\tdelete", "line 2: action 'delete' is unknown"),
        (f"{ONE}\ttext\t", "line 2: action 'text' needs a value"),
        (f"{ONE}\tlanguage\tEnglish", "line 2: language 'English' is no ISO code"),
        ("take-a\tdrop", "line 2: 'take-a' is no utterance id"),
        ("take-a-0005000-0001000\tdrop", "is no utterance id"),
        (f"{ONE}\ttext\ta\tb\tc", "line 2 has 5 cells"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_corrections(write(tmp_path, line))


def test_a_wrong_header_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 1 is"):
        read_corrections(write(tmp_path, header="id\taction\tvalue\n"))


@pytest.mark.parametrize(("first", "second"), [("text\tA", "text\tB"), ("drop", "keep"), ("text\tA", "drop")])
def test_contradictions_name_both_lines(tmp_path: Path, first: str, second: str) -> None:
    with pytest.raises(DataError, match=r"lines 2 .* and 3"):
        read_corrections(write(tmp_path, f"{ONE}\t{first}", f"{ONE}\t{second}"))


def test_text_language_and_keep_go_together(tmp_path: Path) -> None:
    path = write(tmp_path, f"{ONE}\ttext\tA", f"{ONE}\tlanguage\ten", f"{ONE}\tkeep")
    placed = place_corrections(path, read_corrections(path), [ONE, TWO])
    assert [item.action for item in placed[ONE]] == ["text", "language", "keep"]


def place(folder: Path, action: str, *utterances: str) -> str:
    path = write(folder, f"{ONE}\t{action}")
    (target,) = place_corrections(path, read_corrections(path), utterances)
    return target


def test_a_correction_follows_the_utterance_that_covers_80_percent(tmp_path: Path) -> None:
    at_80, below = "take-a-0123abcd-0001800-0005200", "take-a-0123abcd-0001810-0005200"
    assert place(tmp_path, "drop", TWO, at_80) == at_80
    with pytest.raises(DataError, match=f"line 2: {ONE} drop"):
        place(tmp_path, "drop", TWO, below)


def test_a_text_does_not_replace_a_much_longer_utterance(tmp_path: Path) -> None:
    merged = "take-a-0123abcd-0001000-0009000"
    assert place(tmp_path, "drop", merged) == merged
    with pytest.raises(DataError, match=f"line 2: {ONE} text Right"):
        place(tmp_path, "text\tRight", merged)


def test_the_same_interval_of_another_take_is_no_place(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no utterance fits"):
        place(tmp_path, "keep", "take-b-0123abcd-0001000-0005000")


def test_two_corrections_that_meet_on_one_utterance_are_refused(tmp_path: Path) -> None:
    near = "take-a-0123abcd-0001010-0005010"
    path = write(tmp_path, f"{ONE}\ttext\tA", f"{near}\ttext\tB")
    with pytest.raises(DataError, match=r"lines 2 .* and 3 .* both correct take-a-0123abcd-0001005-0005005"):
        place_corrections(path, read_corrections(path), ["take-a-0123abcd-0001005-0005005"])


def test_take_names_with_digits_and_dashes_are_parsed() -> None:
    interval = parse_utterance("2024-01-0000001-0000002-0000001-0000009")
    assert (interval.take, interval.start_ms, interval.end_ms) == ("2024-01-0000001-0000002", 1, 9)


def test_merging_a_download_replaces_what_it_contradicts(tmp_path: Path) -> None:
    path = write(tmp_path, f"{ONE}\ttext\tOld\tfirst", f"{TWO}\tdrop")
    newer = tmp_path / "download.tsv"
    newer.write_text(HEADER + f"{ONE}\ttext\tNew\t\n{TWO}\tkeep\t\t\n", encoding="utf-8")
    assert merge_corrections(path, newer) == 2
    assert [(item.utterance, item.action, item.value) for item in read_corrections(path)] == [
        (ONE, "text", "New"),
        (TWO, "keep", ""),
    ]
    fresh = tmp_path / "new" / "bert.tsv"
    assert merge_corrections(fresh, newer) == 2
    assert len(read_corrections(fresh)) == 2
