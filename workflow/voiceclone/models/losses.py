"""Training losses of both models.

SoVITS: least-squares GAN, feature matching, mel and KL terms of VITS (Kim et al. 2021); with a source-filter decoder
also spectra at several resolutions (Yamamoto et al. 2020) and F0, up to where each recording ends. GPT: cross-entropy
per token.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from voiceclone.models.discriminators import Judgement
from voiceclone.models.mel import DEFAULT_MEL, mel_centres, power_spectra

#: Share of a recording's bandwidth that is compared: filters of resamplers fall before the end.
BAND_SHARE = 0.94
#: Windows of the spectra at several resolutions, in samples; the hop is a quarter.
RESOLUTIONS = (512, 1024, 2048)


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


def banded_mel_loss(real: Tensor, fake: Tensor, bandwidth: Tensor) -> Tensor:
    """Mean over items of the mean absolute difference of log-mels (B, bands, F), of bands within the bandwidth (B,)."""
    within = within_band(torch.from_numpy(mel_centres()).to(fake), bandwidth)
    return _banded_mean((real - fake).abs(), within).mean()


def stft_loss(real: Tensor, fake: Tensor, bandwidth: Tensor, sample_rate: int = DEFAULT_MEL.sample_rate) -> Tensor:
    """Mean over resolutions and items of spectral convergence, as L1, plus mean absolute log difference.

    Args:
        real: waveform (B, N).
        fake: waveform (B, N).
        bandwidth: Hz up to which an item counts (B,); 0: all.
        sample_rate: in Hz.
    """
    terms = []
    for size in RESOLUTIONS:
        frequencies = torch.linspace(0, sample_rate / 2, size // 2 + 1, device=fake.device)
        within = within_band(frequencies, bandwidth).transpose(1, 2)
        with torch.no_grad():
            expected = _magnitudes(real, size)
            level = _banded_mean(expected, within)
        got = _magnitudes(fake, size)
        convergence = _banded_mean((expected - got).abs(), within) / level.clamp(min=1e-4)
        terms.append((convergence + _banded_mean((expected.log() - got.log()).abs(), within)).mean())
    return torch.stack(terms).mean()


def pitch_loss(log_f0: Tensor, voicing: Tensor, target: Tensor, voiced: Tensor) -> tuple[Tensor, Tensor]:
    """Errors of predicted F0 and voicing, each a mean over items.

    Args:
        log_f0: predicted (B, T), natural logarithm.
        voicing: predicted logits (B, T).
        target: log F0 (B, T), anything where unvoiced.
        voiced: 0 or 1 (B, T).

    Returns:
        Mean absolute difference of log F0 over voiced frames (items with less than a quarter of them count less), and
        binary cross-entropy of voicing.
    """
    min_voiced = voiced.shape[-1] / 4
    error = ((log_f0 - target).abs() * voiced).sum(-1) / voiced.sum(-1).clamp(min=min_voiced)
    return error.mean(), F.binary_cross_entropy_with_logits(voicing, voiced)


def low_pass(audio: Tensor, bandwidth: Tensor, sample_rate: int = DEFAULT_MEL.sample_rate) -> Tensor:
    """Waveforms (B, 1, N) without what lies above each one's bandwidth (B,), in Hz; 0: as they are."""
    spectrum = torch.fft.rfft(audio)
    frequencies = torch.linspace(0, sample_rate / 2, spectrum.shape[-1], device=audio.device)
    return torch.fft.irfft(spectrum * within_band(frequencies, bandwidth).transpose(1, 2), n=audio.shape[-1])


def within_band(frequencies: Tensor, bandwidth: Tensor) -> Tensor:
    """1 for frequencies (K,) below 94 % of each bandwidth (B,), else 0, as (B, K, 1); a bandwidth of 0 has all."""
    ends = torch.where(bandwidth > 0, BAND_SHARE * bandwidth, torch.inf)
    return (frequencies < ends[:, None]).to(frequencies.dtype)[..., None]


def _banded_mean(values: Tensor, within: Tensor) -> Tensor:
    """Mean (B,) of values (B, K, T) where ``within`` (B, K, 1) is 1, or of both with their last axes swapped."""
    time = -1 if within.shape[-1] == 1 else -2
    return (values.mean(time, keepdim=True) * within).sum((1, 2)) / within.sum((1, 2))


def _magnitudes(audio: Tensor, size: int) -> Tensor:
    """Spectrum (B, F, size / 2 + 1) of waveforms (B, N), floored."""
    padded = F.pad(audio[:, None], (size // 2, size // 2), mode="reflect")[:, 0]
    return power_spectra(padded, size, size // 4).clamp(min=1e-10).sqrt()


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
    """Targets of teacher-forced logits.

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
    """Number of aligned tokens pointed to their phone or one beside it; arguments as of :func:`pointer_loss`."""
    return (((scores.argmax(-1) - aligned).abs() <= 1) & (aligned >= 0)).sum()


def top_k_accuracy(logits: Tensor, tokens: Tensor, token_lengths: Tensor, k: int = 3) -> Tensor:
    """Share of tokens (end tokens not counted) that are among the k highest logits; 0 if there is no token."""
    targets, valid = token_targets(tokens, token_lengths, logits.shape[-1] - 1)
    counted = valid & (targets != logits.shape[-1] - 1)
    hits = (logits.topk(k, dim=-1).indices == targets[..., None]).any(-1)
    return (hits & counted).sum() / counted.sum().clamp(min=1)
