"""Which updates must not be made: with figures that are not finite, or with a loss that explodes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Any

from torch import Tensor

WINDOW = 100  # steps over which the usual loss is taken
FEWEST = 20  # steps before which none is usual


class LeftOutError(Exception):
    """The update of this step was not made; the message says why, so that "in n steps in a row" can follow."""


class NotFiniteError(LeftOutError):
    """A loss or gradient of this step is NaN or infinite."""


class ExplodingError(LeftOutError):
    """A loss of this step is far above what is usual."""


def finite(**values: float | Tensor) -> None:
    """Raise :class:`NotFiniteError` naming the values that are not finite."""
    numbers = {name: value.item() if isinstance(value, Tensor) else value for name, value in values.items()}
    wrong = [name for name, value in numbers.items() if not math.isfinite(value)]
    if wrong:
        raise NotFiniteError(f"{', '.join(wrong)} not finite")


class Guard:
    """Knows what is usual of each loss: the median of the last steps. A stateful part of the training.

    Args:
        most: times the median above which a loss explodes; 0: never.
    """

    optional = True

    def __init__(self, most: float) -> None:
        self.most = most
        self.recent: dict[str, list[float]] = {}

    def check(self, **losses: float) -> None:
        """Raise for a loss that is not finite or explodes; take the others in as usual.

        Raises:
            NotFiniteError: NaN or infinite.
            ExplodingError: above ``most`` times the median.
        """
        finite(**losses)
        for name, value in losses.items():
            recent = self.recent.setdefault(name, [])
            if self.most and len(recent) >= FEWEST:
                usual = statistics.median(recent)
                if value > self.most * abs(usual):
                    raise ExplodingError(f"{name} {value:.3g}, usual {usual:.3g}: exploding")
            recent.append(value)
            del recent[:-WINDOW]

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"recent": self.recent}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        self.recent = {name: list(values) for name, values in state["recent"].items()}
