"""What people hand in, in its worst form: every command and stage answers with one message, never with a traceback."""

from __future__ import annotations

import gzip
import os
import pickle
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import typer
from typer.testing import CliRunner

from voiceclone.assets import fetch
from voiceclone.backends.bundle import read_reference
from voiceclone.cli import app
from voiceclone.config.load import load_config
from voiceclone.corpus import layouts
from voiceclone.corpus.corrections import read_corrections
from voiceclone.corpus.inventory import take_inventory
from voiceclone.corpus.listfile import read_list
from voiceclone.corpus.takes import ingest
from voiceclone.errors import VoiceCloneError
from voiceclone.evaluation.sentences import read_sentences
from voiceclone.features.store import open_store
from voiceclone.files import check_speaker, read_tsv
from voiceclone.lineage.rights import read_rights
from voiceclone.models.packed import read_packed
from voiceclone.models.public_files import read_public
from voiceclone.sound.channels import read_voice
from voiceclone.sound.io import _probe_with_ffmpeg, read_audio
from voiceclone.speaking.batch import Defaults, read_jobs
from voiceclone.stages.takes import TakesSettings
from voiceclone.text.lexicon import read_lexicon

UTTERANCE = "a-0000490-0003090"
BROKEN = b"word\tphones\n\xff\xfe\x81\x8d\xfd\n"
NUL = b"utterance\taction\tvalue\n\0\0\0\n"
UTF16 = "a.wav|x|EN|Hé".encode("utf-16")[:-1]  # ends in the middle of a character

#: Readers of files: name of the file, its bytes (None: there is none), who reads it.
FILES: list[tuple[str, bytes | None, Callable[[Path], object]]] = [
    ("a.list", BROKEN, read_list),
    ("a.list", UTF16, read_list),
    ("a.list", b"only one field", read_list),
    ("a.list", b"a.wav|x|EN|", read_list),
    ("a.list", b"a.wav|x|Klingon|Hi.", read_list),
    ("a.list", b"\0" * 100, read_list),
    ("a.list", None, read_list),
    ("anna.tsv", BROKEN, read_corrections),
    ("anna.tsv", NUL, read_corrections),
    ("anna.tsv", b"utterance,action,value\n", read_corrections),
    ("anna.tsv", f"utterance\taction\tvalue\n{UTTERANCE}\tshout\tx\n".encode(), read_corrections),
    ("anna.tsv", b"utterance\taction\tvalue\n../../x\ttext\ty\n", read_corrections),
    ("anna.tsv", f"utterance\taction\tvalue\n{UTTERANCE}\ttext\t\n".encode(), read_corrections),
    ("anna.tsv", f"utterance\taction\tvalue\n{UTTERANCE}\ta\tb\tc\td\te\n".encode(), read_corrections),
    ("en.tsv", BROKEN, lambda path: read_lexicon([path])),
    ("en.tsv", b"word\n", lambda path: read_lexicon([path])),
    ("en.tsv", b"word\tphones\nGIF\tXX\n", lambda path: read_lexicon([path])),
    ("en.tsv", b"word\tphones\nGIF\ta\tb\tc\n", lambda path: read_lexicon([path])),
    ("klingon.tsv", b"word\tphones\n", lambda path: read_lexicon([path])),
    ("jobs.tsv", BROKEN, lambda path: read_jobs(path, Defaults())),
    ("jobs.tsv", b"", lambda path: read_jobs(path, Defaults())),
    ("jobs.tsv", b"a\tb\nc\td\n", lambda path: read_jobs(path, Defaults())),
    ("jobs.tsv", None, lambda path: read_jobs(path, Defaults())),
    ("en.txt", BROKEN, read_sentences),
    ("en.txt", b"no tab here\n", read_sentences),
    ("en.txt", b"a/b\ttext\n", read_sentences),
    ("consent.yaml", BROKEN, lambda path: read_rights(path.parent)),
    ("consent.yaml", NUL, lambda path: read_rights(path.parent)),
    ("consent.yaml", b"evidence: ../../../etc/passwd\nmyself: true\n", lambda path: read_rights(path.parent)),
    ("consent.yaml", b"myself: !!python/object/apply:os.system ['x']\n", lambda path: read_rights(path.parent)),
    ("LICENSE", BROKEN, lambda path: read_rights(path.parent)),
    ("config.yaml", b"slice: {max_seconds: [", lambda path: load_config(file=path)),
    ("config.yaml", b"\xff\xfe\x81", lambda path: load_config(file=path)),
    ("config.yaml", b"- a list\n", lambda path: load_config(file=path)),
    ("config.yaml", b"speakers_dir: 7\nslize: 3\n", lambda path: load_config(file=path)),
    ("config.yaml", None, lambda path: load_config(file=path)),
    ("clip.wav", b"RIFF\xff\xff\xff\xffWAVE", lambda path: read_voice(path, 32000)),
    ("clip.wav", b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0data\0\0\0\0abcd",
     lambda path: read_voice(path, 32000)),
    ("clip.mp3", bytes(range(256)) * 20, lambda path: read_voice(path, 32000)),
    ("clip.m4a", b"\0\0\0\x20ftypM4A \0\0\0\0", lambda path: read_voice(path, 32000)),
    ("$(touch x).tsv", b"a\tb\tc\n1\n", read_tsv),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "data", "read"), FILES, ids=[f"{row[0]}-{number}" for number, row in enumerate(FILES)]
)
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: bytes | None, read: Callable[[Path], object]
) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(VoiceCloneError) as caught:
        read(path)
    message = str(caught.value)
    told = name in message or any(key in message for key in ("speakers_dir", "slize"))
    assert told, message
    assert "Traceback" not in message and "codec can't decode" not in message


