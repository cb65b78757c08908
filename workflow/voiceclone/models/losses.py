"""Training losses of both models.

SoVITS: least-squares GAN, feature matching, mel and KL terms of VITS (Kim et al. 2021). GPT: cross-entropy per token.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from voiceclone.models.discriminators import Judgement

#: Factors of the mel and KL terms in the generator's loss, as in the public configuration.
MEL_WEIGHT = 45.0
KL_WEIGHT = 1.0


def discriminator_loss(real: list[Judgement], fake: list[Judgement]) -> Tensor:
    """Sum over discriminators of mean (1 - D(y))² + mean D(ŷ)²; ŷ has to be detached by the caller."""
    terms = [
        (1 - of_real.float()).square().mean() + of_fake.float().square().mean()
        for (of_real, _), (of_fake, _) in zip(real, fake, strict=True)
    ]
    return torch.stack(terms).sum()


def generator_loss(fake: list[Judgement]) -> Tensor:
    """Sum over discriminators of mean (1 - D(ŷ))²."""
    return torch.stack([(1 - logits.float()).square().mean() for logits, _ in fake]).sum()


def feature_matching_loss(real: list[Judgement], fake: list[Judgement]) -> Tensor:
    """Twice the sum over all feature maps of their mean absolute difference; the real ones get no gradient."""
    terms = [
        (of_real.detach().float() - of_fake.float()).abs().mean()
        for (_, reals), (_, fakes) in zip(real, fake, strict=True)
        for of_real, of_fake in zip(reals, fakes, strict=True)
    ]
    return 2 * torch.stack(terms).sum()


def mel_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Mean absolute difference of log-mels (B, bands, F), not weighted."""
    return F.l1_loss(fake.float(), real.float())


def kl_loss(z_p: Tensor, logs_q: Tensor, m_p: Tensor, logs_p: Tensor, mask: Tensor) -> Tensor:
    """KL divergence of posterior from prior per valid frame, estimated at the sampled point.

    Args:
        z_p: posterior sample after the flow (B, C, T).
        logs_q: log standard deviation of the posterior (B, C, T).
        m_p: mean of the prior (B, C, T).
        logs_p: log standard deviation of the prior (B, C, T).
        mask: 1 for valid frames (B, 1, T).
    """
    z_p, logs_q, m_p, logs_p, mask = (part.float() for part in (z_p, logs_q, m_p, logs_p, mask))
    divergence = logs_p - logs_q - 0.5 + 0.5 * (z_p - m_p).square() * torch.exp(-2 * logs_p)
    return (divergence * mask).sum() / mask.sum()


def token_targets(tokens: Tensor, token_lengths: Tensor, end_token: int) -> tuple[Tensor, Tensor]:
    """What teacher-forced logits should predict.

    Args:
        tokens: int64 (B, Y), anything past an item's length.
        token_lengths: int64 (B,).
        end_token: marks the end and fills padding.

    Returns:
        Targets int64 (B, Y + 1): tokens, then end tokens; and bool (B, Y + 1): the first length + 1 of each item.
    """
    positions = torch.arange(tokens.shape[1] + 1, device=tokens.device)
    targets = F.pad(tokens, (0, 1), value=end_token)
    targets = targets.masked_fill(positions >= token_lengths[:, None], end_token)
    return targets, positions <= token_lengths[:, None]


def token_loss(
    logits: Tensor, tokens: Tensor, token_lengths: Tensor, reduction: str = "mean", smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy of teacher-forced logits (B, Y + 1, V + 1), padding ignored.

    Args:
        logits: as :class:`voiceclone.models.gpt.TextToSemantic` returns them.
        tokens: int64 (B, Y).
        token_lengths: int64 (B,).
        reduction: "mean" over tokens (end token included), or "sum", which the public training uses.
        smoothing: share of the target's probability that is spread over all tokens (Szegedy et al. 2016).
    """
    targets, valid = token_targets(tokens, token_lengths, logits.shape[-1] - 1)
    return F.cross_entropy(logits[valid].float(), targets[valid], reduction=reduction, label_smoothing=smoothing)


def pointer_loss(scores: Tensor, aligned: Tensor) -> Tensor:
    """Sum over aligned tokens of the cross-entropy of the phone that they speak.

    Args:
        scores: float (B, Y, X), -inf excludes a phone.
        aligned: int64 (B, Y), index of the phone of each token; negative: not known, or padding.
    """
    known = aligned >= 0
    return F.cross_entropy(scores[known].float(), aligned[known], reduction="sum")


def pointer_hits(scores: Tensor, aligned: Tensor) -> Tensor:
    """How many aligned tokens are pointed to their phone or to one beside it; arguments as of :func:`pointer_loss`."""
    return (((scores.argmax(-1) - aligned).abs() <= 1) & (aligned >= 0)).sum()


def top_k_accuracy(logits: Tensor, tokens: Tensor, token_lengths: Tensor, k: int = 3) -> Tensor:
    """Share of tokens (end tokens not counted) that are among the k highest logits; 0 if there is no token."""
    targets, valid = token_targets(tokens, token_lengths, logits.shape[-1] - 1)
    counted = valid & (targets != logits.shape[-1] - 1)
    hits = (logits.topk(k, dim=-1).indices == targets[..., None]).any(-1)
    return (hits & counted).sum() / counted.sum().clamp(min=1)
