"""What a synthesiser needs of a pair of models, whatever runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from voiceclone.errors import ConfigError

Floats = npt.NDArray[np.float32]
Tokens = npt.NDArray[np.int64]

#: Width of the BERT features that the public text-to-semantic model reads.
BERT_CHANNELS = 1024


class Backend(Protocol):
    """Runs text-to-semantic steps and the waveform decoder."""

    def start(self, phones: Tokens, bert: Floats | None, prompt: Tokens) -> tuple[Floats, Any]:
        """Read phones (X,), their BERT features (1024, X) and the prompt (P,): next logits (V + 1,), cache."""
        ...

    def step(self, token: int, position: int, cache: Any) -> tuple[Floats, Any]:
        """Read one token at its position among the semantic tokens: next logits (V + 1,), cache."""
        ...

    def decode(self, codes: Tokens, phones: Tokens, style: Floats, noise: Floats, speed: float = 1.0) -> Floats:
        """Waveform (samples,) of codes (T,), phones (L,), style (1, G, 1) and noise (1, C, F).

        F is :func:`frames_at` of the number of codes and the speed.
        """
        ...


def frames_at(tokens: int, speed: float) -> int:
    """Frames (50 a second at 32 kHz) that a number of tokens takes at a speed, as the public decoder counts them."""
    return 2 * tokens if speed == 1.0 else int(2 * tokens / speed) + 1


class OnnxBackend:
    """Runs a bundle's graphs with onnxruntime on the CPU.

    Args:
        folder: the bundle's folder.
        description: its ``bundle.json``.
        threads: threads inside an operator; 0 lets onnxruntime choose.
    """

    def __init__(self, folder: Path, description: dict[str, Any], threads: int = 0) -> None:
        import onnxruntime

        from voiceclone.inference.bundle import DECODER, TEXT_TO_SEMANTIC

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        provider = ["CPUExecutionProvider"]
        self._gpt = onnxruntime.InferenceSession(str(folder / TEXT_TO_SEMANTIC), options, providers=provider)
        self._decoder = onnxruntime.InferenceSession(str(folder / DECODER), options, providers=provider)
        layers, heads, width = (description["cache"][name] for name in ("layers", "heads", "head_width"))
        self._empty_cache = np.zeros((layers, 2, 1, heads, 0, width), np.float32)
        self._no_phones = np.zeros((1, 0), np.int64)
        self._no_bert = np.zeros((1, BERT_CHANNELS, 0), np.float32)

    def start(self, phones: Tokens, bert: Floats | None, prompt: Tokens) -> tuple[Floats, Any]:
        """See :class:`Backend`."""
        features = np.zeros((BERT_CHANNELS, len(phones)), np.float32) if bert is None else bert
        return self._run(phones[None], features[None], prompt[None], 0, self._empty_cache)

    def step(self, token: int, position: int, cache: Any) -> tuple[Floats, Any]:
        """See :class:`Backend`."""
        return self._run(self._no_phones, self._no_bert, np.array([[token]], np.int64), position, cache)

    def _run(self, phones: Tokens, bert: Floats, tokens: Tokens, position: int, past: Floats) -> tuple[Floats, Floats]:
        logits, present = self._gpt.run(
            ["logits", "present"],
            {
                "phones": phones,
                "bert": bert,
                "tokens": tokens,
                "position": np.array(position, np.int64),
                "past": past,
            },
        )
        return logits[0], present

    def decode(self, codes: Tokens, phones: Tokens, style: Floats, noise: Floats, speed: float = 1.0) -> Floats:
        """See :class:`Backend`.

        Raises:
            ConfigError: another speed than 1, which the graph cannot take.
        """
        if speed != 1.0:
            raise ConfigError(
                f"speed {speed:g}: the decoder of this bundle knows the speed 1 alone",
                "speak with the trained models: --models results/NAME/models",
            )
        inputs = {"codes": codes[None, None], "phones": phones[None], "style": style, "noise": noise}
        return self._decoder.run(["audio"], inputs)[0].reshape(-1)


class TorchBackend:
    """Runs the trained modules themselves.

    Args:
        gpt: :class:`voiceclone.models.gpt.TextToSemantic` in evaluation mode.
        sovits: :class:`voiceclone.models.sovits.SynthesizerTrn` in evaluation mode.
        device: where they are.
    """

    def __init__(self, gpt: Any, sovits: Any, device: str = "cpu") -> None:
        self._gpt, self._sovits, self._device = gpt, sovits, device

    def start(self, phones: Tokens, bert: Floats | None, prompt: Tokens) -> tuple[Floats, Any]:
        """See :class:`Backend`."""
        return self._run(phones[None], None if bert is None else bert[None], prompt[None], None, 0)

    def step(self, token: int, position: int, cache: Any) -> tuple[Floats, Any]:
        """See :class:`Backend`."""
        return self._run(np.zeros((1, 0), np.int64), None, np.array([[token]], np.int64), cache, position)

    def _run(self, phones: Tokens, bert: Floats | None, tokens: Tokens, past: Any, position: int) -> tuple[Floats, Any]:
        import torch

        with torch.inference_mode():
            logits, present = self._gpt.forward_cached(
                self._tensor(phones), None if bert is None else self._tensor(bert), self._tensor(tokens), past, position
            )
        return logits[0].float().cpu().numpy(), present

    def decode(self, codes: Tokens, phones: Tokens, style: Floats, noise: Floats, speed: float = 1.0) -> Floats:
        """See :class:`Backend`."""
        import torch

        with torch.inference_mode():
            audio = self._sovits.decode(
                self._tensor(codes[None, None]),
                self._tensor(phones[None]),
                self._tensor(style),
                noise=self._tensor(noise),
                speed=speed,
            )
        return audio.float().cpu().numpy().reshape(-1)

    def _tensor(self, array: npt.NDArray[Any]) -> Any:
        import torch

        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)