@pytest.mark.parametrize("name", ["", "..", "a/b", "Anna", "it's", "{a}", "-rf", "a b", "é", "\n", "$(touch x)"])
def test_names_of_speakers(name: str) -> None:
    with pytest.raises(VoiceCloneError, match="rename"):
        check_speaker(name)


COMMANDS = [
    ["list", "import", "absent.list", "--speaker", "anna"],
    ["list", "import", "broken.list", "--speaker", "Anna Müller"],
    ["list", "export", "../anna", "-o", "x.list"],
    ["corrections", "check", "it's"],
    ["corrections", "merge", "anna", "broken.list"],
    ["corrections", "merge", "anna", "absent.tsv"],
    ["say", "--text-file", "absent.txt", "-o", "x.wav", "--bundle", "absent"],
    ["say", "--text-file", "broken.list", "-o", "x.wav", "--bundle", "absent"],
    ["say", "--text", "Hi.", "-o", "x.exe", "--bundle", "absent"],
    ["say", "--text", "Hi.", "-o", "x.wav", "--bundle", "broken.list"],
    ["say", "--text", "Hi.", "-o", "x.wav"],
    ["batch", "--table", "broken.list", "-o", "out", "--bundle", "absent"],
    ["bundle", "verify", "absent"],
    ["preflight", "--config", "broken.list"],
    ["preflight", "--set", "slice.max_seconds"],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_commands_end_with_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    shutil.copytree(Path(__file__).resolve().parents[2] / "config", tmp_path / "config")
    for name in ("corpus/corpus.tsv", "corpus/rejected.tsv"):
        (tmp_path / "results" / "anna" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "results" / "anna" / name).write_text("utterance\ttext\tlanguage\n")
    (tmp_path / "broken.list").write_bytes(BROKEN)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code != 0
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.output.strip() and "Traceback" not in done.output


#: Parameters that name files and folders, or what is looked up in them, by command; the rest has defaults.
PLACES: dict[str, list[str]] = {
    "preflight": ["--config={}"],
    "say": ["--text=Hi.", "--output=x.wav", "--bundle={}"],
    "say ": ["--text-file={}", "--output=x.wav", "--bundle=absent"],
    "say  ": ["--text=Hi.", "--output={}", "--models={}", "--reference={}"],
    "say   ": ["--text=Hi.", "--output=x.wav", "--certificate={}", "--certificate-key={}", "--bundle=absent"],
    "batch": ["--table={}", "--output-dir={}", "--bundle={}"],
    "batch ": ["--table=jobs.tsv", "--output-dir=out", "--models={}"],
    "stream": ["--text=Hi.", "--bundle={}"],
    "stream ": ["--text-file={}", "--models={}"],
    "state": ["{}", "--clear={}"],
    "gc": ["{}", "--results={}"],
    "import": ["--gpt={}", "--sovits={}", "--output=out"],
    "import ": ["--gpt=broken.list", "--sovits=broken.list", "--speaker={}", "--licence={}"],
    "export-upstream": ["--models={}", "--output=out"],
    "assets list": ["--root={}"],
    "assets fetch": ["{}", "--offline"],
    "assets verify": ["{}"],
    "bundle verify": ["{}"],
    "bundle build": ["{}"],
    "bundle pack": ["{}", "--output=packed.voice", "--encoders={}"],
    "bundle unpack": ["{}", "--output=unpacked"],
    "bundle unpack ": ["broken.list", "--output={}"],
    "read": ["{}", "--output-dir=out", "--bundle=absent"],
    "read ": ["jobs.tsv", "--output-dir={}", "--bundle={}"],
    "say    ": ["--text=Hi.", "--output=x.wav", "--bundle=absent", "--timestamps={}"],
    "corrections check": ["{}"],
    "corrections merge": ["anna", "{}"],
    "list import": ["{}", "--speaker=anna"],
    "list import ": ["broken.list", "--speaker={}"],
    "list export": ["{}", "--output={}"],
    "compare": ["{}", "jobs.tsv"],
    "compare ": ["jobs.tsv", "{}", "--html={}"],
    "listening-test": ["{}", "--output=out", "--key=key.json"],
    "listening-test ": ["{}", "--collect", "--key={}"],
    "listening-test  ": ["answers.json", "--collect", "--key=answers.json"],
    "verify": ["{}", "--voices={}"],
    "consent": ["{}", "--speakers-dir={}", "--myself"],
    "consent ": ["folder", "--speakers-dir=.", "--who=A", "--purpose=x", "--evidence={}", "--expires={}"],
    "withdraw": ["{}", "{}"],
    "explain": ["{}"],
    "explain ": ["anna", "{}"],
    "diagnose": ["{}", "--output=problem.zip"],
    "prompts": ["{}", "--output=out.txt", "--results={}"],
    "prompts ": ["anna", "--output={}", "--texts={}"],
    "serve": ["--voices={}"],
    "serve ": ["{}", "--keys={}", "--tls-cert={}", "--tls-key={}"],
    "keys add": ["{}", "--keys={}"],
    "keys list": ["--keys={}"],
    "keys revoke": ["{}", "--keys={}"],
    "studio": ["--no-browser", "--root={}"],
    "review": ["{}", "--no-browser"],
    "review ": ["{}", "--no-browser", "--results={}", "--corrections={}"],
    "base pack": ["--states={}", "--output=out"],
    "base gates": ["{}"],
    "base install": ["{}"],
}
WORST = {
    "absent": "absent", "nothing": "", "folder": "folder", "broken": "broken.list", "no bytes": "empty.wav",
    "loop": "loop.wav", "outside": "outside.wav", "too long": "x" * 5000, "shell": "$(touch executed).list",
    "up": "../../..", "no text": "caf\udce9.wav", "blanks": "  ", "closed": "closed.wav",
}  # fmt: skip


@pytest.fixture(scope="module")
def worst_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which every value of ``WORST`` is what its name says."""
    folder = tmp_path_factory.mktemp("worst") / "a" / "b" / "c"
    shutil.copytree(Path(__file__).resolve().parents[2] / "config", folder / "config")
    (folder / "folder").mkdir()
    for name in ("broken.list", "$(touch executed).list"):
        (folder / name).write_bytes(BROKEN)
    (folder / "jobs.tsv").write_text("name\ttext\tseed\nfine\tHi.\t99999999999999999999999\n")
    (folder / "answers.json").write_text('{"test": 1, "listener": [], "answers": {"t": {"a": "b"}}}')
    (folder / "empty.wav").touch()
    (folder / "loop.wav").symlink_to("loop.wav")
    (folder.parent / "elsewhere").write_bytes(b"\x00" * 100)
    (folder / "outside.wav").symlink_to("../elsewhere")
    (folder / "closed.wav").touch(mode=0)
    return folder


@pytest.mark.parametrize("value", WORST, ids=str)
@pytest.mark.parametrize("command", PLACES, ids=str)
def test_every_command_with_the_worst_values(
    worst_folder: Path, monkeypatch: pytest.MonkeyPatch, command: str, value: str
) -> None:
    monkeypatch.chdir(worst_folder)
    options = [option.format(WORST[value]) for option in PLACES[command]]
    done = CliRunner().invoke(app, [*command.split(), *options])
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    assert done.exit_code == 0 or done.output.strip()
    assert "Traceback" not in done.output
    assert not list(worst_folder.parents[2].rglob("executed"))


def test_every_command_has_its_row() -> None:
    def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
        for name, child in getattr(command, "commands", {}).items():
            yield from leaves(child, (*path, name))
        if path and not hasattr(command, "commands"):
            yield " ".join(path)

    assert set(leaves(typer.main.get_command(app))) == {command.strip() for command in PLACES}


@pytest.mark.parametrize(
    "option",
    [
        "--seed=99999999999999999999999", "--seed=-1", "--speed=nan", "--speed=1e400", "--speed=0", "--top-k=-5",
        "--top-k=99999999999999999999", "--top-p=7", "--temperature=-1", "--temperature=nan", "--pause-seconds=inf",
        "--pause-seconds=1e9", "--attempts=0", "--attempts=99999999999", "--threads=0", "--threads=-3",
        "--repetition-penalty=0", "--noise-scale=-1", "--split=cut9", "--language=klingon", "--detector=x",
        "--detector=loop_share=nan", "--device=tpu", "--precision=fp4", "--engine=steam", "--pitch=1e9",
        "--pitch-range=nan", "--guidance=-1", "--check=ears",
    ],
)  # fmt: skip
def test_numbers_and_names_out_of_range(worst_folder: Path, monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    monkeypatch.chdir(worst_folder)
    done = CliRunner().invoke(app, ["say", "--text=Hi.", "--output=x.wav", "--bundle=folder", option])
    assert done.exit_code != 0 and done.output.strip()
    assert isinstance(done.exception, SystemExit) and "Traceback" not in done.output, repr(done.exception)


def test_a_folder_of_everything_ends_in_two_tables(tmp_path: Path) -> None:
    folder = tmp_path / "anna"
    folder.mkdir()
    voice = 0.1 * np.random.default_rng(0).standard_normal(32000)
    soundfile.write(folder / "good.wav", voice, 16000)
    (folder / "zero.wav").write_bytes(b"")
    (folder / "headless.wav").write_bytes(b"RIFF\0\0\0\0WAVEdata\0\0\0\0" + bytes(range(256)) * 40)
    (folder / "loop.wav").symlink_to(folder / "loop.wav")
    (folder / "line\nbreak {x} $(touch y).wav").write_bytes(b"RIFF")
    (folder / os.fsdecode(b"\xff\xfe.wav")).write_bytes(b"RIFF")
    (folder / ("x" * 240 + ".wav")).write_bytes(b"\0" * 5000)
    (folder / "folder.wav").mkdir()
    os.mkfifo(folder / "pipe.wav")
    take_inventory(folder, tmp_path / "inventory.tsv")
    ingest(
        folder, tmp_path / "takes.tsv", tmp_path / "rejected.tsv", TakesSettings(),
        inventory=tmp_path / "inventory.tsv",
    )  # fmt: skip
    assert [row["file"] for row in read_tsv(tmp_path / "takes.tsv")] == ["good.wav"]
    assert len(read_tsv(tmp_path / "rejected.tsv")) == 7


class Bomb:
    """An object whose pickle runs a command when it is read carelessly."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch executed",)


