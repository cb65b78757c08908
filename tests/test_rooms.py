"""Rooms of the library import one way; see ``voiceclone/__init__.py`` for their order.

What a stage's ``run`` and a command import when they are called may be anything: they stand above all rooms, and beside
them in ``stages`` lie the settings, which all rooms read.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import voiceclone

LIBRARY = Path(voiceclone.__file__).parent
TESTS = Path(__file__).parent
MODULES = {path.stem for path in TESTS.rglob("test_*.py")}
#: Modules of one name in several rooms, where the rooms make clear which is meant.
SAME_NAMES = {"__init__", "gpt", "sovits", "measure", "bundle", "base", "config", "checkpoints"}


def order() -> list[str]:
    """The rooms, from the docstring of the library."""
    document = ast.get_docstring(ast.parse((LIBRARY / "__init__.py").read_text(encoding="utf-8"))) or ""
    return [line.split("``")[1] for line in document.splitlines() if line.startswith("``")]


def imports(tree: ast.Module, lazy: bool) -> Iterator[str]:
    """Modules of the library that a module imports; not those for annotations alone."""
    nodes: list[ast.AST] = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not lazy:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "voiceclone":
            yield from [node.module] if "." in node.module else [f"voiceclone.{alias.name}" for alias in node.names]
        nodes += ast.iter_child_nodes(node)


def against_the_order() -> set[tuple[str, str]]:
    places = {room: place for place, room in enumerate(order())}
    found = set()
    for path in sorted(LIBRARY.rglob("*.py")):
        name = path.relative_to(LIBRARY).as_posix()
        room = name.split("/")[0]
        if room not in places:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for module in imports(tree, lazy=room not in {"stages", "commands"}):
            other = module.split(".")[1]
            if places.get(other, -1) > places[room]:
                found.add((name, other))
    return found


def test_every_folder_of_the_library_is_a_room_in_the_order() -> None:
    folders = {path.parent.name for path in LIBRARY.glob("*/__init__.py")}
    assert folders == set(order())


def test_imports_go_down() -> None:
    assert against_the_order() == set()


def test_the_ground_imports_no_room_above_the_settings() -> None:
    rooms = set(order()) - {"stages", "assets", "config", "commands"}
    found = {
        (path.name, module)
        for path in LIBRARY.glob("*.py")
        for module in imports(ast.parse(path.read_text(encoding="utf-8")), lazy=True)
        if module.split(".")[1] in rooms
    }
    assert found == set()


def test_a_module_can_be_told_by_its_name() -> None:
    names: dict[str, list[str]] = {}
    for path in LIBRARY.rglob("*.py"):
        names.setdefault(path.stem, []).append(path.relative_to(LIBRARY).as_posix())
    twice = {name: where for name, where in names.items() if len(where) > 1 and name not in SAME_NAMES}
    twice = {
        name: where
        for name, where in twice.items()
        if sum(not path.startswith(("stages/", "commands/")) for path in where) > 1
    }
    assert twice == {}


def test_no_test_module_imports_another() -> None:
    found = set()
    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{name}" for name in names]
            parts = {part for name in names for part in name.split(".")}
            found |= {(path.relative_to(TESTS).as_posix(), part) for part in parts & MODULES}
    assert found == set()


def test_no_file_is_too_long_to_be_read_in_one_go() -> None:
    lines = {path.relative_to(LIBRARY).as_posix(): path.read_bytes().count(b"\n") for path in LIBRARY.rglob("*.py")}
    assert {name for name, count in lines.items() if count > 600} == set()
