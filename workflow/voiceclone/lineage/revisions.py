"""Revision of what speaking keeps outside a run: raise it when a change of code changes what is kept.

Those of the stages stand in their modules, :mod:`voiceclone.stages`; ``tests/stages/test_revisions.py`` watches both.
"""

from __future__ import annotations

#: References made of clips, rows of ``batch``, TensorRT engines.
CACHE_REVISIONS: dict[str, int] = {
    "clip": 3,
    "batch": 3,
    "engine": 1,
}
