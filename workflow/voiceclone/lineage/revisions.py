"""Revisions of stages and caches, derived from the code that they run.

Snakemake does not see edits of library code, so the revision of a stage is a parameter of its rule, part of the key of
each of its items and of the fingerprint of its training. It is a digest of the normalised syntax trees of everything
that the stage's ``run`` reaches, by name of function and not by path: moving a function, its docstring, its type
annotations, log messages and the words of errors change nothing.

``revisions.json`` beside this module records changes that leave a stage's output the same: sources with a listed digest
keep the revision written there, so that what earlier code made is found. ``python -m voiceclone.lineage.revisions
same STAGE ...`` adds the present sources to the list, ``changed STAGE ...`` starts a new one; without either, an edited
stage runs again.
"""

from __future__ import annotations

import argparse
import ast
import functools
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from voiceclone.errors import ConfigError
from voiceclone.files import read_json, write_json
from voiceclone.stages import STAGES

LIBRARY = Path(__file__).resolve().parents[1]
RECORD = Path(__file__).with_suffix(".json")
#: Python 3.11 parses in one thread alone: in two at once it raises SystemError now and then.
_ONE_AT_A_TIME = threading.Lock()
KEPT = 8  # stored derivations, one a checkout
#: What speaking keeps outside a run, and the module that makes it: references of clips, rows of ``batch``, engines,
#: phones and BERT features of texts.
CACHES = {
    "clip": "voiceclone.speaking.reference",
    "batch": "voiceclone.speaking.batch",
    "engine": "voiceclone.tensorrt.engines",
    "text": "voiceclone.text.frontend",
    "text_features": "voiceclone.listeners.bert",
}
#: Shared ground: how results are written, never what is in them.
GROUND = ("errors", "files", "progress", "stage", "interrupts", "lineage", "assets")
#: Keyword arguments that are words for people.
WORDS = {"help", "description"}

Definition = tuple[str, str]  # module below the library, name in it; an empty name stands for its loose statements


class _Normalised(ast.NodeTransformer):
    """A syntax tree without what cannot change a result."""

    def _body(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self._body(node)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        for argument in ast.walk(node.args):
            if isinstance(argument, ast.arg):
                argument.annotation = None
        self._body(node)
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        call = node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            of = call.func.value
            if isinstance(of, ast.Name) and of.id in ("log", "logging"):
                return ast.Pass()
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        class Wordless(ast.NodeTransformer):
            def visit_Constant(self, item: ast.Constant) -> ast.AST:
                return ast.Constant("") if isinstance(item.value, str) else item

            def visit_JoinedStr(self, item: ast.JoinedStr) -> ast.AST:
                return ast.Constant("")

        return Wordless().visit(self.generic_visit(node))  # type: ignore[no-any-return]

    def visit_Call(self, node: ast.Call) -> ast.AST:
        node.keywords = [item for item in node.keywords if item.arg not in WORDS]
        return self.generic_visit(node)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module, also those below ``if`` and ``try``; not what only the type checker reads."""
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                continue
            handlers = [line for handler in getattr(node, "handlers", []) for line in handler.body]
            yield from _statements([*node.body, *handlers, *node.orelse])
        else:
            yield node


class _Sources:
    """Definitions of the library, and what each one reaches."""

    def __init__(self) -> None:
        self._files = {path.name: path for path in LIBRARY.rglob("*.*") if path.suffix not in (".py", ".pyc")}
        self._tables: dict[str, dict[str, list[ast.stmt]]] = {}
        self._imports: dict[str, dict[str, str]] = {}

    def _path(self, module: str) -> Path | None:
        base = LIBRARY.joinpath(*module.split(".")[1:])
        return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)

    def _table(self, module: str) -> dict[str, list[ast.stmt]]:
        """Name -> the statements of a module that define it; its imports go to ``_imports``."""
        if module in self._tables:
            return self._tables[module]
        table: dict[str, list[ast.stmt]] = {"": []}
        path = self._path(module)
        tree = ast.parse(b"" if path is None else path.read_bytes())
        names = self._imports[module] = _imported(tree.body)
        for node in _statements(tree.body):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                defined = [node.name]
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                defined = [item.id for target in targets for item in ast.walk(target) if isinstance(item, ast.Name)]
            elif isinstance(node, ast.Import | ast.ImportFrom) or _is_text(node):
                continue
            else:
                defined = [""]
            for name in defined:
                table.setdefault(name, []).append(node)
        self._tables[module] = {name: nodes for name, nodes in table.items() if name not in names}
        return self._tables[module]

    def whole(self, module: str) -> Iterator[Definition]:
        """Every definition of a module."""
        return ((module, name) for name in self._table(module))

    @functools.cache  # noqa: B019 (lives as long as one derivation)
    def of(self, definition: Definition) -> tuple[str, frozenset[Definition]]:
        """Digest of a definition's normalised tree and of the data files that it names; what it reaches."""
        module, name = definition
        nodes = self._table(module)[name]
        imports = self._imports[module] | _imported([item for node in nodes for item in ast.walk(node)])
        trees = [_Normalised().visit(node) for node in nodes]
        text = hashlib.sha256()
        reached: set[Definition] = {(module, "")}
        for tree in trees:
            text.update(ast.dump(_without_imports(tree)).encode())
            inner = {id(item.value) for item in ast.walk(tree) if isinstance(item, ast.Attribute)}
            for item in ast.walk(tree):
                if isinstance(item, ast.Attribute) and isinstance(item.value, ast.Name):
                    reached |= set(self._named(module, imports, item.value.id, item.attr))
                elif isinstance(item, ast.Name) and id(item) not in inner:
                    reached |= set(self._named(module, imports, item.id, None))
                elif isinstance(item, ast.Constant) and isinstance(item.value, str):
                    if item.value in self._files:
                        text.update(self._files[item.value].read_bytes())
                    elif _ours(item.value) and self._path(item.value) is not None:
                        reached |= set(self.whole(item.value))
        return text.hexdigest(), frozenset(reached)

    def _named(self, module: str, imports: dict[str, str], name: str, attribute: str | None) -> Iterator[Definition]:
        """Definitions of the library that a name, or an attribute of it, stands for."""
        if name not in imports:
            if name in self._table(module):
                yield module, name
            return
        target = imports[name]
        if self._path(target) is not None:  # a module: one name of it, or all that it has
            if attribute is None:
                yield from self.whole(target)
            elif _ours(target):
                yield from self._found(target, attribute)
        else:
            yield from self._found(*target.rsplit(".", 1))

    def _found(self, module: str, name: str) -> Iterator[Definition]:
        """A name of a module, followed through imports to where it is defined."""
        table = self._table(module)
        if name in table:
            yield module, name
        elif name in self._imports[module]:
            yield from self._named(module, self._imports[module], name, None)
        elif self._path(f"{module}.{name}") is not None:
            yield from self.whole(f"{module}.{name}")

    def digest(self, start: list[Definition]) -> str:
        """16 hexadecimal digits over everything that the definitions reach, by name."""
        seen: set[Definition] = set()
        queue = list(start)
        while queue:
            definition = queue.pop()
            if definition not in seen and _ours(definition[0]):
                seen.add(definition)
                queue += self.of(definition)[1]
        lines = sorted(f"{name} {self.of((module, name))[0]}" for module, name in seen)
        return hashlib.sha256("\n".join(dict.fromkeys(lines)).encode()).hexdigest()[:16]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _ours(module: str) -> bool:
    """Whether a module is the library's and not of its shared ground."""
    parts = module.split(".")
    return parts[0] == "voiceclone" and len(parts) > 1 and parts[1] not in GROUND


def _imported(nodes: list[ast.stmt] | list[ast.AST]) -> dict[str, str]:
    """Name -> dotted name of what it is imported from, for imports from the library."""
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in nodes
        if isinstance(node, ast.ImportFrom) and _ours(f"{node.module}.")
        for alias in node.names
    }


