"""References are made once: kept in memory and on disk, made again where what is kept is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.support.encoder_fixture import sound
from tests.support.toy_voice import ToyEncoders

from voiceclone.backends.bundle import Reference
from voiceclone.lineage import user_cache
from voiceclone.lineage.user_cache import cache_folder
from voiceclone.speaking import reference
from voiceclone.speaking.reference import ClipReader, reference_cache


def same(left: Reference, right: Reference) -> bool:
    return left.digest == right.digest and left.text == right.text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "references"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return sound(tmp_path / "clip.wav", 3.5)


def test_a_clip_is_read_once_by_its_content(clip: Path, folder: Path) -> None:
    encoders = ToyEncoders()
    reader = ClipReader(encoders, cache=reference_cache(folder))
    first = reader.read(clip, "Some words", "en")
    copy = clip.with_name("copy.wav")
    copy.write_bytes(clip.read_bytes())
    assert same(reader.read(copy, "Some words", "en"), first) and encoders.heard == 1
    assert reader.cache.summary() == "1 of 2 from the cache (50.0 %), 0 of them from disk"
    again = ClipReader(encoders, cache=reference_cache(folder))
    assert same(again.read(clip, "Some words", "en"), first) and encoders.heard == 1
    assert again.cache.summary() == "1 of 1 from the cache (100.0 %), 1 of them from disk"


def test_what_decides_a_reference_makes_another(clip: Path, folder: Path) -> None:
    encoders = ToyEncoders()
    reader = ClipReader(encoders, cache=reference_cache(folder))
    reader.read(clip, "Some words", "en")
    other = sound(clip.with_name("other.wav"), 3.5, seed=1)
    for arguments in ((clip,), (clip, "Other words", "en"), (clip, "Some words", "en", [other]), (other,)):
        reader.read(*arguments)
    encoders.name = "b"
    reader.read(clip, "Some words", "en")
    clip.write_bytes(other.read_bytes())
    encoders.name = "a"
    reader.read(clip, "Some words", "en")
    assert (reader.cache.asked, reader.cache.in_memory, reader.cache.on_disk) == (7, 0, 0)


def test_a_clip_of_another_length_is_not_let_in_by_the_cache(tmp_path: Path, folder: Path) -> None:
    from voiceclone.errors import DataError

    short = sound(tmp_path / "short.wav", 1.0)
    reader = ClipReader(ToyEncoders(), cache=reference_cache(folder))
    reader.read(short, any_length=True)
    with pytest.raises(DataError, match=r"1\.0 s, expected 3 to 10 s"):
        reader.read(short)


@pytest.mark.parametrize("how", ["cut", "flipped", "emptied", "text"])
def test_a_damaged_entry_is_made_again(clip: Path, folder: Path, caplog: pytest.LogCaptureFixture, how: str) -> None:
    encoders = ToyEncoders()
    first = ClipReader(encoders, cache=reference_cache(folder)).read(clip, "Some words", "en")
    (entry,) = folder.iterdir()
    data = bytearray(entry.read_bytes())
    if how == "cut":
        data = data[: len(data) // 2]
    elif how == "flipped":
        data[-1] ^= 1
    elif how == "text":
        data = data.replace(b"Some words.", b"Some swords")
    entry.write_bytes(b"" if how == "emptied" else data)
    again = reference_cache(folder)
    assert same(ClipReader(encoders, cache=again).read(clip, "Some words", "en"), first)
    assert encoders.heard == 2 and again.on_disk == 0 and f"{entry}: damaged" in caplog.text
    whole = reference_cache(folder)
    ClipReader(encoders, cache=whole).read(clip, "Some words", "en")
    assert whole.on_disk == 1


def test_what_fails_is_not_kept(folder: Path) -> None:
    cache = reference_cache(folder)

    def fail() -> Reference:
        raise ValueError("no sound")

    for _ in range(2):
        with pytest.raises(ValueError, match="no sound"):
            cache.get("key", fail)
    assert not folder.exists() and cache.in_memory == 0


def test_only_the_newest_are_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "IN_MEMORY", 2)
    monkeypatch.setattr(reference, "ON_DISK", 3)
    monkeypatch.setattr(user_cache, "LOOK", 1)
    cache, nothing = reference_cache(folder), np.zeros(0, np.int64)
    for number in range(5):
        made = Reference(nothing, nothing, np.full((1, 1, 1), number, np.float32))
        cache.get(str(number), lambda made=made: made)
    assert len(list(folder.iterdir())) == 3 and folder.stat().st_mode & 0o077 == 0
    cache.get("4", pytest.fail)
    assert (cache.in_memory, cache.on_disk) == (1, 0)


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    cache, nothing = reference_cache(tmp_path / "file" / "references"), np.zeros(0, np.int64)
    for key in "ab":
        cache.get(key, lambda: Reference(nothing, nothing, np.zeros((1, 1, 1), np.float32)))
    assert caplog.text.count("cannot be written") == 1


def test_the_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VOICECLONE_CACHE", "")
    assert cache_folder("references") is None
    monkeypatch.setenv("VOICECLONE_CACHE", str(tmp_path))
    assert cache_folder("references") == tmp_path / "references"
    monkeypatch.delenv("VOICECLONE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("references") == tmp_path / "voiceclone" / "references"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder("references") == Path.home() / ".cache" / "voiceclone" / "references"


def test_entries_that_another_process_removes_are_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = np.zeros(0, np.int64)
    cache = reference_cache(folder)
    cache.get("a", lambda: Reference(nothing, nothing, np.zeros((1, 1, 1), np.float32)))
    listed = list(folder.glob("*"))
    monkeypatch.setattr(Path, "glob", lambda self, pattern: [*listed, folder / "gone"])
    cache.get("b", lambda: Reference(nothing, nothing, np.ones((1, 1, 1), np.float32)))
    monkeypatch.undo()
    assert len(list(folder.iterdir())) == 2
