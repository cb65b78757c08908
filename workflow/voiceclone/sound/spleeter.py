"""Spleeter's two-stem separation (speech or song against everything else) as a small torch module.

Facts: R. Hennequin, A. Khlif, F. Voituret, M. Moussallam, "Spleeter: a fast and efficient music source separation tool
with pre-trained models" (JOSS 2020), and the public MIT implementation. Two U-Nets (A. Jansson et al., ISMIR 2017), one
per stem, see 512 frames x 1024 bins of a 44.1 kHz stereo magnitude spectrogram (Hann 4096, hop 1024) and estimate their
stem's magnitude; squared estimates, normalised to sum to one, are the masks of the mixture's complex spectrogram.

Different here: above the 1024 bins (11 kHz) Spleeter lets nothing pass, which would cost a voice its sibilants; we
go on with the mean mask of the topmost bins. Input is brought to the level of a mixed song, because the U-Nets are not
invariant to level and speech recordings are often quiet.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from voiceclone.errors import AssetError
from voiceclone.sound.io import Waveform, resample

if TYPE_CHECKING:
    from voiceclone.assets import Asset

RATE = 44_100
FRAME, HOP = 4096, 1024
FRAMES, BINS = 512, 1024
PIECE = (FRAMES - 1) * HOP  # samples whose centred spectrogram has exactly FRAMES frames: 11.87 s
TOP_BINS = 192  # 2 kHz below the networks' upper edge stand for what lies above it
LEVEL = 0.1  # root mean square the input is brought to: -20 dBFS
FILTERS = (16, 32, 64, 128, 256, 512)


class Down(nn.Sequential):
    """Half the resolution: TensorFlow's 'same' padding (1 before, 2 after) and a 5x5 convolution of stride 2."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__(nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(channels, filters, 5, stride=2))


class Crop(nn.Module):
    """The counterpart of 'same' padding for a transposed convolution."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Cut one row and column before and two after."""
        return x[:, :, 1:-2, 1:-2]


def normalise(filters: int) -> nn.BatchNorm2d:
    """Batch normalisation with the constants of the checkpoints."""
    return nn.BatchNorm2d(filters, eps=1e-3, momentum=0.01)