def _without_imports(tree: ast.AST) -> ast.AST:
    """A tree whose imports from the library say which names they bring, and not whence."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "voiceclone":
            node.module = "voiceclone"
    return tree


def derive() -> dict[str, str]:
    """Digest of the sources of every stage and cache; about two seconds."""
    sources = _Sources()
    starts = {name: [(stage.run.__module__, stage.run.__name__)] for name, stage in STAGES.items()}
    starts |= {name: list(sources.whole(module)) for name, module in CACHES.items()}
    return {name: sources.digest(start) for name, start in starts.items()}


def _content() -> str:
    """Digest of all sources."""
    content = hashlib.sha256()
    for path in sorted(path for path in LIBRARY.rglob("*.*") if path.suffix != ".pyc" and path != RECORD):
        content.update(f"{path.relative_to(LIBRARY).as_posix()} {path.stat().st_size} ".encode() + path.read_bytes())
    return content.hexdigest()


def _stored(folder: Path) -> dict[str, str]:
    """:func:`derive`, kept in ``folder`` by the content of all sources, for a few checkouts at a time."""
    key = _content()
    file = folder / f"revisions-{key[:16]}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        stored = json.loads(file.read_bytes())
        if stored["sources"] == key and stored["digests"].keys() == STAGES.keys() | CACHES.keys():
            return dict(stored["digests"])
    digests = derive()
    if _content() == key:  # not while somebody edits
        with suppress(OSError):  # a home that cannot be written: derived each time
            write_json(file, {"sources": key, "digests": digests})
            for old in sorted(folder.glob("revisions-*.json"), key=lambda one: one.stat().st_mtime)[:-KEPT]:
                old.unlink(missing_ok=True)
    return digests


def revisions() -> dict[str, int | str]:
    """Stage or cache -> its revision: the recorded one of sources with the same output, else the sources' digest."""
    with _ONE_AT_A_TIME:
        return _revisions()


@functools.cache
def _revisions() -> dict[str, int | str]:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "voiceclone"
    record = read_json(RECORD)
    digests = _stored(home)
    return {
        name: record[name]["revision"] if digest in record.get(name, {}).get("same", ()) else digest
        for name, digest in digests.items()
    }


def main() -> None:
    """Show, or record, what became of edited stages."""
    parser = argparse.ArgumentParser(description="Record whether edited stages still write the same output.")
    parser.add_argument("verdict", choices=("same", "changed", "show"))
    parser.add_argument("stages", nargs="*", help="stages and caches; left out: all whose sources are not recorded")
    args = parser.parse_args()
    digests, record = derive(), read_json(RECORD)
    edited = [name for name in digests if digests[name] not in record.get(name, {}).get("same", ())]
    if unknown := sorted(set(args.stages) - set(digests)):
        raise ConfigError(f"{unknown}: no such stage; there are {sorted(digests)}")
    if args.verdict == "show":
        print("\n".join(edited) or "every stage is recorded")
        return
    for name in args.stages or edited:
        fresh = {"revision": digests[name], "same": []}
        entry = record.get(name, fresh) if args.verdict == "same" else fresh
        record[name] = entry | {"same": list(dict.fromkeys([*entry["same"], digests[name]]))}
    write_json(RECORD, {name: record[name] for name in sorted(digests) if name in record})


if __name__ == "__main__":
    main()
