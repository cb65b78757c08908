"""Drawing the next semantic token from logits: repetition penalty, nucleus, temperature, top-k, in this order.

Numpy only. The draw is argmax(p / e) with e exponential noise, which is distributed as p (the Gumbel-max trick).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Tokens = npt.NDArray[np.int64]

MIN_TEMPERATURE = 1e-5


@dataclass(frozen=True)
class SamplingSettings:
    """How tokens are drawn; the defaults are those of the public user interface.

    Args:
        top_k: keep the k most likely tokens; 0 keeps all.
        top_p: keep the most likely tokens up to this share of probability; 1 keeps all.
        temperature: above 1 evens the distribution, below 1 sharpens it; 0 takes the most likely token.
        repetition_penalty: divides positive and multiplies negative logits of tokens already used; 1 does nothing.
    """

    top_k: int = 15
    top_p: float = 1.0
    temperature: float = 1.0
    repetition_penalty: float = 1.35


def sample(
    logits: Floats,
    previous: Tokens,
    settings: SamplingSettings,
    rng: np.random.Generator,
    bias: Floats | None = None,
) -> tuple[int, int]:
    """Draw one token.

    Args:
        logits: float32 (V,); -inf excludes a token.
        previous: int64 (N,), all tokens so far, prompt included.
        settings: how to draw.
        rng: source of the noise.
        bias: float32 (V,), added after the penalty; None: nothing is.

    Returns:
        The drawn token, and the most likely one after penalty and bias (either may end the utterance).
    """
    penalised = penalise(logits, previous, settings.repetition_penalty)
    if bias is not None:
        penalised = penalised + bias
    weights = restricted_probabilities(penalised, settings)
    noise = rng.standard_exponential(len(weights), np.float32)
    return draw(weights, noise), int(penalised.argmax())


def probabilities(logits: Floats, previous: Tokens, settings: SamplingSettings) -> Floats:
    """Distribution float32 (V,) that :func:`sample` draws from."""
    return restricted_probabilities(penalise(logits, previous, settings.repetition_penalty), settings)


def draw(weights: Floats, exponential: Floats) -> int:
    """Token of the largest weights / exponential noise."""
    return int((weights / np.maximum(exponential, np.finfo(np.float32).tiny)).argmax())


def penalise(logits: Floats, previous: Tokens, penalty: float) -> Floats:
    """Logits in which tokens of ``previous`` are made less likely, each once however often it occurred (CTRL, 2019)."""
    out = logits.astype(np.float32, copy=True)
    if penalty != 1.0 and len(previous):
        before = out[previous]  # a token that occurs more than once is given the same value each time
        out[previous] = np.where(before < 0, before * np.float32(penalty), before / np.float32(penalty))
    return out


def restricted_probabilities(penalised: Floats, settings: SamplingSettings) -> Floats:
    """Nucleus, temperature, top-k and softmax of penalised logits (V,)."""
    logits = _nucleus(penalised, settings.top_p) if settings.top_p < 1.0 else penalised
    logits = logits / np.float32(max(settings.temperature, MIN_TEMPERATURE))
    if 0 < settings.top_k < len(logits):
        least = np.partition(logits, -settings.top_k)[-settings.top_k]
        logits = np.where(logits < least, np.float32(-np.inf), logits)
    return softmax(logits)


def softmax(logits: Floats) -> Floats:
    """Probabilities float32 (V,) of logits (V,)."""
    powers = np.exp(logits - logits.max())
    return (powers / powers.sum()).astype(np.float32)


def _nucleus(logits: Floats, share: float) -> Floats:
    """Keep the most likely tokens up to a share of probability, at least one (Holtzman et al. 2019)."""
    order = np.argsort(-logits, kind="stable")
    cumulative = np.cumsum(softmax(logits)[order])
    dropped = cumulative > share
    dropped[0] = False
    out = logits.copy()
    out[order[dropped]] = -np.inf
    return out
