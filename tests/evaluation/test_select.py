"""Choosing checkpoints by ear: halving hears good pairs most, and is not significantly worse than best or last."""

from __future__ import annotations

import numpy as np
import pytest

from voiceclone.evaluation.select import Candidate, choose_by_ear, distinct, grid, quality, read_losses
from voiceclone.evaluation.statistics import paired_test

BEST, MIDDLE, LAST = Candidate("best", 300), Candidate("step-500", 500), Candidate("last", 900)
PAIRS = [(gpt, sovits) for gpt in (BEST, MIDDLE, LAST) for sovits in (BEST, MIDDLE, LAST)]
KEPT = [(BEST, BEST), (LAST, LAST)]


def voice(errors: float, likeness: float, mos: float, generator: np.random.Generator) -> dict[str, float]:
    return {
        "character_errors": float(generator.poisson(50 * errors)),
        "characters": 50.0,
        "sim_rel": likeness + 0.05 * generator.normal(),
        "mos": mos + 0.3 * generator.normal(),
    }


def test_words_count_more_than_likeness_and_naturalness() -> None:
    good = {"character_errors": 0.0, "characters": 50.0, "sim_rel": 0.9, "mos": 4.0}
    assert quality(good) > quality({**good, "character_errors": 5.0})
    assert quality({**good, "sim_rel": 1.0}) > quality(good) and quality({**good, "mos": 4.5}) > quality(good)
    assert quality({**good, "character_errors": 5.0}) < quality({**good, "sim_rel": 0.75})
    assert quality({"character_errors": 50.0, "characters": 50.0}) < quality({**good, "character_errors": 50.0})


def test_one_candidate_a_step() -> None:
    assert distinct([BEST, LAST, Candidate("step-300", 300)]) == [BEST, LAST]


def test_the_better_pair_wins_and_bad_ones_are_heard_little() -> None:
    heard: list[tuple] = []

    def listen(pair, number):
        heard.append((pair, number))
        right = pair == (LAST, MIDDLE)
        return {"character_errors": 1.0 if right else 9.0, "characters": 50.0, "sim_rel": 0.9, "mos": 4.0}

    choice = choose_by_ear(PAIRS, KEPT, sentences=16, first=4, listen=listen)
    assert choice.pair == (LAST, MIDDLE)
    counts = {pair: len(choice.heard[pair]) for pair in PAIRS}
    assert counts[LAST, MIDDLE] == counts[BEST, BEST] == counts[LAST, LAST] == 16
    assert min(counts.values()) == 4 and len(heard) == len(set(heard)) < 9 * 16
    rows = grid(choice)
    assert rows[0]["chosen"] and (rows[0]["gpt_step"], rows[0]["sovits_step"]) == (900, 500)
    assert rows[0]["cer"]["value"] == pytest.approx(0.02)


def test_the_choice_is_not_significantly_worse_than_best_loss_or_last() -> None:
    """300 simulated trainings: true quality varies among the pairs; 40 fresh sentences judge the choice."""
    generator = np.random.default_rng(3)
    losses, gains = 0, []
    for trial in range(300):
        truth = {pair: (generator.uniform(0.02, 0.10), 0.9, generator.normal(3.8, 0.15)) for pair in PAIRS}
        choice = choose_by_ear(PAIRS, KEPT, 24, 4, lambda pair, _, truth=truth: voice(*truth[pair], generator))
        chosen, *others = (
            [-quality(voice(*truth[pair], generator)) for _ in range(40)] for pair in (choice.pair, *KEPT)
        )
        for other in others:
            test = paired_test(other, chosen, resamples=300, seed=trial)
            losses += test is not None and test.p < 0.05 and test.difference.value > 0
            gains.append(sum(other) - sum(chosen))
    # 600 tests; equal pairs alone are told apart in 2.5 % of them to this side.
    assert losses / 600 < 0.025
    assert np.mean(gains) > 0


def test_losses_are_read_as_the_field_reads_them() -> None:
    held = [{"step": step, "split": "heldout", "mel": value} for step, value in ((100, 1.0), (200, 0.8), (300, 0.9))]
    train = [{"step": step, "split": "train", "loss": value} for step, value in enumerate([3, 2, 1, 1, 1, 1, 1, 1])]
    found = read_losses([*train, *held], "mel", "loss")
    assert found["best"] == {"step": 200, "value": 0.8} and found["overfit"] and not found["unsteady"]
    jumping = [{"step": step, "split": "train", "loss": value} for step, value in enumerate([1, 3, 1, 3, 1, 3, 1, 3])]
    assert read_losses(jumping, "mel", "loss") == {"metric": "mel", "overfit": False, "unsteady": True}
