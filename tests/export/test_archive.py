"""Bundles as one file: whole or refused."""

from __future__ import annotations

import json
import shutil
import stat
import zipfile
from pathlib import Path

import pytest

from voiceclone.backends.archive import LIST, pack, unpack, verify_packed
from voiceclone.backends.bundle import BUNDLE_FILE, SUMS, verify_bundle
from voiceclone.errors import DataError
from voiceclone.files import read_json, sha256_file, write_json

FILES = {"text_to_semantic.onnx": b"a" * 3000, "latent.onnx": b"b" * 10, "reference.safetensors": b"c"}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A folder that passes for a bundle: its graphs are no graphs, which nobody here looks at."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    listed = {name: {"sha256": sha256_file(folder / name), "size": len(content)} for name, content in FILES.items()}
    write_json(folder / BUNDLE_FILE, {
        "format_version": 3, "voice": "anna", "target": "onnx-fp32", "half": False, "languages": ["en"],
        "smoke_text": "Hi.", "sample_rate": 32_000, "prior_channels": 8, "end_token": 512, "prompt": False,
        "bert": False, "cache": {"layers": 1, "heads": 1, "head_width": 8}, "fingerprints": {}, "encoders": {},
        "files": listed,
    })  # fmt: skip
    (folder / SUMS).write_text(f"{sha256_file(folder / BUNDLE_FILE)}  {BUNDLE_FILE}\n")
    (folder / "card.md").write_text("# anna\n")
    return folder


def test_a_bundle_comes_back_whole(bundle: Path, tmp_path: Path) -> None:
    encoder = tmp_path / "content.onnx"
    encoder.write_bytes(b"e" * 100)
    packed, again = tmp_path / "anna.voice", tmp_path / "again.voice"
    assert pack(bundle, packed, {"content.onnx": encoder}) == pack(bundle, again, {"content.onnx": encoder}) == 7
    assert packed.read_bytes() == again.read_bytes()
    assert verify_packed(packed)["voice"] == "anna"
    unpack(packed, tmp_path / "out")
    assert verify_bundle(tmp_path / "out") == verify_bundle(bundle)
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == {*FILES, BUNDLE_FILE, SUMS, "card.md", "encoders/content.onnx"}
    with pytest.raises(DataError, match="exists already"):
        unpack(packed, tmp_path / "out")


def test_a_damaged_bundle_is_not_packed(bundle: Path, tmp_path: Path) -> None:
    (bundle / "latent.onnx").write_bytes(b"x" * 10)
    with pytest.raises(DataError, match="damaged"):
        pack(bundle, tmp_path / "anna.voice")
    assert not (tmp_path / "anna.voice").exists()


def test_no_damaged_byte_reaches_a_bundle(bundle: Path, tmp_path: Path) -> None:
    pack(bundle, tmp_path / "anna.voice")
    whole, refused = (tmp_path / "anna.voice").read_bytes(), 0
    for place in range(200, len(whole) - 1000, 97):
        data = bytearray(whole)
        data[place] ^= 1
        (tmp_path / "bad.voice").write_bytes(data)
        try:
            unpack(tmp_path / "bad.voice", tmp_path / "out")
        except DataError:
            assert not (tmp_path / "out").exists()
            refused += 1
        else:  # a byte of the zip that means nothing
            same = all((tmp_path / "out" / name).read_bytes() == content for name, content in FILES.items())
            assert same and read_json(tmp_path / "out" / BUNDLE_FILE) == read_json(bundle / BUNDLE_FILE)
            shutil.rmtree(tmp_path / "out")
    assert refused > 20
    for size in (0, 10, len(whole) // 2, len(whole) - 5):
        (tmp_path / "bad.voice").write_bytes(whole[:size])
        with pytest.raises(DataError):
            verify_packed(tmp_path / "bad.voice")


def packed_by_hand(path: Path, members: list[tuple[str, bytes, int]], sizes: dict[str, int] | None = None) -> Path:
    """A zip that no honest program wrote: its list is right but for the sizes given."""
    import hashlib

    listed = {name: {"sha256": hashlib.sha256(content).hexdigest(), "size": (sizes or {}).get(name, len(content))}
              for name, content, _ in members}  # fmt: skip
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(LIST, json.dumps({"files": listed}))
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED if name == "bomb.onnx" else zipfile.ZIP_STORED
            archive.writestr(info, content)
    return path


@pytest.mark.parametrize(
    ("name", "mode", "size"),
    [
        ("../outside.txt", 0, 4), ("/tmp/outside.txt", 0, 4), ("encoders/../../outside.txt", 0, 4), ("a/b", 0, 4),
        ("..", 0, 4), (".hidden", 0, 4), ("C:\\outside.txt", 0, 4), ("latent.onnx", stat.S_IFLNK | 0o777, 4),
        ("encoders", stat.S_IFLNK | 0o777, 4), ("fifo", stat.S_IFIFO, 4), ("latent.onnx", 0, 3), ("bomb.onnx", 0, 4),
        (LIST, 0, 4),
    ],
)  # fmt: skip
def test_what_would_do_harm_is_not_unpacked(tmp_path: Path, name: str, mode: int, size: int) -> None:
    file = packed_by_hand(tmp_path / "bad.voice", [(name, b"../x", mode)], {name: size})
    inside = tmp_path / "deep" / "inside"
    inside.mkdir(parents=True)
    with pytest.raises(DataError):
        unpack(file, inside / "out")
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    assert left == ["bad.voice", "deep", "deep/inside"]
    with pytest.raises(DataError):
        verify_packed(file)


def test_a_list_that_hides_files_is_refused(bundle: Path, tmp_path: Path) -> None:
    file = packed_by_hand(tmp_path / "bad.voice", [(BUNDLE_FILE, (bundle / BUNDLE_FILE).read_bytes(), 0)])
    with pytest.raises(DataError, match="missing from the bundle"):
        unpack(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("more.txt", "x")
    with pytest.raises(DataError, match="another size"):
        verify_packed(file)
    assert read_json(bundle / BUNDLE_FILE)["voice"] == "anna"
