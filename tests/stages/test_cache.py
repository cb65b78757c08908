"""The per-item cache: same content is not made again, anything else is."""

from __future__ import annotations

from voiceclone.lineage.items import item_key, read_sidecar, write_sidecar
from voiceclone.stages import REVISIONS


def test_sidecar_is_valid_only_for_its_key_and_whole_files(tmp_path) -> None:
    sound = tmp_path / "take" / "a.flac"
    sound.parent.mkdir()
    sound.write_bytes(b"sound")
    sidecar = tmp_path / "a.json"
    write_sidecar(sidecar, "key", {"seconds": 1.5}, [sound])
    assert read_sidecar(sidecar, "key") == {"seconds": 1.5}
    assert read_sidecar(sidecar, "other") is None
    sound.write_bytes(b"noise")
    assert read_sidecar(sidecar, "key") is None
    sound.unlink()
    assert read_sidecar(sidecar, "key") is None


def test_damaged_sidecar_is_passed_over(tmp_path) -> None:
    sidecar = tmp_path / "a.json"
    write_sidecar(sidecar, "key", {})
    sidecar.write_text(sidecar.read_text()[:10])
    assert read_sidecar(sidecar, "key") is None
    assert read_sidecar(tmp_path / "absent.json", "key") is None


def test_key_follows_settings_content_and_revision(monkeypatch) -> None:
    key = item_key("slice", {"max": 12}, "abc")
    assert key == item_key("slice", {"max": 12}, "abc")
    assert key != item_key("slice", {"max": 11}, "abc")
    assert key != item_key("slice", {"max": 12}, "abd")
    monkeypatch.setitem(REVISIONS, "slice", REVISIONS["slice"] + 1)
    assert key != item_key("slice", {"max": 12}, "abc")
