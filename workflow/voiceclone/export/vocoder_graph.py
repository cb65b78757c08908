"""The graphs behind semantic tokens: ``latent`` (prior and flow), and the vocoder.

A HiFi-GAN is two graphs, ``head`` and ``tail``, because long speech is decoded in parts, and streamed speech too:
latent and head look far to both sides but are cheap; the tail takes nearly all time and memory and looks less than two
frames around. A source-filter decoder is one, ``frames``, which ends where numpy goes on
(:mod:`voiceclone.backends.waveform`): no runtime needs a Fourier transform.
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voiceclone.backends.waveform import Frames
from voiceclone.models.sovits import SoVITS
from voiceclone.models.vocoder import Decoder, SourceFilterDecoder
from voiceclone.sound.spectra import LOG_F0_CENTRE


class LatentEntry(nn.Module):
    """Traced entry: :meth:`SoVITS.latent`, stretched to as many frames as the noise has."""

    def __init__(self, sovits: SoVITS) -> None:
        super().__init__()
        self.sovits = sovits

    def forward(self, codes: Tensor, phones: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        """Latent (1, C, F) of codes (1, 1, T), phones (1, L), style (1, G, 1) and noise (1, C, F)."""
        return self.sovits.latent(codes, phones, style, noise, frames=noise.shape[2])


class HeadEntry(nn.Module):
    """Traced entry: first stage of the vocoder, over images of height one.

    onnxruntime's kernels for blocked channels, the fast ones, exist for two dimensions only.
    """

    def __init__(self, sovits: SoVITS) -> None:
        super().__init__()
        assert isinstance(sovits.dec, Decoder)
        self.decoder = _planar(sovits.dec)

    def forward(self, latent: Tensor, style: Tensor) -> Tensor:
        """Upsampled (1, C / 2, F * rate) of a latent (1, C, F) and style (1, G, 1)."""
        out: Tensor = self.decoder.head(latent.unsqueeze(2), style.unsqueeze(2)).squeeze(2)
        return out


class TailEntry(nn.Module):
    """Traced entry: the other stages of the vocoder, likewise."""

    def __init__(self, sovits: SoVITS) -> None:
        super().__init__()
        assert isinstance(sovits.dec, Decoder)
        self.decoder = _planar(sovits.dec)

    def forward(self, upsampled: Tensor) -> Tensor:
        """Waveform (1, 1, F * hop) of what the head gives."""
        audio: Tensor = self.decoder.tail(upsampled.unsqueeze(2)).squeeze(2)
        return audio


class FramesEntry(nn.Module):
    """Traced entry: the trunk of a source-filter decoder."""

    def __init__(self, sovits: SoVITS) -> None:
        super().__init__()
        assert isinstance(sovits.dec, SourceFilterDecoder)
        self.decoder = copy.deepcopy(sovits.dec)
        last = self.decoder.pitch[2]
        assert isinstance(last, nn.Conv1d) and last.bias is not None
        last.bias.data[0] -= LOG_F0_CENTRE

    def forward(self, latent: Tensor, style: Tensor) -> tuple[Tensor, ...]:
        """Parameters of 2 F frames as :meth:`voiceclone.backends.waveform.Frames.of_graph` reads them, of a
        latent (1, C, F) and style (1, G, 1)."""
        return tuple(self.decoder.frames(latent, style))


class _PlanarConvolution(nn.Module):
    """A one-dimensional convolution, plain or transposed, over (B, C, 1, N)."""

    def __init__(self, flat: nn.Conv1d | nn.ConvTranspose1d) -> None:
        super().__init__()
        self.transposed = isinstance(flat, nn.ConvTranspose1d)
        self.weight = nn.Parameter(flat.weight.detach().unsqueeze(2))
        self.bias = None if flat.bias is None else nn.Parameter(flat.bias.detach())
        self.stride, self.padding = (1, flat.stride[0]), (0, int(flat.padding[0]))
        self.dilation = (1, flat.dilation[0])

    def forward(self, x: Tensor) -> Tensor:
        if self.transposed:
            return F.conv_transpose2d(x, self.weight, self.bias, self.stride, self.padding)
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation)


def _planar(decoder: Decoder) -> Decoder:
    """A copy of the vocoder with other convolutions."""
    copied = copy.deepcopy(decoder)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv1d | nn.ConvTranspose1d):
                setattr(parent, name, _PlanarConvolution(child))
    return copied


def latent_graph(sovits: SoVITS, opset: int) -> onnx.ModelProto:
    """The graph ``codes, phones, style, noise -> latent``; see :class:`LatentEntry`. Weight norm must be folded."""
    config = sovits.config
    example = (
        torch.zeros(1, 1, 12, dtype=torch.int64),
        torch.zeros(1, 9, dtype=torch.int64),
        torch.zeros(1, config.gin_channels, 1),
        torch.zeros(1, config.inter_channels, 25),
    )
    axes = {"codes": {2: "codes"}, "phones": {1: "phones"}, "noise": {2: "frames"}, "latent": {2: "frames"}}
    return trace(LatentEntry(sovits), example, ["codes", "phones", "style", "noise"], ["latent"], axes, opset)


def head_graph(sovits: SoVITS, opset: int) -> onnx.ModelProto:
    """The graph ``latent, style -> upsampled``; see :class:`HeadEntry`. Weight norm must be folded."""
    config = sovits.config
    example = torch.zeros(1, config.inter_channels, 24), torch.zeros(1, config.gin_channels, 1)
    axes = {"latent": {2: "frames"}, "upsampled": {2: "steps"}}
    return trace(HeadEntry(sovits), example, ["latent", "style"], ["upsampled"], axes, opset)


def tail_graph(sovits: SoVITS, opset: int) -> onnx.ModelProto:
    """The graph ``upsampled -> audio``; see :class:`TailEntry`. Weight norm must be folded."""
    example = (torch.zeros(1, sovits.config.decoder_channels // 2, 60),)
    return trace(
        TailEntry(sovits),
        example,
        ["upsampled"],
        ["audio"],
        {"upsampled": {2: "steps"}, "audio": {2: "samples"}},
        opset,
    )


def frames_graph(sovits: SoVITS, opset: int) -> onnx.ModelProto:
    """The graph ``latent, style -> log_f0, voicing, harmonic, noise, phase``; see :class:`FramesEntry`."""
    config, names = sovits.config, list(Frames._fields)
    example = torch.zeros(1, config.inter_channels, 24), torch.zeros(1, config.gin_channels, 1)
    axes = {"latent": {2: "frames"}, **{name: {1: "steps"} for name in names}}
    return trace(FramesEntry(sovits), example, ["latent", "style"], names, axes, opset)


def trace(
    module: nn.Module, example: tuple[Any, ...], inputs: list[str], outputs: list[str],
    axes: dict[str, dict[int, str]], opset: int,
) -> onnx.ModelProto:  # fmt: skip
    """Trace a module to a checked model."""
    module.eval()
    with warnings.catch_warnings(), torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "traced.onnx"
        warnings.simplefilter("ignore")  # the tracer warns of every shape that it turns into a constant on purpose
        torch.onnx.export(
            module, example, target, input_names=inputs, output_names=outputs, dynamic_axes=axes,
            opset_version=opset, dynamo=False, do_constant_folding=True,
        )  # fmt: skip
        model = onnx.load(target)
    onnx.checker.check_model(model, full_check=True)
    return model
