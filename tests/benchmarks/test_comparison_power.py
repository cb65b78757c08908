"""How small a difference a comparison of two voices finds, and how often it sees one that is not there.

Errors as recognisers make them on the base voice: a third to two thirds of the sentences have none, a wrong word costs
two to three characters, and how hard a sentence is varies more than tenfold. 200 sentences, three seeds, all four
deciding metrics tested together (Holm).
"""

from __future__ import annotations

import numpy as np
import pytest

from voiceclone.evaluation.paired import compare_tables
from voiceclone.files import Row

SENTENCES, SEEDS, TRIALS = 200, 3, 200


def table(errors: np.ndarray, lengths: np.ndarray, scores: np.ndarray) -> list[Row]:
    return [
        {
            "item": f"s{number:03}", "language": "en", "text": "", "character_errors": str(errors[seed, number]),
            "characters": str(lengths[number]), "similarity_campplus": str(0.6 + 0.05 * scores[seed, number, 0]),
            "distillmos": str(3.5 + 0.4 * scores[seed, number, 1]),
            "dnsmos_ovrl": str(3 + 0.3 * scores[seed, number, 2]),
        }
        for number in range(SENTENCES)
        for seed in range(SEEDS)
    ]  # fmt: skip


def spoken(generator: np.random.Generator, hardness: np.ndarray, lengths: np.ndarray, rate: float) -> np.ndarray:
    """Character errors [seeds, sentences]: wrong words by Poisson, each of geometric size with mean 2.5."""
    words = generator.poisson(rate * lengths * hardness / 2.5, size=(SEEDS, SENTENCES))
    return np.array([[generator.geometric(1 / 2.5, size=count).sum() for count in row] for row in words])


def verdicts(more: float, rate: float, everywhere: bool) -> dict[str, int]:
    """Verdicts on the character errors, and on any metric, over many pairs; the second voice has ``more`` errors."""
    generator = np.random.default_rng(round(1e4 * rate) + round(1e3 * more))
    counted = {"worse": 0, "any": 0}
    for trial in range(TRIALS):
        lengths = generator.integers(15, 100, size=SENTENCES)
        hardness = generator.gamma(1.0, 1.0, size=SENTENCES)
        harder = hardness + more / rate if everywhere else hardness * (1 + more / rate)
        common = generator.normal(size=(1, SENTENCES, 3))
        tables = [
            table(
                spoken(generator, hard, lengths, rate), lengths,
                common + generator.normal(size=(SEEDS, SENTENCES, 3)),
            )
            for hard in (hardness, harder)
        ]  # fmt: skip
        found = compare_tables(*tables, resamples=1000, seed=trial)["metrics"]
        counted["worse"] += found["cer"]["verdict"] == "worse"
        counted["any"] += any(metric["verdict"] != "no evidence" for metric in found.values())
    return counted


@pytest.mark.benchmark
def test_one_point_of_character_errors_is_found_and_none_is_invented() -> None:
    for rate in (0.01, 0.03, 0.05):
        found = verdicts(0.01, rate, everywhere=True)["worse"] / TRIALS
        spread = verdicts(0.01, rate, everywhere=False)["worse"] / TRIALS
        false = verdicts(0.0, rate, everywhere=True)["any"] / TRIALS
        print(f"CER {rate:.0%}: +1.0 point found {found:.1%} (in proportion {spread:.1%}), false alarms {false:.1%}")
        assert found >= 0.9
        # 200 trials of a true 5 % exceed 8 % in fewer than 4 of 100 cases.
        assert false <= 0.08
