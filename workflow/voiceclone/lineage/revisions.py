"""Revision of every stage: raise it when a change of code changes what the stage writes.

Snakemake does not see edits of library code, so the revision is a parameter of the stage's rule and part of every
cache key. ``tests/stages/test_revisions.py`` holds a digest of each stage's sources: whoever edits a stage either
raises the number here (outputs change) or refreshes the digest (they do not).
"""

from __future__ import annotations

REVISIONS: dict[str, int] = {
    "teacher_speech": 1,
    "takes": 4,
    "separate": 1,
    "clean": 1,
    "slice": 1,
    "transcribe": 1,
    "corpus": 2,
    "gather": 2,
    "features": 5,
    "fit_tokenizer": 2,
    "tokenize": 1,
    "align": 1,
    "train_sovits": 1,
    "train_gpt": 1,
    "pack_base": 1,
    "base_gates": 2,
    "base_card": 1,
    "export": 6,
    "export_encoder": 1,
    "evaluate": 6,
    "report": 3,
}

#: The same of what speaking keeps outside a run: references made of clips, rows of ``batch``, TensorRT engines.
CACHE_REVISIONS: dict[str, int] = {
    "clip": 3,
    "batch": 3,
    "engine": 1,
}
