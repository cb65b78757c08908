"""What each target is made of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx

from voiceclone.export.decoder import latent_graph, vocoder_graph
from voiceclone.export.quantize import half, static_int8
from voiceclone.export.text_to_semantic import Format, TextToSemanticGraph
from voiceclone.files import digest
from voiceclone.models.gpt import TextToSemantic
from voiceclone.models.sovits import SynthesizerTrn

Inputs = Mapping[str, npt.NDArray[Any]]

FORMATS: Mapping[str, Format] = {
    "onnx-fp32": "fp32",
    "onnx-fp16": "fp16",
    "onnx-int8": "int8",
    "onnx-int4": "int4",
}
#: Stages of the vocoder, counted from the last, that stay in float32 in the integer targets: their few channels carry
#: the finest detail, and 8 bits there are heard as hiss.
FLOAT_STAGES = 2


@dataclass(frozen=True)
class Calibration:
    """What the ranges of 8-bit convolutions are measured on.

    Attributes:
        sentences: inputs of the latent graph: codes, phones, style, noise.
        folder: where measured ranges are kept.
    """

    sentences: Sequence[Inputs]
    folder: Path


def build_graphs(
    gpt: TextToSemantic, sovits: SynthesizerTrn, form: Format, opset: int, calibration: Calibration
) -> dict[str, onnx.ModelProto]:
    """The graphs of a target by name: ``text_to_semantic``, ``latent``, ``vocoder``. Weight norm must be folded."""
    weights = {name: tensor.detach().float().cpu().numpy() for name, tensor in gpt.state_dict().items()}
    text_to_semantic = TextToSemanticGraph(gpt.config, weights, form, opset).build()
    latent, vocoder = latent_graph(sovits, opset), vocoder_graph(sovits, opset)
    if form == "fp16":
        latent, vocoder = half(latent), half(vocoder)
    elif form in ("int8", "int4"):
        heard = _latents(latent, calibration.sentences)
        floats = _float_convolutions(vocoder, len(sovits.config.upsample_rates), len(sovits.config.resblock_kernels))
        vocoder = _int8(vocoder, heard, floats, calibration.folder)
        latent = _int8(latent, calibration.sentences, (), calibration.folder)
    return {"text_to_semantic": text_to_semantic, "latent": latent, "vocoder": vocoder}


def _int8(model: onnx.ModelProto, inputs: Sequence[Inputs], floats: Sequence[str], folder: Path) -> onnx.ModelProto:
    arrays = [
        [name, value.shape, hashlib.sha256(value.tobytes()).hexdigest()]
        for item in inputs
        for name, value in item.items()
    ]
    key = digest([hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest(), arrays])
    return static_int8(model, inputs, floats, folder / f"{key}.json")


def _latents(latent: onnx.ModelProto, sentences: Sequence[Inputs]) -> list[Inputs]:
    """Inputs of the vocoder for some inputs of the latent graph."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(latent.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [{"latent": session.run(None, dict(item))[0], "style": item["style"]} for item in sentences]


def _float_convolutions(vocoder: onnx.ModelProto, stages: int, blocks: int) -> list[str]:
    """Names of the vocoder's convolutions that stay in float32: those outside residual blocks, and the last stages."""
    kept = tuple(f"/resblocks.{index}/" for index in range(blocks * (stages - FLOAT_STAGES)))
    names = [node.name for node in vocoder.graph.node if node.op_type == "Conv"]
    return [name for name in names if not any(part in name for part in kept)]
