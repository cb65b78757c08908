"""The graphs of the onnx targets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from voiceclone.export.vocoder_graph import frames_graph, head_graph, latent_graph, tail_graph
from voiceclone.files import digest
from voiceclone.graphs.quantize import half, static_int8, store_halves
from voiceclone.models.gpt import SelfAttention, TextToSemantic
from voiceclone.models.sovits import SoVITS
from voiceclone.onnx_session import onnx_session
from voiceclone.sound.spectra import SOURCE_FILTER
from voiceclone.targets import Format
from voiceclone.text_to_semantic.graph import TextToSemanticGraph

Inputs = Mapping[str, npt.NDArray[Any]]

#: Stages of the vocoder, counted from the last, that stay in float32 in the integer targets: their few channels carry
#: the finest detail, and 8 bits there are audible as hiss.
FLOAT_STAGES = 2


@dataclass(frozen=True)
class Calibration:
    """What weights and activations are rounded for.

    Attributes:
        sentences: inputs of the latent graph: codes, phones, style, noise. Ranges of 8-bit convolutions are theirs.
        folder: where measured ranges are kept.
        utterances: phones (1, X), codes (1, 1, Y) and, where the voice reads them, bert (1, 1024, X). Weights of the
            text-to-semantic network are rounded so that its layers lose least on them.
    """

    sentences: Sequence[Inputs]
    folder: Path
    utterances: Sequence[Inputs] = ()


def build_graphs(
    gpt: TextToSemantic, sovits: SoVITS, form: Format, opset: int, calibration: Calibration
) -> dict[str, onnx.ModelProto]:
    """The graphs of a target by name: text_to_semantic, latent, and head and tail or frames. Weight norm must be
    folded."""
    weights = {name: tensor.detach().float().cpu().numpy() for name, tensor in gpt.state_dict().items()}
    moments = input_moments(gpt, calibration.utterances) if form in ("int8", "int4") else {}
    text_to_semantic = TextToSemanticGraph(gpt.config, weights, form, opset, moments).build()
    if sovits.config.decoder == SOURCE_FILTER:
        return {"text_to_semantic": text_to_semantic, **_source_filter(sovits, form, opset)}
    latent, head, tail = (make(sovits, opset) for make in (latent_graph, head_graph, tail_graph))
    if form == "fp16":
        latent, head, tail = half(latent), half(head), half(tail)
    elif form in ("int8", "int4"):
        latent, head, tail = eight_bits(latent, head, tail, sovits, calibration)
    return {"text_to_semantic": text_to_semantic, "latent": latent, "head": head, "tail": tail}


@torch.inference_mode()
def input_moments(gpt: TextToSemantic, utterances: Iterable[Inputs]) -> dict[str, npt.NDArray[np.float32]]:
    """Sums (K, K) of the products of the parts of all inputs of a matrix, by its name in the state dict."""
    moments: dict[str, Tensor] = {}

    def add(name: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        rows = inputs[0].reshape(-1, inputs[0].shape[-1])
        moments[name] = rows.T @ rows + moments.get(name, 0)

    hooks = []
    for name, module in gpt.named_modules():
        if weight := {SelfAttention: "in_proj_weight", nn.Linear: "weight"}.get(type(module)):
            hooks.append(module.register_forward_pre_hook(partial(add, f"{name}.{weight}")))
    try:
        for item in utterances:
            phones, codes = torch.from_numpy(item["phones"]), torch.from_numpy(item["codes"])[0]
            bert = torch.from_numpy(item["bert"]) if "bert" in item else None
            gpt(phones, torch.tensor([phones.shape[1]]), codes, torch.tensor([codes.shape[1]]), bert)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: value.numpy() for name, value in moments.items()}


def _source_filter(sovits: SoVITS, form: Format, opset: int) -> dict[str, onnx.ModelProto]:
    """The graphs ``latent`` and ``frames``.

    Beside 8-bit tokens they compute in float32 and are stored in half precision: 8-bit convolutions of the latent move
    F0 by 15 cents, 8-bit products of the trunk cost 0.2 points of DistillMOS, and they save 3 MB.
    """
    latent, frames = latent_graph(sovits, opset), frames_graph(sovits, opset)
    if form == "fp16":
        latent, frames = half(latent), half(frames)
    elif form in ("int8", "int4"):
        store_halves(latent)
        store_halves(frames)
    return {"latent": latent, "frames": frames}


def eight_bits(
    latent: onnx.ModelProto,
    head: onnx.ModelProto,
    tail: onnx.ModelProto,
    sovits: SoVITS,
    calibration: Calibration,
    explicit: bool = False,
) -> tuple[onnx.ModelProto, onnx.ModelProto, onnx.ModelProto]:
    """The three graphs with 8-bit convolutions.

    ``explicit``: as TensorRT reads them, the vocoder alone. The latent graph has one-dimensional convolutions, whose
    quantised weights its parser reshapes on the way, and takes next to no time on a GPU.
    """
    latents = [
        {"latent": out, "style": item["style"]}
        for item, out in zip(calibration.sentences, _outputs(latent, calibration.sentences), strict=True)
    ]
    upsampled = [{"upsampled": out} for out in _outputs(head, latents)]
    blocks, stages = len(sovits.config.resblock_kernels), len(sovits.config.upsample_rates)
    if not explicit:
        latent = _int8(latent, calibration.sentences, (), calibration.folder, explicit)
    head, tail = (
        _int8(model, inputs, _float_convolutions(model, blocks * (stages - FLOAT_STAGES)), calibration.folder, explicit)
        for model, inputs in ((head, latents), (tail, upsampled))
    )
    return latent, head, tail


def _int8(
    model: onnx.ModelProto, inputs: Sequence[Inputs], floats: Sequence[str], folder: Path, explicit: bool
) -> onnx.ModelProto:
    arrays = [
        [name, value.shape, hashlib.sha256(value.tobytes()).hexdigest()]
        for item in inputs
        for name, value in item.items()
    ]
    key = digest([hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest(), arrays])
    return static_int8(model, inputs, floats, folder / f"{key}.json", explicit)


def _outputs(model: onnx.ModelProto, inputs: Sequence[Inputs]) -> list[npt.NDArray[Any]]:
    """Outputs of a graph for some inputs."""
    session = onnx_session(model.SerializeToString(), spinning=False)
    return [session.run(None, dict(item))[0] for item in inputs]


def _float_convolutions(vocoder: onnx.ModelProto, blocks: int) -> list[str]:
    """Names of the convolutions that stay in float32: all but those of the first ``blocks`` residual blocks."""
    kept = tuple(f"/resblocks.{index}/" for index in range(blocks))
    names = [node.name for node in vocoder.graph.node if node.op_type == "Conv"]
    return [name for name in names if not any(part in name for part in kept)]
