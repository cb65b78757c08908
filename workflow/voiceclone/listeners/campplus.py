"""Speaker vectors by CAM++ (Wang et al. 2023, arXiv:2303.00332), as published by the 3D-Speaker project (Apache-2.0).

The network is a small 2-D convolutional head over the filter bank, followed by a densely connected time-delay network
whose layers are masked by their context. Module names are those of the published weights, so that they load strictly.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voiceclone.errors import AssetError, DataError
from voiceclone.sound.io import Waveform, resample

if TYPE_CHECKING:
    from voiceclone.assets import Asset

RATE = 16000
DIMENSION = 192
MEL_BINS = 80
WEIGHTS = "campplus_cn_en_common.pt"
MINIMUM_SECONDS = 0.2
WINDOW_SECONDS = 30.0


@cache
def _mel_filters() -> Tensor:
    """Kaldi's triangular filters, 20 Hz to Nyquist, float32 (80, 257); triangles are straight in mel, not in Hz."""

    def mel(hertz: Tensor) -> Tensor:
        return 1127.0 * torch.log1p(hertz / 700.0)

    edges = torch.linspace(mel(torch.tensor(20.0)).item(), mel(torch.tensor(RATE / 2)).item(), MEL_BINS + 2)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bins = mel(torch.arange(257) * (RATE / 512))[None]
    filters = torch.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)).clamp_min(0.0)
    filters[:, -1] = 0.0  # Kaldi leaves the Nyquist bin out
    return filters


def kaldi_fbank(samples: Tensor) -> Tensor:
    """Log mel filter bank as Kaldi computes it: 25 ms Povey window, 10 ms step, no dither, whole frames only.

    Args:
        samples: float32 (n,), 16 kHz, full scale ±1, at least 400 samples.

    Returns:
        float32 (frames, 80), natural logarithm, not mean-normalised.
    """
    frames = samples.unfold(0, 400, 160)
    frames = frames - frames.mean(dim=1, keepdim=True)
    previous = F.pad(frames.unsqueeze(0), (1, 0), mode="replicate").squeeze(0)[:, :-1]
    window = torch.hann_window(400, periodic=False, device=samples.device).pow(0.85)
    spectrum = torch.fft.rfft((frames - 0.97 * previous) * window, n=512).abs().square()
    energies = spectrum @ _mel_filters().to(samples.device).T
    return energies.clamp_min(torch.finfo(torch.float32).eps).log()


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions; ``stride`` shortens the frequency axis only."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, stride=(stride, 1), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, channels, 1, stride=(stride, 1), bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, F, T) to (B, C, F / stride, T)."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class ConvolutionalHead(nn.Module):
    """The front-end convolution module: filter bank (B, 80, T) to (B, 320, T)."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.layer1 = nn.Sequential(ResidualBlock(channels, 2), ResidualBlock(channels, 1))
        self.layer2 = nn.Sequential(ResidualBlock(channels, 2), ResidualBlock(channels, 1))
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=(2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.out_channels = channels * MEL_BINS // 8

    def forward(self, x: Tensor) -> Tensor:
        """(B, 80, T) to (B, 320, T)."""
        y = F.relu(self.bn1(self.conv1(x.unsqueeze(1))))
        y = F.relu(self.bn2(self.conv2(self.layer2(self.layer1(y)))))
        return y.flatten(1, 2)


def _norm_relu(channels: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(batchnorm=nn.BatchNorm1d(channels), relu=nn.ReLU()))


class TimeDelay(nn.Module):
    """Strided convolution over time, then batch norm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(in_channels, out_channels, 5, stride=2, padding=2, bias=False)
        self.nonlinear = _norm_relu(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) to (B, out, T / 2)."""
        y: Tensor = self.nonlinear(self.linear(x))
        return y


class ContextAwareMask(nn.Module):
    """A dilated convolution whose output is masked by the utterance's mean and the mean of its 100-frame segment."""

    SEGMENT = 100

    def __init__(self, in_channels: int, out_channels: int, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(in_channels, out_channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.linear1 = nn.Conv1d(in_channels, in_channels // 2, 1)
        self.linear2 = nn.Conv1d(in_channels // 2, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) to (B, out, T)."""
        segments = F.avg_pool1d(x, self.SEGMENT, self.SEGMENT, ceil_mode=True)
        context = x.mean(-1, keepdim=True) + segments.repeat_interleave(self.SEGMENT, -1)[..., : x.shape[-1]]
        mask = torch.sigmoid(self.linear2(F.relu(self.linear1(context))))
        y: Tensor = self.linear_local(x) * mask
        return y


class DenseTimeDelay(nn.Module):
    """One densely connected layer: bottleneck, then the context-aware masked convolution."""

    def __init__(self, in_channels: int, growth: int, bottleneck: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = _norm_relu(in_channels)
        self.linear1 = nn.Conv1d(in_channels, bottleneck, 1, bias=False)
        self.nonlinear2 = _norm_relu(bottleneck)
        self.cam_layer = ContextAwareMask(bottleneck, growth, dilation)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) to (B, C + growth, T): the layer's output is appended to its input."""
        return torch.cat([x, self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))))], dim=1)


