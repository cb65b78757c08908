"""Files are whole or absent; tables, digests and contained paths."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiceclone import files
from voiceclone.errors import DataError
from voiceclone.files import atomic_path, check_speaker, contained_path, digest, read_tsv, write_tsv


def test_failed_write_leaves_the_old_file(tmp_path) -> None:
    target = tmp_path / "table.tsv"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=8))
def test_tables_survive_any_text(tmp_path_factory, cells) -> None:
    path = tmp_path_factory.mktemp("table") / "t.tsv"
    write_tsv(path, ["name", "text"], [{"name": f"{i:03d}{a}", "text": b} for i, (a, b) in enumerate(cells)])
    rows = read_tsv(path, ["name", "text"])
    assert len(rows) == len(cells)
    if all(cell.isprintable() for pair in cells for cell in pair):
        assert [(row["name"], row["text"]) for row in rows] == [(f"{i:03d}{a}", b) for i, (a, b) in enumerate(cells)]


def test_table_with_a_short_line_names_it(tmp_path) -> None:
    (tmp_path / "t.tsv").write_text("a\tb\n1\t2\n3\n")
    with pytest.raises(DataError, match="line 3 has 1 cells"):
        read_tsv(tmp_path / "t.tsv")


def test_paths_stay_in_their_folder(tmp_path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path / "out.wav")
    assert contained_path(inside, "a/b.wav") == inside.resolve() / "a" / "b.wav"
    for leaving in ("../out.wav", "/etc/passwd", "link"):
        with pytest.raises(DataError, match="leads out of"):
            contained_path(inside, leaving)


@pytest.mark.parametrize("name", ["Anna", "a b", "-a", "", "ä", "a/b", "..", "a.b"])
def test_speaker_names_are_checked(name) -> None:
    with pytest.raises(DataError, match="lower-case"):
        check_speaker(name)


def test_digest_knows_no_order_of_keys() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


@given(st.sets(st.from_regex(r"[ab]{1,3}(-student)?", fullmatch=True)), st.data(), st.sampled_from([0, 2, 50]))
def test_a_pattern_matches_its_names_and_no_other_that_exists(
    everybody: set[str], data: st.DataObject, listed: int
) -> None:
    names = data.draw(st.sets(st.sampled_from(sorted(everybody)))) if everybody else set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "LISTED", listed)  # above it names are told from others by their form
        pattern = re.compile(f"results/(?P<speaker>{files.pattern_of(names, everybody)})/takes.tsv$")
    assert {name for name in [*everybody, *files.FOLDERS] if pattern.match(f"results/{name}/takes.tsv")} == names


def test_the_pattern_of_a_thousand_speakers_is_short() -> None:
    speakers = [f"s{number:04d}" for number in range(1000)]
    students = [f"{name}-student" for name in speakers]
    for names in (speakers, students, [*speakers, *students]):
        assert len(files.pattern_of(names, [*speakers, *students])) < 600
