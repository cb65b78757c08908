"""The per-item cache: same content is not made again, anything else is."""

from __future__ import annotations

from voiceclone.lineage.items import ItemCache, item_key, read_sidecar, write_sidecar
from voiceclone.lineage.revisions import revisions


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
    monkeypatch.setitem(revisions(), "slice", "another")
    assert key != item_key("slice", {"max": 12}, "abc")


def test_items_are_made_once_and_deleted_when_they_are_gone(tmp_path) -> None:
    def run(**inputs: str) -> tuple[list[str], str]:
        cache, made = ItemCache("slice", {"max": 12}, tmp_path), []
        for name, content in inputs.items():
            sound = tmp_path / f"{name}.flac"

            def make(name: str = name, sound=sound, content: str = content) -> dict[str, str]:
                made.append(name)
                sound.write_text(content)
                return {"heard": content}

            assert cache.get(name, (content,), make, [sound]) == {"heard": content}
        (tmp_path / "a").mkdir(exist_ok=True)
        cache.prune(inputs)
        return made, cache.summary()

    (tmp_path / "manifest.tsv").touch()
    assert run(a="x", b="y") == (["a", "b"], "2 made, 0 from cache")
    assert read_sidecar(tmp_path / "a.json", item_key("slice", {"max": 12}, "x")) == {"heard": "x"}
    assert run(a="x", b="z") == (["b"], "1 made, 1 from cache")
    (tmp_path / "b.flac").write_text("damaged")
    assert run(b="z") == (["b"], "1 made, 0 from cache")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.flac", "b.json", "manifest.tsv"]
