"""ONNX graphs of the two models.

The text-to-semantic graph serves the first pass and every later step: phones and past may both be empty, so its weights
are stored once.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from voiceclone.files import atomic_path
from voiceclone.inference.backend import BERT_CHANNELS


def export_text_to_semantic(gpt: Any, target: Path, opset: int) -> None:
    """Write the graph ``phones, bert, tokens, position, past -> logits, present``.

    Shapes: phones int64 (1, X), bert float32 (1, 1024, X), tokens int64 (1, N), position int64 scalar: index of the
    first token among the semantic tokens, past float32 (layers, 2, 1, heads, S, width); logits (1, V + 1) after the
    last token, present (layers, 2, 1, heads, S + X + N, width). X, N and S are free and may be 0, not all at once.
    """
    import torch

    config = gpt.config

    class Step(torch.nn.Module):
        """The traced entry: the cached forward pass with a tensor position."""

        def __init__(self) -> None:
            super().__init__()
            self.gpt = gpt

        def forward(self, phones: Any, bert: Any, tokens: Any, position: Any, past: Any) -> Any:
            return self.gpt.forward_cached(phones, bert, tokens, past, position)

    example = (
        torch.zeros(1, 5, dtype=torch.int64),
        torch.zeros(1, BERT_CHANNELS, 5),
        torch.zeros(1, 3, dtype=torch.int64),
        torch.tensor(2),
        torch.zeros(config.layers, 2, 1, config.heads, 4, config.dim // config.heads),
    )
    _export(
        Step(), example, target, opset,
        inputs=["phones", "bert", "tokens", "position", "past"], outputs=["logits", "present"],
        axes={
            "phones": {1: "phones"}, "bert": {2: "phones"}, "tokens": {1: "tokens"},
            "past": {4: "past"}, "present": {4: "present"},
        },
    )  # fmt: skip


def export_decoder(sovits: Any, target: Path, opset: int) -> None:
    """Write the graph ``codes, phones, style, noise -> audio``, with weight norm folded.

    Shapes: codes int64 (1, 1, T), phones int64 (1, L), style float32 (1, G, 1), noise float32 (1, C, 2 T), already
    scaled; audio float32 (1, 1, 1280 T).
    """
    import torch

    config = sovits.config

    class Decode(torch.nn.Module):
        """The traced entry: decoding with given noise."""

        def __init__(self) -> None:
            super().__init__()
            self.sovits = sovits

        def forward(self, codes: Any, phones: Any, style: Any, noise: Any) -> Any:
            return self.sovits.decode(codes, phones, style, noise=noise)

    example = (
        torch.zeros(1, 1, 12, dtype=torch.int64),
        torch.zeros(1, 9, dtype=torch.int64),
        torch.zeros(1, config.gin_channels, 1),
        torch.zeros(1, config.inter_channels, 24),
    )
    _export(
        Decode(), example, target, opset,
        inputs=["codes", "phones", "style", "noise"], outputs=["audio"],
        axes={"codes": {2: "codes"}, "phones": {1: "phones"}, "noise": {2: "frames"}, "audio": {2: "samples"}},
    )  # fmt: skip


def _export(
    module: Any, example: tuple[Any, ...], target: Path, opset: int,
    inputs: list[str], outputs: list[str], axes: dict[str, dict[int, str]],
) -> None:  # fmt: skip
    import onnx
    import torch

    module.eval()
    with warnings.catch_warnings(), torch.inference_mode(), atomic_path(target) as temporary:
        warnings.simplefilter("ignore")  # the tracer warns of every shape that it turns into a constant on purpose
        torch.onnx.export(
            module, example, str(temporary), input_names=inputs, output_names=outputs, dynamic_axes=axes,
            opset_version=opset, dynamo=False, do_constant_folding=True,
        )  # fmt: skip
        onnx.checker.check_model(str(temporary), full_check=True)
