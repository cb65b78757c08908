"""Runs the trained modules themselves, on the CPU or on a GPU."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from voiceclone.inference.backend import Floats, Tokens
from voiceclone.inference.guidance import GUIDANCE, known_emission
from voiceclone.inference.source_filter import Frames, Source
from voiceclone.inference.token_loop import TokenLoop
from voiceclone.models.gpt import TextToSemantic
from voiceclone.models.sovits import SynthesizerTrn
from voiceclone.models.vocoder import SourceFilterDecoder
from voiceclone.text_to_semantic.torch_static import StaticDecoder, choose_precision


class TorchBackend:
    """See :class:`voiceclone.inference.backend.Backend`; the cache of the sentence before is lost.

    Args:
        gpt: in evaluation mode, on the device.
        sovits: in evaluation mode, on the device, weight norm removed; None: it only makes tokens.
        device: where they are.
        precision: ``fp32``, or on CUDA ``fp16`` or ``bf16``: weights and cache of the text-to-semantic model, and
            where it is safe the sums of the decoder.
        compiled: compile the layers of the text-to-semantic model with torch.compile.

    Attributes:
        draws: whether a sentence alone is drawn by :attr:`loop` too, not from logits that come to the processor.
        emission, guidance: see :class:`voiceclone.inference.guidance.PointingBackend`.
    """

    name = "torch"

    def __init__(
        self,
        gpt: TextToSemantic,
        sovits: SynthesizerTrn | None,
        device: str = "cpu",
        precision: str = "fp32",
        compiled: bool = False,
    ) -> None:
        self._gpt, self._sovits, self._device, self._compiled = gpt, sovits, device, compiled
        self._dtype = choose_precision(precision, device)
        self._decoder = self._decoder_of(1)
        self.emission = known_emission(_array(gpt.pointer.emission)) if gpt.config.pointer_layer else None
        self.guidance = 0.0 if gpt.config.pointer_added else GUIDANCE
        self._phones = 0
        self.draws = compiled or device.startswith("cuda")
        self.pitched = sovits is not None and isinstance(sovits.dec, SourceFilterDecoder)
        self._loops: dict[int, TokenLoop] = {}

    def _decoder_of(self, rows: int) -> StaticDecoder:
        return StaticDecoder(self._gpt, rows, self._dtype, self._compiled)

    def loop(self, rows: int) -> TokenLoop:
        """Draws the tokens of so many sentences at once; always the same one for a number."""
        if rows not in self._loops:
            self._loops[rows] = TokenLoop(self._decoder_of(rows))
        return self._loops[rows]

    @torch.inference_mode()
    def start(self, phones: Tokens, bert: Floats | None, prompt: Tokens) -> tuple[Floats, int]:
        """See :class:`Backend`."""
        features = None if bert is None else self._tensor(bert[None])
        self._phones = len(phones)
        logits = self._decoder.prefill(self._tensor(phones[None]), features, self._tensor(prompt[None]))
        return logits.cpu().numpy(), len(phones) + len(prompt)

    @torch.inference_mode()
    def step(self, token: int, position: int, cache: int) -> tuple[Floats, int]:
        """See :class:`Backend`; ``cache`` is the number of positions that are filled."""
        return self._decoder.step_one(token, position, cache).cpu().numpy(), cache + 1

    @torch.inference_mode()
    def point(self) -> Floats:
        """See :class:`voiceclone.inference.guidance.PointingBackend`."""
        return _array(self._decoder.point()[0, : self._phones])

    @torch.inference_mode()
    def read(self, phones: Tokens, bert: Floats | None, tokens: Tokens) -> Floats:
        """Logits (V + 1,) after phones (X,) and semantic tokens (N,), all computed anew and nothing kept."""
        features = None if bert is None else self._tensor(bert[None])
        logits, _ = self._gpt.prefill(self._tensor(phones[None]), self._tensor(tokens[None]), features)
        return _array(logits[0])

    def decode(
        self, codes: Tokens, phones: Tokens, style: Floats, noise: Floats, source: Source | None = None
    ) -> Floats:
        """See :class:`Backend`."""
        return self.vocode(self.latent(codes, phones, style, noise), style, source)

    def latent(self, codes: Tokens, phones: Tokens, style: Floats, noise: Floats) -> Floats:
        """See :class:`Backend`."""
        assert self._sovits is not None
        frames = noise.shape[2] if noise.shape[2] != 2 * len(codes) else None
        text, speech = self._tensor(phones[None]), self._tensor(codes[None, None])
        with torch.inference_mode(), self._half():
            return _array(self._sovits.latent(speech, text, self._tensor(style), self._tensor(noise), frames))

    def vocode(self, latent: Floats, style: Floats, source: Source | None = None) -> Floats:
        """See :class:`Backend`."""
        assert self._sovits is not None
        if self.pitched:
            return (source or Source()).wave(self.frames(latent, style), self._sovits.config.sample_rate)
        with torch.inference_mode(), self._half():
            return _array(self._sovits.vocode(self._tensor(latent), self._tensor(style))).reshape(-1)

    def frames(self, latent: Floats, style: Floats) -> Frames:
        """See :class:`Backend`."""
        assert self._sovits is not None and isinstance(self._sovits.dec, SourceFilterDecoder)
        with torch.inference_mode(), self._half():
            found = self._sovits.dec.frames(self._tensor(latent), self._tensor(style))
        return Frames(*(_array(tensor[0]) for tensor in found))

    def _half(self) -> AbstractContextManager[Any]:
        """Convolutions and products in the precision, norms and exponentials in float32."""
        return nullcontext() if self._dtype == torch.float32 else torch.autocast("cuda", self._dtype)

    def _tensor(self, array: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)


def _array(tensor: Tensor) -> Floats:
    return np.asarray(tensor.float().cpu().numpy())
