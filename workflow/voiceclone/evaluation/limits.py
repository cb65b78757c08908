"""Whether a bundle speaks as well as the model that it was made from: differences sentence by sentence, with limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from voiceclone.config.evaluate import EvaluateSettings
from voiceclone.errors import VoiceCloneError
from voiceclone.evaluation.statistics import bootstrap_mean
from voiceclone.evaluation.wer import CHARACTER_LANGUAGES

Table = Sequence[Mapping[str, Any]]


def losses(table: Table, baseline: Table, settings: EvaluateSettings) -> dict[str, dict[str, float]]:
    """Mean loss of a target against its baseline over the sentences of both, per metric, with its interval.

    Args:
        table: rows of ``metrics.tsv`` of the target; positive losses mean that it is worse.
        baseline: those of the trained model.
        settings: of the evaluation.
    """
    others = {row["item"]: row for row in baseline}
    pairs = [(row, others[row["item"]]) for row in table if row["item"] in others]
    found = {
        "error_rate": [_minus(_error_rate(mine), _error_rate(theirs)) for mine, theirs in pairs],
        "similarity": [_minus(theirs["similarity_campplus"], mine["similarity_campplus"]) for mine, theirs in pairs],
        "dnsmos": [_minus(theirs["dnsmos_ovrl"], mine["dnsmos_ovrl"]) for mine, theirs in pairs],
    }
    intervals = {name: bootstrap_mean(values, settings.bootstrap, settings.seed) for name, values in found.items()}
    return {name: interval.as_dict() for name, interval in intervals.items() if interval is not None}


def check_losses(target: str, found: Mapping[str, Mapping[str, float]], settings: EvaluateSettings) -> None:
    """Refuse a target that is surely worse than allowed: the whole interval of a loss lies above its limit.

    Raises:
        VoiceCloneError: names each loss with its interval and limit.
    """
    limits = {
        "error_rate": settings.max_error_rate_loss,
        "similarity": settings.max_similarity_loss,
        "dnsmos": settings.max_dnsmos_loss,
    }
    faults = [
        f"{name} worse by {loss['value']:.3f} ({loss['low']:.3f} to {loss['high']:.3f}), allowed {limits[name]}"
        for name, loss in found.items()
        if loss["low"] > limits[name]
    ]
    if faults:
        raise VoiceCloneError(
            f"target {target}: speaks worse than the trained model: " + "; ".join(faults),
            "take a more exact target, or raise the limit under 'evaluate' if you accept the loss",
        )


def _error_rate(row: Mapping[str, Any]) -> Any:
    return row["cer"] if row["language"] in CHARACTER_LANGUAGES else row["wer"]


def _minus(left: Any, right: Any) -> float | None:
    if left in (None, "") or right in (None, ""):
        return None
    return float(left) - float(right)