class Transition(nn.Module):
    """Batch norm, ReLU and a 1x1 convolution that halves the channels between dense blocks."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.nonlinear = _norm_relu(in_channels)
        self.linear = nn.Conv1d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) to (B, out, T)."""
        y: Tensor = self.linear(self.nonlinear(x))
        return y


class Embedding(nn.Module):
    """Pooled statistics to the speaker vector: 1x1 convolution and batch norm without affine part."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(in_channels, out_channels, 1, bias=False)
        self.nonlinear = nn.Sequential(OrderedDict(batchnorm=nn.BatchNorm1d(out_channels, affine=False)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C) to (B, out)."""
        y: Tensor = self.nonlinear(self.linear(x.unsqueeze(-1))).squeeze(-1)
        return y


class CAMPlusPlus(nn.Module):
    """The CAM++ network: mean-normalised filter bank (B, T, 80) to speaker vectors (B, 192), not normalised.

    Args:
        growth: channels that each dense layer adds.
        width: channels after the first convolution over time.
        blocks: (layers, dilation) of each dense block.
    """

    def __init__(
        self,
        growth: int = 32,
        width: int = 128,
        blocks: tuple[tuple[int, int], ...] = ((12, 1), (24, 2), (16, 2)),
    ) -> None:
        super().__init__()
        self.head = ConvolutionalHead()
        parts: OrderedDict[str, nn.Module] = OrderedDict(tdnn=TimeDelay(self.head.out_channels, width))
        channels = width
        for number, (layers, dilation) in enumerate(blocks, start=1):
            names: OrderedDict[str, nn.Module] = OrderedDict(
                (f"tdnnd{i + 1}", DenseTimeDelay(channels + i * growth, growth, 4 * growth, dilation))
                for i in range(layers)
            )
            parts[f"block{number}"] = nn.Sequential(names)
            channels += layers * growth
            parts[f"transit{number}"] = Transition(channels, channels // 2)
            channels //= 2
        parts["out_nonlinear"] = _norm_relu(channels)
        parts["dense"] = Embedding(2 * channels, DIMENSION)
        self.xvector = nn.ModuleDict(parts)

    def forward(self, fbank: Tensor) -> Tensor:
        """Filter bank (B, T, 80) to vectors (B, 192)."""
        x = self.head(fbank.transpose(1, 2))
        for name, part in self.xvector.items():
            if name == "dense":
                x = torch.cat([x.mean(-1), x.std(-1)], dim=1)
            x = part(x)
        return x


def load_published(network: nn.Module, asset: Asset, file: str) -> None:
    """Give a network the weights of a fetched model.

    Raises:
        AssetError: they are not those of this network.
    """
    path = asset.file(file)
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
    except (RuntimeError, OSError, ValueError) as error:
        name = type(network).__name__
        raise AssetError(
            f"{path}: not the weights of {name} ({error})", f"fetch the model {asset.name} again"
        ) from error


def one_channel(samples: Waveform, rate: int, what: str) -> Waveform:
    """Samples float32 (n,) that are long enough for a vector.

    Raises:
        DataError: they are not.
    """
    samples = np.asarray(samples, dtype=np.float32)
    if samples.ndim != 1 or len(samples) < MINIMUM_SECONDS * rate:
        raise DataError(
            f"{what}: sound of shape {samples.shape} at {rate} Hz, expected one channel of at least {MINIMUM_SECONDS} s"
        )
    return samples


class SpeakerEncoder:
    """Speaker vectors of waveforms.

    Args:
        asset: the fetched ``campplus`` model.
        device: where to compute.

    Raises:
        AssetError: the weights are not those of this network.
    """

    def __init__(self, asset: Asset, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self.digest = asset.digest
        self.network = CAMPlusPlus()
        load_published(self.network, asset, WEIGHTS)
        self.network.eval().to(self.device)

    @torch.inference_mode()
    def embed(self, samples: Waveform, rate: int) -> npt.NDArray[np.float32]:
        """Speaker vector of one recording.

        Args:
            samples: float32 (n,), full scale ±1, any length from 0.2 s; beyond 30 s the mean over equal parts is taken.
            rate: sample rate in Hz.

        Returns:
            float32 (192,) of Euclidean length 1: the dot product of two vectors is their cosine similarity.

        Raises:
            DataError: too short, or not finite.
        """
        samples = one_channel(samples, rate, "speaker vector")
        if not np.isfinite(samples).all():
            raise DataError("speaker vector: the sound has samples that are not finite numbers")
        wave = torch.from_numpy(resample(samples, rate, RATE)).to(self.device)
        parts = wave.chunk(max(1, round(len(wave) / RATE / WINDOW_SECONDS)))
        features = [kaldi_fbank(part) for part in parts]
        vectors = [self.network((fbank - fbank.mean(0)).unsqueeze(0))[0] for fbank in features]
        vector = F.normalize(torch.stack([F.normalize(vector, dim=0) for vector in vectors]).mean(0), dim=0)
        if not torch.isfinite(vector).all():
            raise DataError("speaker vector: the network returned values that are not finite")
        return np.asarray(vector.float().cpu().numpy())
