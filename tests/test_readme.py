"""Every command of README and manual works as written, every link leads somewhere, and no command is left out.

Commands in fenced ``bash`` blocks are parsed. ``snakemake`` is planned (``-n``) in a project of its own, ``make`` goes
through ``make -n``, and ``voiceclone`` through the parser of its command.
"""

from __future__ import annotations

import ast
import itertools
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer
from typer._click.exceptions import MissingParameter, UsageError
from typer.testing import CliRunner

from voiceclone.cli import app

REPOSITORY = Path(__file__).resolve().parents[1]
LIBRARY = REPOSITORY / "workflow" / "voiceclone"
README, KEYS = REPOSITORY / "README.md", REPOSITORY / "config" / "README.md"
MANUAL = sorted((REPOSITORY / "docs").glob("*.md"))
PAGES = [README, KEYS, *MANUAL]
DEVELOPERS = "code.md"
#: Programs of other people, as a shell has them.
OTHERS = {"aplay", "apptainer", "cp", "docker", "mkdir", "tensorboard", "torchrun"}


def blocks(page: Path, kind: str = "bash") -> Iterator[str]:
    yield from re.findall(rf"^```{kind}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> Iterator[list[str]]:
    """Commands of a page's ``bash`` blocks as lists of words; both sides of a pipe by themselves."""
    for block in blocks(page):
        for line in block.replace("\\\n", " ").splitlines():
            words: list[str] = []
            for word in [*shlex.split(line, comments=True), "|"]:
                if word != "|":
                    words.append(word)
                elif words:
                    yield words
                    words = []


ALL = [(page.name, words) for page in PAGES for words in commands(page)]


def of(program: str) -> list[tuple[str, list[str]]]:
    """Pages and arguments of each different command of a program."""
    found = {tuple(words[1:]): name for name, words in ALL if Path(words[0]).name == program}
    return [(name, list(arguments)) for arguments, name in found.items()]


def id_of(value: Any) -> str:
    return " ".join(value)[:60] if isinstance(value, list) else str(value)


def leaves(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Commands without subcommands, with their names."""
    if not hasattr(command, "commands"):
        yield name, command
    for child, inner in getattr(command, "commands", {}).items():
        yield from leaves(inner, f"{name} {child}".strip())


COMMANDS = dict(leaves(typer.main.get_command(app)))


def parse(arguments: list[str]) -> str:
    """The command that arguments are of, after its own parser has taken them.

    Raises:
        a usage error where the command would refuse them.
    """
    name = next((" ".join(arguments[:n]) for n in (2, 1) if " ".join(arguments[:n]) in COMMANDS), "")
    assert name, f"no such command: voiceclone {' '.join(arguments)}"
    COMMANDS[name].make_context(name, list(arguments[len(name.split()) :]))
    return name


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_is_of_a_known_program() -> None:
    programs = {Path(words[0]).name for _, words in ALL}
    assert programs <= {"snakemake", "voiceclone", "make", "python", *OTHERS}
    assert len(ALL) > 40
    for name in programs & {"snakemake", "voiceclone", "python", "tensorboard"}:
        assert (REPOSITORY / ".venv" / "bin" / name).is_file() or shutil.which(name)
    for _, words in ALL:
        if Path(words[0]).name in {"snakemake", "voiceclone", "python"}:
            assert words[0].startswith(".venv/bin/")


@pytest.mark.parametrize(("page", "arguments"), of("voiceclone"), ids=id_of)
def test_voiceclone(page: str, arguments: list[str], folder: Path) -> None:
    for word in arguments:  # what a command wants to find
        if re.fullmatch(r"[\w-]+\.\w+", word):
            (folder / word).touch()
        elif "/" in word:
            (folder / word).mkdir(parents=True)
    name = parse(arguments)
    done = CliRunner().invoke(app, [*name.split(), "--help"])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    "line",
    [
        "say --bundel a",
        "say -o a.wav --seed x",
        "say --text hello",
        "list imports a",
        "gc anna b",
        "say -o a --device tpu",
    ],
)
def test_wrong_commands_are_refused(line: str) -> None:
    """The parser of this test itself."""
    with pytest.raises((AssertionError, UsageError)):
        parse(shlex.split(line))


@pytest.mark.parametrize(("page", "arguments"), of("make"), ids=id_of)
def test_make(page: str, arguments: list[str]) -> None:
    subprocess.run(["make", "-n", *arguments], cwd=REPOSITORY, check=True, capture_output=True)


@pytest.mark.parametrize(("page", "arguments"), of("python"), ids=id_of)
def test_python(page: str, arguments: list[str]) -> None:
    assert page == DEVELOPERS
    files = [word for word in arguments if word.endswith(".py")]
    assert files and all((REPOSITORY / file).is_file() for file in files)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with two folders of speakers, code and configuration linked."""
    root = tmp_path_factory.mktemp("project")
    for name in ("Snakefile", "workflow", "scripts", "profiles", "resources"):
        (root / name).symlink_to(REPOSITORY / name)
    (root / "resources").unlink()
    (root / "resources").mkdir()
    for path in (REPOSITORY / "resources").iterdir():
        if path.name != "speakers":
            (root / "resources" / path.name).symlink_to(path)
    shutil.copytree(REPOSITORY / "config", root / "config")
    (root / "my.yaml").write_text("slice: {max_seconds: 10}\n")
    noise = np.random.default_rng(0).normal(0, 0.1, 48000)
    for folder in (root / "voices", root / "resources" / "speakers"):
        (folder / "anna").mkdir(parents=True)
        soundfile.write(folder / "anna" / "one.wav", noise, 16000)
    return root


def plan(project: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Plan a run, each in a copy of the project: they would lock it, and write its settings."""
    root = project.with_name(f"plan-{abs(hash(tuple(arguments)))}")
    shutil.copytree(project, root, symlinks=True)
    command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "all", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_snakemake(project: Path) -> None:
    wanted = [arguments for _, arguments in of("snakemake")]
    assert len(wanted) >= 6
    wrong = ["--cors", "all"], ["--cores", "all", "--config", "slize={}"]
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda arguments: plan(project, arguments), [*wanted, *wrong]))
    for arguments, run in zip([*wanted, *wrong], done, strict=True):
        assert bool(run.returncode) == (arguments in wrong), f"{arguments}: {run.stdout[-2000:]}{run.stderr[-2000:]}"


def test_commands_within_sentences() -> None:
    """``voiceclone …`` and ``make …`` in backticks: command, options and targets exist."""
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    seen = 0
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for code in re.findall(r"`((?:voiceclone|make) [^`]+)`", text):
            program, *words = shlex.split(code.replace("\n", " ").replace("…", ""))
            seen += 1
            if program == "make":
                assert {word for word in words if "=" not in word and not word.startswith("-")} <= targets, code
            elif len(words) > 1 or words[0] in COMMANDS:
                with suppress(MissingParameter):
                    parse(words)
            else:
                assert any(name.split()[0] == words[0] for name in COMMANDS), code
    assert seen > 10


@pytest.mark.parametrize("name", COMMANDS)
def test_the_manual_has_every_command_and_option(name: str) -> None:
    texts = {page.name: page.read_text(encoding="utf-8") for page in [README, *MANUAL]}
    about = [
        text for text in texts.values() if re.search(rf"\bvoiceclone\s+{name.replace(' ', chr(92) + 's+')}\b", text)
    ]
    assert about, f"voiceclone {name} is on no page"
    for parameter in COMMANDS[name].params:
        options = [option for option in parameter.opts if option.startswith("--") and option != "--help"]
        for option in options:
            assert any(re.search(rf"{option}(?![\w-])", text) for text in about), f"voiceclone {name} {option}"


def anchors(page: Path) -> set[str]:
    """Names of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.replace("`", "").lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_links(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


def defined(path: Path) -> set[str]:
    """Functions, classes and methods of a module, methods as ``Class.name``."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{item.name}" for item in node.body if isinstance(item, ast.FunctionDef)}
    return found


def test_what_the_developers_page_points_to() -> None:
    text = (REPOSITORY / "docs" / DEVELOPERS).read_text(encoding="utf-8")
    bodies = (LIBRARY / "text_to_semantic" / "README.md").read_text(encoding="utf-8")
    names = [re.findall(r"([\w./-]+\.py)::([\w.]+\w)", page) for page in (text, bodies)]
    assert len(names[0]) > 20 and len(names[1]) > 20
    for file, name in itertools.chain(*names):
        path = next((base / file for base in (LIBRARY, REPOSITORY) if (base / file).is_file()), None)
        assert path and name in defined(path), f"{file}::{name}"
    rooms = {path.name for path in LIBRARY.iterdir() if path.is_dir() and path.name != "__pycache__"}
    table = text.partition("## The rooms")[2].partition("\n## ")[0]
    assert rooms == set(re.findall(r"`(\w+)/`", table)) - {"scripts"}
    for path in re.findall(r"`(?!results/)((?:[\w-]+/)+[\w-]+\.(?:py|c|h|smk|tsv|sh|md))`", text):
        assert "NAME" in path or any((base / path).exists() for base in (LIBRARY, REPOSITORY)), path


def test_every_threat_has_its_test() -> None:
    text = (REPOSITORY / "docs" / "security.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    for row in rows[1:]:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, row
        for file, name in named:
            tree = ast.parse((REPOSITORY / file).read_text(encoding="utf-8"))
            assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, (file, name)
    assert len(rows) > 20


def test_users_are_not_sent_into_the_tests() -> None:
    """And the README is an introduction."""
    for name, words in ALL:
        assert name == DEVELOPERS or not any("tests/" in word for word in words), words
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150
