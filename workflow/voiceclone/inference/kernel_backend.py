"""Runs a bundle on the CPU with the kernels of this project where they are faster than onnxruntime's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from voiceclone.inference.backend import (
    Floats,
    OnnxSession,
    SourceFilterVocoder,
    Tokens,
    Vocoder,
    open_vocoder,
    threads_to_use,
)
from voiceclone.inference.bundle import HEAD, LATENT, TAIL, TEXT_TO_SEMANTIC, is_source_filter
from voiceclone.inference.kernel_vocoder import KernelVocoder
from voiceclone.inference.onnx_weights import OnnxWeights, read_pointer
from voiceclone.inference.source_filter import Frames, Source
from voiceclone.kernels.binding import PANEL, load_kernels
from voiceclone.text_to_semantic.kernels import KernelGPT


def runs_with_kernels(description: dict[str, Any]) -> bool:
    """Whether there are kernels on this machine that fit a bundle."""
    fits = description["cache"]["head_width"] % PANEL == 0
    fits = fits and ("vocoder" in description or is_source_filter(description))
    return fits and description["target"].startswith("onnx-") and load_kernels() is not None


class KernelBackend:
    """Text-to-semantic and vocoder by kernels, what is between by onnxruntime; one sentence at a time.

    The weights are those of the bundle's graphs. In the vocoder integers become float32, for which the kernels need
    fewer multiplications; in the text-to-semantic network they stay, since reading them is what takes time. The graph
    of a source-filter decoder is onnxruntime's: matrix products take its time.

    Args:
        folder: the bundle's folder.
        description: its ``bundle.json``.
        threads: 0: as OMP_NUM_THREADS says, else all cores.
    """

    name = "kernels"

    def __init__(self, folder: Path, description: dict[str, Any], threads: int = 0) -> None:
        threads = threads_to_use(threads)
        kernels = load_kernels()
        assert kernels is not None, "runs_with_kernels was not asked"
        kernels.start_team(threads)
        weights = OnnxWeights(folder / TEXT_TO_SEMANTIC)
        self._gpt = KernelGPT(kernels, weights, description["cache"], description.get("pointer"))
        self.emission, self.guidance = read_pointer(weights, description)
        self.pitched = is_source_filter(description)
        self._vocoder: Vocoder
        if self.pitched:
            self._vocoder = open_vocoder(folder, description, threads, kernels=kernels)
        else:
            head, tail = OnnxWeights(folder / HEAD), OnnxWeights(folder / TAIL)
            self._vocoder = KernelVocoder(kernels, head, tail, description["vocoder"])
        self._latent = OnnxSession(folder / LATENT, threads, description["half"])

    def start(self, phones: Tokens, bert: Floats | None, prompt: Tokens) -> tuple[Floats, Any]:
        """See :class:`voiceclone.inference.backend.Backend`; the cache of the sentence before is lost."""
        return self._gpt.start(phones, bert, prompt)

    def step(self, token: int, position: int, cache: Any) -> tuple[Floats, Any]:
        """See :class:`voiceclone.inference.backend.Backend`; ``cache`` is the number of positions that are filled."""
        return self._gpt.step(token, position, cache)

    def point(self) -> Floats:
        """See :class:`voiceclone.inference.guidance.PointingBackend`."""
        return self._gpt.point()

    def decode(
        self, codes: Tokens, phones: Tokens, style: Floats, noise: Floats, source: Source | None = None
    ) -> Floats:
        """See :class:`voiceclone.inference.backend.Backend`."""
        return self.vocode(self.latent(codes, phones, style, noise), style, source)

    def latent(self, codes: Tokens, phones: Tokens, style: Floats, noise: Floats) -> Floats:
        """See :class:`voiceclone.inference.backend.Backend`."""
        inputs: dict[str, npt.NDArray[Any]] = {
            "codes": codes[None, None],
            "phones": phones[None],
            "style": style,
            "noise": noise,
        }
        return self._latent.run("latent", inputs)

    def vocode(self, latent: Floats, style: Floats, source: Source | None = None) -> Floats:
        """See :class:`voiceclone.inference.backend.Backend`."""
        return self._vocoder.vocode(latent, style, source)

    def frames(self, latent: Floats, style: Floats) -> Frames:
        """See :class:`voiceclone.inference.backend.Backend`."""
        assert isinstance(self._vocoder, SourceFilterVocoder)
        return self._vocoder.frames(latent, style)
