"""Whoever edits a stage says whether its outputs change.

A stage's sources are its module and those that its ``run`` imports, directly and through others, without the shared
ground; a cache's are those of the module that fills it.
When this test fails: if the stage now writes other results, raise its number in its module (a cache's in
``voiceclone/lineage/revisions.py``); then, in either case, run ``python tests/stages/test_revisions.py`` to
record the new digest.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
from pathlib import Path

import pytest

from voiceclone.lineage.revisions import CACHE_REVISIONS
from voiceclone.stages import REVISIONS, STAGES

ROOT = Path(__file__).resolve().parents[2]
TABLE = Path(__file__).with_name("stage_digests.json")
CACHES = {
    "clip": "voiceclone.speaking.reference",
    "batch": "voiceclone.speaking.batch",
    "engine": "voiceclone.tensorrt.engines",
}
ALL = REVISIONS | CACHE_REVISIONS
GROUND = (
    "voiceclone.errors.",
    "voiceclone.files.",
    "voiceclone.progress.",
    "voiceclone.stage.",
    "voiceclone.lineage.",
    "voiceclone.assets.",
)


def source_of(module: str) -> Path | None:
    base = ROOT / "workflow" / Path(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def imports(source: str, module: str = "") -> set[str]:
    """Modules of ours that a source imports; of a stage those of its head, since another's work is not its own."""
    tree = ast.parse(source)
    names: set[str] = set()
    for node in tree.body if module.startswith("voiceclone.stages.") else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if name.startswith("voiceclone.") and not f"{name}.".startswith(GROUND)}


def sources(stage: str) -> list[Path]:
    run = STAGES[stage].run if stage in STAGES else None
    queue = [CACHES[stage]] if run is None else [run.__module__, *imports(inspect.getsource(run))]
    found: set[Path] = set()
    while queue:
        module = queue.pop()
        path = source_of(module)
        if path is not None and path not in found:
            found.add(path)
            queue += imports(path.read_text(encoding="utf-8"), module)
    return sorted(found)


def without_docstrings(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def current(stage: str) -> dict[str, object]:
    text = "\n".join(f"{path.relative_to(ROOT)} {without_docstrings(path)}" for path in sources(stage))
    return {"revision": ALL[stage], "digest": hashlib.sha256(text.encode()).hexdigest()[:16]}


@pytest.mark.parametrize("stage", sorted(ALL))
def test_edited_stage_is_declared(stage: str) -> None:
    recorded = json.loads(TABLE.read_text(encoding="utf-8"))[stage]
    assert current(stage) == recorded, f"the sources of {stage} changed; see the docstring of this file"


if __name__ == "__main__":
    table = {stage: current(stage) for stage in sorted(ALL)}
    TABLE.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
