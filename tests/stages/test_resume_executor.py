"""What follows the end of a SLURM job; 'make test-slurm' sees the same on a real cluster."""

from __future__ import annotations

import pytest

from snakemake_executor_plugin_slurm_resume import FORGOTTEN, End, how_it_ended

SAVED, WRONG, USAGE, BY_SHELL = (f"Command 'exec x' returned non-zero exit status {code}." for code in (75, 1, 2, 137))
SIGNAL = "Command 'exec x' died with <Signals.SIGKILL: 9>."
FINISHED = "1 of 1 steps (100%) done"


@pytest.mark.parametrize(
    ("state", "log", "end"),
    [
        ("COMPLETED", FINISHED, End.DONE),
        ("FAILED", SAVED, End.CONTINUE), ("TIMEOUT", SAVED, End.CONTINUE), ("PREEMPTED", SAVED, End.CONTINUE),
        ("PREEMPTED", "", End.CONTINUE), ("NODE_FAIL", "", End.CONTINUE), ("BOOT_FAIL", "", End.CONTINUE),
        ("TIMEOUT", "", End.MORE), ("OUT_OF_MEMORY", "", End.MORE), ("OUT_OF_MEMORY", BY_SHELL, End.MORE),
        ("FAILED", SIGNAL, End.MORE), ("FAILED", BY_SHELL, End.MORE), ("FAILED", "", End.MORE),
        ("FAILED", WRONG, End.FAIL), ("FAILED", USAGE, End.FAIL), ("FAILED", SAVED + "\n" + WRONG, End.FAIL),
        ("CANCELLED", SAVED, End.FAIL), ("CANCELLED by 1000", "", End.FAIL), ("DEADLINE", WRONG, End.FAIL),
        (FORGOTTEN, FINISHED, End.DONE), (FORGOTTEN, "", End.CONTINUE), (FORGOTTEN, SAVED, End.CONTINUE),
    ],
)  # fmt: skip
def test_what_follows(state: str, log: str, end: End) -> None:
    assert how_it_ended(state, log) is end
