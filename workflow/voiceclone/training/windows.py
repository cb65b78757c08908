"""Stretches of recordings with what training of a source-filter decoder reads of them, cut from the stores."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from voiceclone.errors import ConfigError, DataError
from voiceclone.models.mel import spectrogram
from voiceclone.models.sovits import FRAMES_PER_TOKEN
from voiceclone.models.synthesis import UPSAMPLING
from voiceclone.training.data import FeatureStore, Utterance, derive_seed, pad_last, read_manifest
from voiceclone.training.fingerprint import tensor_digest

log = logging.getLogger(__name__)

HOP = 640
FULL_SCALE = 32768.0
MARGIN = 0.03  # share of the text by which a proportional cut is widened on either side
UNVOICED = 5.0  # log F0 where a window has no voiced frame; nothing is learnt from it


@dataclass(frozen=True)
class Window:
    """A stretch of an utterance: first frame and number of frames of 20 ms, both even."""

    row: Utterance
    start: int
    frames: int


class WindowData:
    """Audio, semantic tokens, phones, speaker vectors and F0 of stretches of the utterances.

    Args:
        features_dir: folder with ``manifest.tsv`` and the stores; ``align`` may be missing.
        window_frames: longest stretch, in frames of 20 ms.
        segment_frames: shortest utterance that can be trained on.

    Raises:
        ConfigError: pitch was never measured.
        DataError: no utterance is left to train on.
    """

    def __init__(self, features_dir: Path, window_frames: int, segment_frames: int) -> None:
        if not (features_dir / "pitch.safetensors").is_file():
            raise ConfigError(
                f"{features_dir}/pitch.safetensors: missing; a source-filter decoder is trained on measured F0",
                "set features.pitch to praat",
            )
        names = ["audio", "semantic", "phones", "speaker", "pitch"]
        names += ["align"] if (features_dir / "align.safetensors").is_file() else []
        self.stores = {name: FeatureStore(features_dir / f"{name}.safetensors") for name in names}
        self.longest = window_frames // 2 * 2
        rows = [row for row in read_manifest(features_dir) if "sovits" in row.use]
        usable = [row for row in rows if self.frames(row) >= segment_frames and self.stores["phones"].length(row.name)]
        if len(usable) < len(rows):
            log.warning("%d utterances have no phones or fewer than %d frames", len(rows) - len(usable), segment_frames)
        self.train = [row for row in usable if row.split == "train"]
        self.heldout = [row for row in usable if row.split == "heldout"]
        if not self.train:
            raise DataError("there is not one utterance to train on", "look at corpus/rejected.tsv of the speaker")

    def frames(self, row: Utterance) -> int:
        """Usable frames of an utterance, even: those that have both a token and sound."""
        return min(FRAMES_PER_TOKEN * self.stores["semantic"].length(row.name), row.frames) // 2 * 2

    def speaker_size(self) -> int:
        """Dimensions of the speaker vectors."""
        return self.stores["speaker"].length(self.train[0].name)

    def codes(self) -> int:
        """Size of the codebook that the tokens are of."""
        return int(self.stores["semantic"].metadata["codes"])

    def digests(self) -> dict[str, list[str]]:
        """Utterance -> digests of the features that the training reads of it: keys, or of the content without one."""
        keyed = ("audio_sha256", "key_phones", "key_speaker", "key_pitch")
        made = [name for name in ("semantic", "align") if name in self.stores]
        return {
            row.name: [row.keys.get(key, "") for key in keyed]
            + [tensor_digest(self.stores[name][row.name]) for name in made if row.name in self.stores[name]]
            for row in [*self.train, *self.heldout]
        }

    def draw(self, rows: Sequence[Utterance], seed: int, step: int) -> list[Window]:
        """A stretch of each utterance of a step, where it is longer than a window at random."""
        random = np.random.default_rng(derive_seed("windows", seed, step))
        windows = []
        for row in rows:
            frames = self.frames(row)
            size = min(frames, self.longest)
            windows.append(Window(row, 2 * int(random.integers((frames - size) // 2 + 1)), size))
        return windows

    def middle(self, row: Utterance, most: int = 0) -> Window:
        """The middle of an utterance, ``most`` frames of it or as long as a window."""
        frames = self.frames(row)
        size = min(frames, most or self.longest) // 2 * 2
        return Window(row, (frames - size) // 4 * 2, size)

    def read(self, windows: Sequence[Window], like: Sequence[Window] = ()) -> dict[str, Tensor]:
        """Right-padded batch on the CPU.

        Args:
            windows: the stretches.
            like: stretches whose longest gives the padded length; ``windows`` if there are none.

        Returns:
            audio int16 (B, N); semantic int64 (B, T / 2); phones int64 (B, L); log_f0 and voiced float32 (B, 2 T);
            speaker_vector (B, S); lengths, phone_lengths int64 (B,); bandwidth float32 (B,).
        """
        longest = max(window.frames for window in like or windows)
        phones = [self._phones(window) for window in windows]
        pitches = [self._pitch(window) for window in windows]
        return {
            "audio": pad_last([self._cut("audio", window, HOP) for window in windows], length=longest * HOP),
            "semantic": pad_last(
                [self._tokens("semantic", window) for window in windows], length=longest // FRAMES_PER_TOKEN
            ).long(),
            "phones": pad_last(phones),
            "log_f0": pad_last([log_f0 for log_f0, _ in pitches], UNVOICED, longest * UPSAMPLING),
            "voiced": pad_last([voiced for _, voiced in pitches], length=longest * UPSAMPLING),
            "speaker_vector": torch.stack([self.stores["speaker"][window.row.name] for window in windows]),
            "lengths": torch.tensor([window.frames for window in windows]),
            "phone_lengths": torch.tensor([len(item) for item in phones]),
            "bandwidth": torch.tensor([window.row.bandwidth for window in windows]),
        }

    @staticmethod
    def convert(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What :meth:`read` gave, with audio as float32 (B, 1, N) and its spectrogram; done on the device."""
        audio = batch["audio"][:, None] / FULL_SCALE
        return {**batch, "audio": audio, "spectrogram": spectrogram(audio)}

    def _cut(self, name: str, window: Window, per_frame: int) -> Tensor:
        """A store's values of a window, ``per_frame`` of each frame; what it lacks at the end is filled with zeros."""
        start, end = window.start * per_frame, (window.start + window.frames) * per_frame
        return pad_last([self.stores[name].stretch(window.row.name, start, end)], length=end - start)[0]

    def _tokens(self, name: str, window: Window) -> Tensor:
        """A store's values of the tokens of a window."""
        first = window.start // FRAMES_PER_TOKEN
        return self.stores[name].stretch(window.row.name, first, first + window.frames // FRAMES_PER_TOKEN)

    def _phones(self, window: Window) -> Tensor:
        """Phones that are spoken in a window, by the alignment, or without one by its share of the utterance."""
        phones = self.stores["phones"][window.row.name]
        if "align" in self.stores and window.row.name in self.stores["align"]:
            spoken = self._tokens("align", window)
            first, last = int(spoken.min()), int(spoken.max())
        else:
            total = self.frames(window.row)
            first = int(len(phones) * (window.start / total - MARGIN))
            last = int(len(phones) * ((window.start + window.frames) / total + MARGIN))
        return phones[min(max(0, first), len(phones) - 1) : last + 1]

    def _pitch(self, window: Window) -> tuple[Tensor, Tensor]:
        """Log F0 (2 T,), interpolated where unvoiced, and voicing (2 T,) of a window of T frames."""
        hertz = self._cut("pitch", window, UPSAMPLING).numpy()
        voiced = hertz > 0
        filled = np.full(len(hertz), UNVOICED)
        if voiced.any():
            places = np.arange(len(hertz))
            filled = np.log(np.interp(places, places[voiced], hertz[voiced]))
        return torch.from_numpy(filled.astype(np.float32)), torch.from_numpy(voiced.astype(np.float32))
