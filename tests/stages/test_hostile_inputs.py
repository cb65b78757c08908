"""What people hand in, in its worst form: every command and stage answers with one message, never with a traceback."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from voiceclone.cli import app
from voiceclone.config.load import load_config
from voiceclone.corpus.corrections import read_corrections
from voiceclone.corpus.inventory import take_inventory
from voiceclone.corpus.listfile import read_list
from voiceclone.corpus.takes import ingest
from voiceclone.errors import VoiceCloneError
from voiceclone.evaluation.sentences import read_sentences
from voiceclone.files import check_speaker, read_tsv
from voiceclone.lineage.rights import read_rights
from voiceclone.sound.channels import read_voice
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
    "batch": ["--table={}", "--output-dir={}", "--bundle={}"],
    "batch ": ["--table=jobs.tsv", "--output-dir=out", "--models={}"],
    "stream": ["--text=Hi.", "--bundle={}"],
    "stream ": ["--text-file={}", "--models={}"],
    "state": ["{}", "--clear={}"],
    "gc": ["{}", "--results={}"],
    "import": ["--gpt={}", "--sovits={}", "--output=out"],
    "export-upstream": ["--models={}", "--output=out"],
    "assets list": ["--root={}"],
    "assets fetch": ["{}", "--offline"],
    "assets verify": ["{}"],
    "bundle verify": ["{}"],
    "bundle build": ["{}"],
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
