"""The inventory of a speaker's folder: names that survive any table, content that decides, nothing written twice."""

from __future__ import annotations

import os
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from voiceclone.corpus.inventory import read_inventory, take_inventory
from voiceclone.files import escape, sha256_file, unescape
from voiceclone.lineage.handover import TABLE, Handover, record_times, restore_times


@given(st.binary(min_size=1, max_size=60))
def test_any_name_becomes_one_printable_cell_and_back(raw: bytes) -> None:
    name = os.fsdecode(raw)
    cell = escape(name)
    assert unescape(cell) == name
    assert cell.encode().decode() == cell and not set(cell) & set("\t\n\r\x1b\x85\u2028")
    assert "\t".join([cell, "x"]).split("\t") == [cell, "x"]


def test_it_is_written_only_when_content_changed(tmp_path: Path) -> None:
    folder, table = tmp_path / "anna", tmp_path / "results" / "inventory.tsv"
    folder.mkdir()
    (folder / "it's {a} $(b).wav").write_bytes(b"sound")
    (folder / os.fsdecode(b"\xe9.wav")).write_bytes(b"sound")
    (folder / "notes.txt").write_text("left alone")
    assert take_inventory(folder, table)
    assert not take_inventory(folder, table)
    (folder / "it's {a} $(b).wav").touch()
    assert not take_inventory(folder, table)
    entries = {entry.file: entry for entry in read_inventory(table)}
    assert entries["it's {a} $(b).wav"].sha256 == sha256_file(folder / "it's {a} $(b).wav")
    assert entries[r"\xe9.wav"].rejection.reason == "name"
    assert len(entries) == 2
    (folder / "new.wav").write_bytes(b"")
    assert take_inventory(folder, table)


def test_other_content_under_the_same_size_and_time_is_noticed(tmp_path: Path) -> None:
    folder, table = tmp_path / "anna", tmp_path / "inventory.tsv"
    folder.mkdir()
    path = folder / "one.wav"
    path.write_bytes(b"first")
    os.utime(path, (1e9, 1e9))
    take_inventory(folder, table)
    time.sleep(0.02)
    path.write_bytes(b"other")
    os.utime(path, (1e9, 1e9))
    assert take_inventory(folder, table)


def test_unchanged_files_are_not_read_again(tmp_path: Path, monkeypatch) -> None:
    folder, table = tmp_path / "anna", tmp_path / "inventory.tsv"
    folder.mkdir()
    (folder / "one.wav").write_bytes(b"first")
    monkeypatch.setattr("voiceclone.corpus.inventory.SETTLED_NS", -1)
    take_inventory(folder, table)
    monkeypatch.setattr("voiceclone.corpus.inventory.sha256_file", lambda path: "read again")
    assert not take_inventory(folder, table)


def test_times_follow_content(tmp_path: Path) -> None:
    names = [f"results/{name}" for name in ("a.tsv", "b.tsv", "gone.tsv")]
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, ns=(0, 1_000_000_007 * (number + 1)))
    record_times(tmp_path, [*names, "results/never there"])
    assert (tmp_path / TABLE).read_text().count("\n") == 4
    for name in names[:2]:
        (tmp_path / name).touch()
    (tmp_path / names[1]).write_text("other!!")  # of another content
    (tmp_path / names[2]).unlink()
    assert restore_times(tmp_path) == [names[0]]
    assert (tmp_path / names[0]).stat().st_mtime_ns == 1_000_000_007
    assert (tmp_path / names[1]).stat().st_mtime > 1e9
    (tmp_path / TABLE).write_text("no table")
    assert restore_times(tmp_path) == []


def test_settings_are_new_when_the_last_run_had_others(tmp_path: Path) -> None:
    first = Handover(tmp_path, write=True)
    name = first.settings("slice", {"max_seconds": 10, "prompt": "it's $(touch x)"})
    assert name.startswith("results/settings/slice-") and "it's" in (tmp_path / name).read_text()
    record_times(tmp_path, first.files)
    os.utime(tmp_path / name, ns=(0, 0))
    assert Handover(tmp_path, write=True).settings("slice", {"max_seconds": 10, "prompt": "it's $(touch x)"}) == name
    assert (tmp_path / name).stat().st_mtime_ns == 0
    second = Handover(tmp_path, write=True)
    other = second.settings("slice", {"max_seconds": 11})
    assert other != name
    record_times(tmp_path, second.files)
    Handover(tmp_path, write=True).settings("slice", {"max_seconds": 10, "prompt": "it's $(touch x)"})
    assert (tmp_path / name).stat().st_mtime_ns > 0
    assert not (tmp_path / Handover(tmp_path, write=False).settings("slice", {"max_seconds": 12})).exists()
    second.forget_others()
    assert [path.name for path in (tmp_path / "results" / "settings").iterdir()] == [Path(other).name]
