"""The graphs of the TensorRT targets: standard operators, half precision, 8-bit convolutions as pairs of Q and DQ.

The types in the graphs are what an engine computes in (strongly typed networks): norms, softmax and exponentials stay
in float32. Text to semantic is in half precision in both targets: a step waits for its weights, and for weights alone,
without activations, TensorRT documents 4 bits only.
"""

from __future__ import annotations

import onnx
from onnx import version_converter
from onnxruntime.quantization.onnx_model import ONNXModel

from voiceclone.errors import VoiceCloneError
from voiceclone.export.graphs import Calibration, eight_bits
from voiceclone.export.quantize import half
from voiceclone.export.vocoder_graph import frames_graph, head_graph, latent_graph, tail_graph
from voiceclone.models.gpt import TextToSemantic
from voiceclone.models.sovits import SynthesizerTrn
from voiceclone.sound.spectra import SOURCE_FILTER
from voiceclone.targets import Format
from voiceclone.text_to_semantic.standard_graph import StandardTextToSemanticGraph, within_int32

#: Operator sets that TensorRT 10.0 reads, the first in which scales of Q and DQ may be in half precision.
LATEST_OPSET, HALF_SCALES_OPSET = 20, 19


def tensorrt_graphs(
    gpt: TextToSemantic, sovits: SynthesizerTrn, form: Format, opset: int, calibration: Calibration
) -> dict[str, onnx.ModelProto]:
    """The graphs of a target by name: text_to_semantic, latent, and head and tail or frames. Weight norm must be
    folded.

    Raises:
        VoiceCloneError: 8 bits for a source-filter decoder, which has few convolutions.
    """
    opset = min(opset, LATEST_OPSET)
    weights = {name: tensor.detach().float().cpu().numpy() for name, tensor in gpt.state_dict().items()}
    text_to_semantic = StandardTextToSemanticGraph(gpt.config, weights, "fp16", opset).build()
    if sovits.config.decoder == SOURCE_FILTER:
        if form == "int8":
            raise VoiceCloneError(
                "export trt-int8: its 8 bits are those of a HiFi-GAN's convolutions, this voice has a source-filter "
                "decoder",
                "take trt-fp16",
            )
        decoder = {"latent": latent_graph(sovits, opset), "frames": frames_graph(sovits, opset)}
    else:
        latent, head, tail = (make(sovits, opset) for make in (latent_graph, head_graph, tail_graph))
        if form == "int8":
            latent, head, tail = eight_bits(latent, head, tail, sovits, calibration, explicit=True)
        decoder = {"latent": latent, "head": head, "tail": tail}
    graphs = {"text_to_semantic": text_to_semantic, **{name: _finished(model) for name, model in decoder.items()}}
    for model in graphs.values():
        onnx.checker.check_model(model, full_check=True)
    return graphs


def _finished(model: onnx.ModelProto) -> onnx.ModelProto:
    """A float32 graph, with or without Q and DQ, in half precision and in order."""
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", opset))
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node) and opset < HALF_SCALES_OPSET:
        model = version_converter.convert_version(model, HALF_SCALES_OPSET)
    narrowed = ONNXModel(half(within_int32(model)))
    narrowed.topological_sort()
    out: onnx.ModelProto = narrowed.model
    return out
