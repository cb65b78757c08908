"""A recording, or a voice, is withdrawn: what was made of it goes, by content, and does not come back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from typer.testing import CliRunner

from project import Project
from voiceclone.cli import app
from voiceclone.corpus.inventory import read_inventory, take_inventory
from voiceclone.files import digest, read_json, read_tsv, sha256_file, table_columns, write_json, write_tsv
from voiceclone.lineage.rights import load_rights, record_rights
from voiceclone.lineage.withdrawal import EVERYTHING, is_withdrawn, withdrawal_of, withdrawn_from

RATE = 16000
Sound = npt.NDArray[np.float32]


def call(*arguments: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == code, done.output
    return done.output


def marker() -> Sound:
    """Noise that nothing else sounds like, 0.5 s."""
    return (0.1 * np.random.default_rng(7).standard_normal(RATE // 2)).astype(np.float32)


def sounds_like(path: Path, wanted: Sound) -> float:
    """Largest normalised correlation of a sound file, at any place, with a sound of 16 kHz."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)
    if rate != RATE:
        mono = np.interp(np.arange(0, len(mono), rate / RATE), np.arange(len(mono)), mono).astype(np.float32)
    if len(mono) < len(wanted):
        return 0.0
    size = len(mono) + len(wanted)
    found = np.fft.irfft(np.fft.rfft(mono, size) * np.conj(np.fft.rfft(wanted, size)), size)[
        : len(mono) - len(wanted) + 1
    ]
    power = np.convolve(mono**2, np.ones(len(wanted)), "valid")
    return float(np.max(np.abs(found) / np.sqrt(np.maximum(power * np.sum(wanted**2), 1e-9))))


def remains(root: Path, wanted: Sound, words: list[str]) -> Iterator[str]:
    """Files below a folder that sound like the marker, or whose bytes or name hold one of the words."""
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        data = path.read_bytes()
        if any(word.encode() in data or word in str(path.relative_to(root)) for word in words):
            yield f"{path}: names it"
        if path.suffix in (".flac", ".wav") and sounds_like(path, wanted) > 0.5:
            yield f"{path}: sounds like it"


def table(path: Path, name: str, rows: list[dict[str, object]], *more: str) -> None:
    columns = (*table_columns(name), *more)
    write_tsv(path, columns, [{**dict.fromkeys(columns, ""), **row} for row in rows])