@pytest.mark.parametrize("place", ["weight", "config", "info", "alone"])
@pytest.mark.parametrize("name", ["voice.ckpt", "voice.pth"])
def test_a_pickle_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, place: str) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"weight": {"a": torch.zeros(1)}, "config": {}, "info": ""}
    torch.save(Bomb() if place == "alone" else content | {place: Bomb()}, tmp_path / name)
    with pytest.raises(VoiceCloneError, match="cannot be read safely"):
        read_public(tmp_path / name)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(VoiceCloneError, match="not a file of public weights"):
        read_public(tmp_path / "plain.pth")
    assert not (tmp_path / "executed").exists()


def test_small_weights_that_grow_are_refused(tmp_path: Path) -> None:
    torch.save({"weight": {"a": torch.zeros(1).expand(1 << 40)}}, tmp_path / "one.pth")
    with pytest.raises(VoiceCloneError, match="would take"):
        read_public(tmp_path / "one.pth")
    with zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(10**6))
    with pytest.raises(VoiceCloneError, match="compressed"):
        read_public(tmp_path / "packed.pth")


def test_archives_that_grow_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_UNPACKED_LIMIT", 10**6)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.bin", bytes(2 * 10**6))
    with pytest.raises(fetch.UnavailableError, match="unpacks to more"):
        fetch.unpack(tmp_path / "a.zip", tmp_path)
    monkeypatch.setattr(layouts, "LONGEST_FILE", 10**6)
    (tmp_path / "cuts.jsonl.gz").write_bytes(gzip.compress(b'{"a": "' + bytes(2 * 10**6)))
    with pytest.raises(VoiceCloneError, match="MB of text"):
        list(layouts.read_lhotse(tmp_path / "cuts.jsonl.gz"))
    assert not (tmp_path / "a.bin").exists()


