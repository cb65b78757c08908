"""Speaker vectors that condition v2Pro: ERes2NetV2 (Chen et al. 2024, arXiv:2406.02167) over a Kaldi filter bank.

Width 24, scale 4, expansion 4, as in the weights published by the 3D-Speaker project (Apache-2.0), public keys. v2Pro
takes the map before pooling, averaged over time, not the pooled speaker vector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from voiceclone.errors import DataError
from voiceclone.listeners.campplus import RATE, kaldi_fbank, load_published, one_channel
from voiceclone.sound.io import Waveform, resample

if TYPE_CHECKING:
    from voiceclone.assets import Asset

BANDS = 80
SCALE = 4
EXPANSION = 4
STYLE_SIZE = 20480


class AttentiveFusion(nn.Module):
    """Weighs two maps against each other at every point."""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        self.local_att = nn.Sequential(
            nn.Conv2d(2 * channels, channels // reduction, 1),
            nn.BatchNorm2d(channels // reduction),
            nn.SiLU(),
            nn.Conv2d(channels // reduction, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse two maps (B, C, H, T)."""
        weight = torch.tanh(self.local_att(torch.cat([first, second], dim=1)))
        return first * (1 + weight) + second * (1 - weight)


class Block(nn.Module):
    """Bottleneck whose middle is split into groups, each added to (or fused with) the one before it."""

    def __init__(self, inputs: int, channels: int, stride: int, fused: bool) -> None:
        super().__init__()
        width, outputs = channels * 24 // 64, channels * EXPANSION
        self.conv1 = nn.Conv2d(inputs, width * SCALE, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(width * SCALE)
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(SCALE))
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(SCALE))
        if fused:
            self.fuse_models = nn.ModuleList(AttentiveFusion(width) for _ in range(SCALE - 1))
        self.fused = fused
        self.conv3 = nn.Conv2d(width * SCALE, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, T)."""
        groups = _bounded(self.bn1(self.conv1(x))).chunk(SCALE, dim=1)
        done: list[Tensor] = []
        for index, (group, conv, norm) in enumerate(zip(groups, self.convs, self.bns, strict=True)):
            if done:
                group = self.fuse_models[index - 1](done[-1], group) if self.fused else done[-1] + group
            done.append(_bounded(norm(conv(group))))
        return _bounded(self.bn3(self.conv3(torch.cat(done, dim=1))) + self.shortcut(x))


class ERes2NetV2(nn.Module):
    """Filter bank to the features that v2Pro reads."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 64, 3, 1, fused=False)
        self.layer2 = _stage(256, 128, 4, 2, fused=False)
        self.layer3 = _stage(512, 256, 6, 2, fused=True)
        self.layer4 = _stage(1024, 512, 3, 2, fused=True)
        self.layer3_ds = nn.Conv2d(1024, 2048, 3, 2, padding=1, bias=False)
        self.fuse34 = AttentiveFusion(2048)
        self.seg_1 = nn.Linear(2 * STYLE_SIZE, 192)

    def fused_map(self, fbank: Tensor) -> Tensor:
        """Channels and bands flattened (B, 20480, T / 8) of a Kaldi filter bank (B, T, 80), not mean-normalised."""
        x = torch.relu(self.bn1(self.conv1(fbank.transpose(1, 2).unsqueeze(1))))
        third = self.layer3(self.layer2(self.layer1(x)))
        out: Tensor = self.fuse34(self.layer4(third), self.layer3_ds(third))
        return out.flatten(1, 2)

    def forward(self, fbank: Tensor) -> Tensor:
        """Vector (B, 20480) that v2Pro is conditioned on."""
        return self.fused_map(fbank).mean(-1)

    def speaker_vector(self, fbank: Tensor) -> Tensor:
        """The network's ordinary output (B, 192), for comparing speakers."""
        features = self.fused_map(fbank)
        out: Tensor = self.seg_1(torch.cat([features.mean(-1), torch.sqrt(features.var(-1) + 1e-8)], dim=1))
        return out


def _stage(inputs: int, channels: int, blocks: int, stride: int, fused: bool) -> nn.Sequential:
    rest = [Block(channels * EXPANSION, channels, 1, fused) for _ in range(blocks - 1)]
    return nn.Sequential(Block(inputs, channels, stride, fused), *rest)


def _bounded(x: Tensor) -> Tensor:
    return x.clamp(0, 20)


WEIGHTS = "pretrained_eres2netv2w24s4ep4.ckpt"


def vector_kind(size: int) -> str:
    """Store of the vectors that a SoVITS with this ``speaker_vector_size`` is conditioned on; empty: it needs none."""
    return {0: "", STYLE_SIZE: "verification"}.get(size, "speaker")


class VerificationEncoder:
    """Conditioning vectors of waveforms.

    Args:
        asset: the fetched ``eres2netv2`` model.
        device: where to compute.

    Raises:
        AssetError: the weights are not those of this network.
    """

    def __init__(self, asset: Asset, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self.network = ERes2NetV2()
        load_published(self.network, asset, WEIGHTS)
        self.network.eval().to(self.device)

    @torch.inference_mode()
    def embed(self, samples: Waveform, rate: int) -> npt.NDArray[np.float32]:
        """Vector of one utterance.

        Args:
            samples: float32 (n,), full scale ±1, at least 0.2 s.
            rate: sample rate in Hz.

        Returns:
            float32 (20480,): the fused map averaged over time, not normalised.

        Raises:
            DataError: too short, or the result is not finite.
        """
        samples = one_channel(samples, rate, "verification vector")
        wave = torch.from_numpy(resample(samples, rate, RATE)).to(self.device)
        vector = self.network(kaldi_fbank(wave).unsqueeze(0))[0]
        if not torch.isfinite(vector).all():
            raise DataError("verification vector: the sound or the network gives values that are not finite")
        return np.asarray(vector.float().cpu().numpy())
