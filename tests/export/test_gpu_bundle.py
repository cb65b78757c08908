"""What tests/gpu/base.sh carries to a bare machine comes out there as the trainings read it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from voiceclone.assets import open_asset
from voiceclone.base.pack import FILES
from voiceclone.features.store import Entry, open_store, write_store
from voiceclone.files import read_tsv, write_json, write_tsv

TOOL = Path(__file__).resolve().parents[1] / "gpu" / "base.py"
FRAMES = 100


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("gpu_base", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_base"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Six utterances of a teacher and of a person, as features have them."""
    folder, random = tmp_path / "results" / "base", np.random.default_rng(0)
    features, names = folder / "features", [f"{source}-{n}" for source in ("hibari", "set") for n in range(3)]
    tone = np.sin(2 * np.pi * 220 * np.arange(FRAMES * 640) / 32000)
    made = {
        "phones": ("int64", lambda: random.integers(0, 732, 9)),
        "semantic": ("int64", lambda: random.integers(0, 16, FRAMES // 2)),
        "align": ("int16", lambda: np.sort(random.integers(0, 9, FRAMES // 2))),
        "speaker": ("float32", lambda: random.standard_normal(192)),
        "pitch": ("float32", lambda: np.full(2 * FRAMES, 220.0)),
        "audio": ("int16", lambda: np.round(8000 * tone * random.uniform(0.5, 1))),
    }
    for kind, (dtype, make) in made.items():
        arrays = {name: np.asarray(make()).astype(dtype) for name in names}
        entries = {name: Entry(value.shape, lambda value=value: value) for name, value in arrays.items()}
        write_store(features / f"{kind}.safetensors", dtype, entries, {})
    columns = ("utterance", "split", "seconds", "frames", "speaker", "source", "bandwidth", "weight", "use")
    values = [
        (name, "train", FRAMES / 50, FRAMES, "anna", name.split("-")[0], 8000, 1.0, "gpt sovits") for name in names
    ]
    write_tsv(features / "manifest.tsv", columns, [dict(zip(columns, row, strict=True)) for row in values])
    write_tsv(folder / "corpus" / "licences.tsv", ("source", "kind"), [{"source": "hibari", "kind": "teacher"}])
    (folder / "models").mkdir()
    (folder / "models" / "alignment.safetensors").write_bytes(b"table")
    write_json(tmp_path / "config.json", {"gpt": {"small": {}}, "sovits": {}})
    return folder


def carried(tool, results: Path, base: Path, megabytes: float) -> Path:
    tool.pack(results, base, results.parent / "carried", megabytes, results.parents[1] / "config.json")
    return results.parent / "carried"


def test_what_is_carried_comes_back(tool, results, packed, tmp_path) -> None:
    features = tool.unpack(carried(tool, results, packed, 20.0), tmp_path / "there")
    for kind in ("phones", "semantic", "align"):
        before, after = (open_store(at / f"{kind}.safetensors") for at in (results / "features", features))
        assert sorted(before) == sorted(after)
        assert all(
            np.array_equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before
        )
    assert open_store(features / "semantic.safetensors").metadata["codes"] == "16"
    for kind in ("speaker", "pitch"):
        before, after = (open_store(at / f"{kind}.safetensors") for at in (results / "features", features))
        assert all(np.allclose(before[name], after[name], rtol=1e-3, atol=1e-3) for name in before)
    before, after = (open_store(at / "audio.safetensors") for at in (results / "features", features))
    for name in before:
        first, second = np.asarray(before[name], float), np.asarray(after[name], float)
        assert first.shape == second.shape
        middle = slice(4000, -4000)
        assert np.corrcoef(first[middle], second[middle])[0, 1] > 0.95
    for asset, file in FILES.items():
        assert open_asset(tmp_path / "there" / "models" / asset / "asset.json", verify=True).file(file).is_file()


def test_where_room_is_short_sound_is_left_out_and_its_text_stays(tool, results, packed, tmp_path) -> None:
    whole = carried(tool, results, packed, 20.0)
    sizes = {path.name: path.stat().st_size for path in whole.iterdir()}
    fixed = sum(size for name, size in sizes.items() if not name.startswith(("sound", "spoken")))
    folder = carried(tool, results, packed, (fixed + 0.7 * sizes["sound.bin"] / 0.9) / 1e6)
    assert sum(path.stat().st_size for path in folder.iterdir()) <= fixed + sizes["sound.bin"] + sizes["spoken.npz"]
    rows = {row["utterance"]: row["use"] for row in read_tsv(folder / "manifest.tsv")}
    assert len(rows) == 6 and 0 < list(rows.values()).count("gpt") < 6
    features = tool.unpack(folder, tmp_path / "there")
    sounding = {name for name, use in rows.items() if use == "gpt sovits"}
    assert set(open_store(features / "audio.safetensors")) == sounding
    assert any(name.startswith("set-") for name in sounding), "real speech goes first"