@pytest.mark.parametrize("length", [1 << 62, 1 << 40, 200_000_000, 9])
def test_a_header_longer_than_its_file_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "reference.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + b'{"a": {}}'[: length - 1])
    for read in (read_reference, open_store, lambda path: read_packed(path, "gpt")):
        with pytest.raises(VoiceCloneError, match=re.escape("reference.safetensors: cannot be read")):
            read(path)


def huge_picture() -> bytes:
    """A PNG of a kilobyte that says it is 100,000 by 100,000 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    size = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    )


def test_pictures_are_never_decoded(tmp_path: Path) -> None:
    (tmp_path / "picture.wav").write_bytes(huge_picture())
    with pytest.raises(VoiceCloneError, match="cannot be decoded"):
        read_audio(tmp_path / "picture.wav")
    soundfile.write(tmp_path / "plain.mp3", np.zeros(16_000), 16_000)
    cover = b"\0image/png\0\x03\0" + huge_picture()
    frame = b"APIC" + struct.pack(">I", len(cover)) + b"\0\0" + cover
    size = bytes((len(frame) >> shift) & 127 for shift in (21, 14, 7, 0))
    (tmp_path / "cover.mp3").write_bytes(b"ID3\x03\0\0" + size + frame + (tmp_path / "plain.mp3").read_bytes())
    plain, rate = read_audio(tmp_path / "plain.mp3")
    covered, same = read_audio(tmp_path / "cover.mp3")
    assert np.array_equal(plain, covered) and rate == same
    assert _probe_with_ffmpeg(tmp_path / "cover.mp3").codec == "mp3"  # the other reader looks at sound alone too
