"""Stages of the workflow, one module each: settings, revision, models, arguments and work.

Whatever needs all of them reads :data:`STAGES`: the configuration, the rules, the cache keys, the tests.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from voiceclone.stage import Stage

# In the order of the workflow, in which the manual lists their blocks; modules that are not named here come last.
ORDER = (
    "takes", "separate", "clean", "slice", "transcribe", "corpus", "gather", "features", "fit_tokenizer", "align",
    "train_gpt", "train_sovits", "distill", "select", "base_gates", "export", "evaluate", "report", "fetch_asset",
    "demo_speaker", "teacher_speech",
)  # fmt: skip
_MODULES = dict.fromkeys([*ORDER, *(module.name for module in iter_modules(__path__))])

#: Every stage by its name.
STAGES: dict[str, Stage] = {
    stage.name: stage
    for module in _MODULES
    for stage in vars(import_module(f"{__name__}.{module}")).values()
    if isinstance(stage, Stage)
}