class UNet(nn.Module):
    """Estimates one stem's magnitude from the mixture's: (batch, 2, frames, bins), both multiples of 64."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (2, *FILTERS)
        for number in range(1, 7):
            self.add_module(f"down{number}_conv", Down(sizes[number - 1], sizes[number]))
            self.add_module(f"down{number}_act", nn.Sequential(normalise(sizes[number]), nn.LeakyReLU(0.2)))
        for number in range(1, 7):
            entering = FILTERS[6 - number] * (1 if number == 1 else 2)
            leaving = FILTERS[5 - number] if number < 6 else 1
            up = nn.Sequential(
                nn.ConvTranspose2d(entering, leaving, 5, stride=2), Crop(), nn.ReLU(), normalise(leaving)
            )
            self.add_module(f"up{number}", up)
        self.up7 = nn.Sequential(nn.Conv2d(1, 2, 4, dilation=2, padding=3), nn.Sigmoid())

    def forward(self, magnitude: torch.Tensor) -> torch.Tensor:
        """Contract six times, expand six times with skip connections, mask the input."""
        skips, x = [], magnitude
        for number in range(1, 7):
            skips.append(self.get_submodule(f"down{number}_conv")(x))
            x = self.get_submodule(f"down{number}_act")(skips[-1])
        x = self.get_submodule("up1")(skips.pop())
        for number in range(2, 7):
            x = self.get_submodule(f"up{number}")(torch.cat([skips.pop(), x], dim=1))
        return self.up7(x) * magnitude


def load_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """Read a checkpoint of numpy arrays without running anything it could carry.

    The files are pickles of plain numpy arrays: beside tensors, only the three numpy names needed to rebuild an array
    are allowed. The asset layer has verified the file's checksum.
    """
    from numpy.core.multiarray import _reconstruct  # type: ignore[attr-defined]

    allowed: list[Any] = [
        (_reconstruct, "numpy.core.multiarray._reconstruct"),
        np.ndarray,
        np.dtype,
        type(np.dtype("float32")),
        type(np.dtype("int64")),
    ]
    try:
        with torch.serialization.safe_globals(allowed):
            stored = torch.load(path, weights_only=True, map_location="cpu")
        return {name: torch.from_numpy(np.array(value)) for name, value in stored.items()}
    except Exception as error:
        raise AssetError(f"{path}: not a Spleeter checkpoint ({error})", "fetch the asset again") from error


class Spleeter:
    """Vocals and accompaniment of a recording.

    Args:
        asset: the two checkpoints; the first by name is vocals, the second accompaniment.
        device: of the networks.
    """

    name = "spleeter"
    seconds = PIECE / RATE
    overlap = 2.0

    def __init__(self, asset: Asset, device: str = "cpu") -> None:
        self.digest = asset.digest
        self.device = torch.device(device)
        self.window = torch.hann_window(FRAME, device=self.device)
        paths = sorted(path for path in asset.folder.rglob("*.ckpt"))
        if len(paths) != 2:
            raise AssetError(
                f"{asset.name}: {len(paths)} checkpoints in {asset.folder}, expected vocals and accompaniment"
            )
        self.networks = [self._network(path) for path in paths]

    def _network(self, path: Path) -> UNet:
        network = UNet()
        missing, unexpected = network.load_state_dict(load_checkpoint(path), strict=False)
        if unexpected or any(not name.endswith("num_batches_tracked") for name in missing):
            raise AssetError(
                f"{path}: not Spleeter's two-stem U-Net (missing {missing[:3]}, unexpected {unexpected[:3]})"
            )
        return network.eval().to(self.device)

    def split(self, samples: Waveform, rate: int) -> tuple[Waveform, Waveform]:
        """Separate one piece of at most :attr:`seconds`.

        Args:
            samples: float32 (frames, 1 or 2).
            rate: in Hz.

        Returns:
            vocals and accompaniment, each float32 (frames,), channels averaged, at the given rate.
        """
        stereo = np.repeat(samples, 2, axis=1) if samples.shape[1] == 1 else samples
        wave = torch.from_numpy(np.ascontiguousarray(resample(stereo, rate, RATE).T)).to(self.device)
        level = float(wave.square().mean().sqrt())
        if level < 1e-6:
            silence = np.zeros(len(samples), dtype=np.float32)
            return silence, silence.copy()
        stems = self._stems(wave * (LEVEL / level)) * (level / LEVEL)
        vocals, rest = (self._back(stem, rate, len(samples)) for stem in stems)
        return vocals, rest

    @staticmethod
    def _back(stem: torch.Tensor, rate: int, frames: int) -> Waveform:
        mono = resample(stem.mean(dim=0).cpu().numpy(), RATE, rate)
        return np.pad(mono[:frames], (0, max(0, frames - len(mono)))).astype(np.float32)

    @torch.inference_mode()
    def _stems(self, wave: torch.Tensor) -> torch.Tensor:
        """(2, n) to (2 stems, 2 channels, n)."""
        length = wave.shape[1]
        padded = functional.pad(wave, (0, max(0, PIECE - length)))[:, :PIECE]
        spectrum = torch.stft(padded, FRAME, HOP, window=self.window, pad_mode="constant", return_complex=True)
        magnitude = spectrum[:, :BINS].abs().transpose(1, 2)[None]
        power = torch.stack([network(magnitude)[0].square() for network in self.networks])
        masks = (power + 0.5e-10) / (power.sum(dim=0) + 1e-10)
        top = masks[..., -TOP_BINS:].mean(dim=-1, keepdim=True).expand(-1, -1, -1, spectrum.shape[1] - BINS)
        masks = torch.cat([masks, top], dim=-1).transpose(2, 3)
        flat = (masks * spectrum).flatten(0, 1)
        stems = torch.istft(flat, FRAME, HOP, window=self.window, length=PIECE)
        return functional.pad(stems, (0, max(0, length - PIECE)))[:, :length].unflatten(0, (2, 2))