def sound(path: Path, *parts: Sound) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.concatenate(parts), RATE)
    return sha256_file(path)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the voice anna of two recordings, one with the marker; a voice that was gathered from her corpus;
    one that was trained from that; and one that has nothing to do with her."""
    monkeypatch.setenv("VOICECLONE_CACHE", str(tmp_path / "cache"))
    root, noise = tmp_path / "project", (0.1 * np.random.default_rng(1).standard_normal(RATE)).astype(np.float32)
    folder, anna = root / "resources/speakers/anna", root / "results/anna"
    (tmp_path / "cache/references").mkdir(parents=True)
    (tmp_path / "cache/references/0.safetensors").write_bytes(b"x")
    takes = {}
    for file, parts in {"secret.wav": [marker(), noise], "plain.wav": [noise[::-1]]}.items():
        sha256 = sound(folder / file, *parts)
        takes[file] = take = f"{Path(file).stem}-{sha256[:8]}"
        utterance = f"{take}-0000000-0001000"
        for stage in ("separated", "clean"):
            sound(anna / stage / f"{take}.flac", *parts)
            write_json(anna / stage / f"{take}.json", {"record": file})
        sound(anna / "slices" / take / f"{utterance}.flac", *parts)
        (anna / "transcripts").mkdir(exist_ok=True)
        (anna / "transcripts" / f"{take}.jsonl").write_text(f"words of {file}\n")
        (anna / "features/cache/content").mkdir(parents=True, exist_ok=True)
        (anna / f"features/cache/content/{digest(take)}.safetensors").write_bytes(f"content of {file}".encode())
    rows = [{"file": file, "sha256": sha256_file(folder / file)} for file in takes]
    table(anna / "inventory.tsv", "inventory", [{**row, "size": 1} for row in rows])
    table(anna / "takes.tsv", "takes", [{**row, "take": takes[str(row["file"])], "seconds": 1} for row in rows])
    utterances = {take: f"{take}-0000000-0001000" for take in takes.values()}
    (anna / "features/manifest.tsv").write_text(
        "utterance\tkey_content\n" + "".join(f"{name}\t{digest(take)}\n" for take, name in utterances.items())
    )
    for name in ("state/gpt/abc/step-1/weights", "models/gpt.safetensors", "trained/gpt.safetensors", "report.html"):
        (anna / name).parent.mkdir(parents=True, exist_ok=True)
        (anna / name).write_bytes(b"words of secret.wav " + marker().tobytes())
    sound(anna / "eval/recordings/samples/a.flac", marker(), noise)
    group = root / "results/group"
    clips = {f"mine-{name}": name for name in utterances.values()} | {"other-x": "x"}
    for clip in clips:
        sound(
            group / "clips" / clip.split("-")[0] / f"{clip.split('-', 1)[1]}.flac",
            marker() if "secret" in clip else noise,
        )
    table(
        group / "corpus/corpus.tsv", "gathered", [{"utterance": clip, "source": clip.split("-")[0]} for clip in clips]
    )
    (group / "base_voice").mkdir()
    (group / "base_voice/gpt.safetensors").write_bytes(b"weights of the group")
    for name, made in {"base-gpt": sha256_file(group / "base_voice/gpt.safetensors"), "public": "0" * 64}.items():
        (root / "resources/models" / name).mkdir(parents=True)
        write_json(
            root / f"resources/models/{name}/asset.json", {"digest": f"d-{name}", "files": {"f": {"sha256": made}}}
        )
    for name, base in {"bert": "d-base-gpt", "carla": "d-public"}.items():
        for stage in ("models", "trained"):
            (root / "results" / name / stage).mkdir(parents=True)
            write_json(root / f"results/{name}/{stage}/gpt.json", {"components": {"base": {"gpt": base}}})
    (root / "results/report").mkdir()
    (root / "results/report/index.html").write_text("words of secret.wav")
    write_json(root / "results/config.json", {"speakers_dir": "resources/speakers"})
    return root


def test_a_recording_goes_with_all_that_was_made_of_it(root: Path) -> None:
    sha256 = sha256_file(root / "resources/speakers/anna/secret.wav")
    secret, plain = (
        ["secret.wav", f"-{sha256[:8]}"],
        f"plain-{sha256_file(root / 'resources/speakers/anna/plain.wav')[:8]}",
    )
    assert len(list(remains(root / "results", marker(), secret))) > 10
    listed = call("withdraw", "anna", "secret.wav", "--root", root)
    assert "voices that it went into: bert, group" in listed and "nothing was deleted" in listed
    before = sorted(root.rglob("*"))
    assert "carla" not in listed and before == sorted(root.rglob("*"))
    call("withdraw", "anna", f"secret-{sha256[:8]}", "--root", root, "--delete")
    assert list(remains(root / "results", marker(), secret)) == []
    anna = root / "results/anna"
    kept = [f"separated/{plain}.flac", f"clean/{plain}.json", f"slices/{plain}/{plain}-0000000-0001000.flac",
            f"features/cache/content/{digest(plain)}.safetensors"]  # fmt: skip
    assert all((anna / name).is_file() for name in kept) and not (anna / "models").exists()
    assert (root / "results/group/clips/other/x.flac").is_file() and not (root / "results/group/base_voice").exists()
    assert not (root / "results/bert/models").exists() and (root / "results/carla/models/gpt.json").is_file()
    assert not (root.parent / "cache/references").exists() and not (root / "results/report").exists()


def test_a_withdrawn_recording_is_refused_from_then_on(root: Path) -> None:
    folder, inventory = root / "resources/speakers/anna", root / "results/anna/inventory.tsv"
    call("withdraw", "anna", "secret.wav", "--root", root, "--delete")
    shutil.copy(folder / "secret.wav", folder / "renamed.wav")
    take_inventory(folder, inventory, withdrawn_from(root, "anna"))
    refused = {entry.file: entry.rejection and entry.rejection.reason for entry in read_inventory(inventory)}
    assert refused == {"secret.wav": "withdrawn", "renamed.wav": "withdrawn", "plain.wav": None}
    assert is_withdrawn(root, folder / "renamed.wav") and not is_withdrawn(root, folder / "plain.wav")


def test_a_voice_goes_as_a_whole(root: Path) -> None:
    folder = root / "resources/speakers/anna"
    listed = call("withdraw", "anna", "--root", root, "--delete")
    assert not (root / "results/anna").exists() and "bert, group" in listed
    assert list(remains(root / "results", marker(), ["secret.wav", "plain.wav"])) == []
    assert EVERYTHING in withdrawn_from(root, "anna") and EVERYTHING not in withdrawn_from(root, "carla")
    sound(folder / "new.wav", marker())
    take_inventory(folder, root / "results/anna/inventory.tsv", withdrawn_from(root, "anna"))
    assert all(entry.rejection for entry in read_inventory(root / "results/anna/inventory.tsv"))
    record_rights(folder, root / "rights.json", withdrawn_from(root, "anna"))
    with pytest.raises(Exception, match="this voice is withdrawn"):
        load_rights(root / "rights.json")
    call("withdraw", "anna", "--root", root, "--delete")  # again: nothing is left, and that is no error


def test_what_is_not_there_is_named(root: Path) -> None:
    assert "expected one of: plain.wav, secret.wav" in call("withdraw", "anna", "gone.wav", "--root", root, code=1)
    assert "no such voice" in call("withdraw", "nobody", "--root", root, code=1)
    assert withdrawal_of(root, "anna").whole


@pytest.mark.timeout(1800)
@pytest.mark.slow
def test_no_byte_of_a_take_is_left_of_a_whole_run(
    demo: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The take, its words and its name are looked for by content in all that the workflow made."""
    monkeypatch.setenv("VOICECLONE_CACHE", str(tmp_path / "cache"))
    project = demo.copy(tmp_path / "project")
    take = next(row for row in read_tsv(project.results / "demo/takes.tsv") if row["file"].startswith("01"))
    rows = [row for row in read_tsv(project.results / "demo/corpus/corpus.tsv") if row["take"] == take["take"]]
    longest = max(rows, key=lambda row: float(row["seconds"]))
    samples, rate = soundfile.read(project.results / "demo" / longest["path"], dtype="float32")
    at = np.arange(len(samples) // 4, len(samples) // 4 + rate, rate / RATE)
    wanted = np.interp(at, np.arange(len(samples)), samples).astype(np.float32)
    words = [take["take"], take["sha256"], longest["text"][:40]]
    assert len(list(remains(project.results, wanted, words))) > 20
    call("withdraw", "demo", take["file"], "--root", project.root, "--delete")
    assert list(remains(project.results, wanted, words)) == []
    others = [row["take"] for row in read_tsv(demo.results / "demo/takes.tsv") if row["take"] != take["take"]]
    assert all((project.results / f"demo/clean/{name}.flac").is_file() for name in others)
    project.run("results/demo/corpus/corpus.tsv")
    assert {row["reason"] for row in read_tsv(project.results / "demo/rejected.tsv")} == {"withdrawn"}
    assert not [row for row in read_tsv(project.results / "demo/corpus/corpus.tsv") if row["take"] == take["take"]]
    assert read_json(project.results / "demo/rights.json")["consent"]["scope"] == "release"
