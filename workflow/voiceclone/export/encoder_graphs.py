"""Graphs of the encoders of reference clips and Chinese text, checked against the networks they come from.

The voice's own, small ones go into its bundles: ``quantiser`` (content vectors to semantic tokens) and ``style``
(spectrogram, and speaker vector where there is one, to the style). Those that all voices share are large and are
exported once per model, one file each: content of speech, speaker, Chinese text.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voiceclone.errors import AssetError, VoiceCloneError
from voiceclone.export.lint import lint_stored
from voiceclone.export.vocoder_graph import trace
from voiceclone.files import atomic_path, sha256_file, write_json
from voiceclone.graphs.quantize import store_bytes, store_exact_halves, store_halves
from voiceclone.models.sovits import SoVITS
from voiceclone.onnx_session import onnx_session
from voiceclone.speaking.encoders import (
    FILTER_BANK,
    IDS,
    MEL,
    PART_SECONDS,
    SAMPLES,
    VOCABULARY,
    Graph,
    GraphBert,
    GraphContent,
    GraphSpeaker,
)
from voiceclone.stages.export import ExportSettings
from voiceclone.targets import Format, Target

if TYPE_CHECKING:
    from voiceclone.assets import Asset

Array = npt.NDArray[Any]
#: Outputs of a graph and of the model that it comes from, for the same input.
Comparison = Callable[[Graph], tuple[Array, Array]]
log = logging.getLogger(__name__)

QUANTISER, STYLE = "quantiser", "style"
#: Operator set of the encoders that voices share.
OPSET = 17
#: Largest difference of an encoder from its model, relative to the largest value: sums of float32 in another order.
MAX_ERROR = 1e-4
#: Least cosine of the vectors of an encoder in 8 bits and of its model.
LEAST_SIMILARITY = 0.99
#: Inputs on which encoders are compared: a rising tone of varying level with some noise; Chinese clauses.
RATE = 16000
_TIME = np.arange(int(3.3 * RATE)) / RATE
SOUND = (
    0.3 * np.sin(2 * np.pi * (120 + 40 * _TIME) * _TIME) * (1 + np.sin(9 * _TIME)) / 2
    + 0.01 * np.random.default_rng(0).standard_normal(len(_TIME))
).astype(np.float32)
CHINESE = ("你好，今天天气很好。", "我们去公园吧！")


class QuantiserEntry(nn.Module):
    """Traced entry: :meth:`SoVITS.extract_codes`, with the codebook stored once, the way it is read."""

    table: Tensor
    norms: Tensor

    def __init__(self, sovits: SoVITS) -> None:
        super().__init__()
        self.projection = sovits.ssl_proj
        self.register_buffer("table", sovits.quantizer.table.T.contiguous())
        self.register_buffer("norms", sovits.quantizer.table.square().sum(1))

    def forward(self, content: Tensor) -> Tensor:
        """Codes int64 (1, 1, T // 2) of content vectors (1, D, T)."""
        distances = self.norms - 2 * self.projection(content).transpose(1, 2) @ self.table
        return distances.argmin(-1).unsqueeze(1)


class StyleEntry(nn.Module):
    """Traced entry: :meth:`SoVITS.style` of one recording."""

    def __init__(self, sovits: SoVITS) -> None:
        super().__init__()
        self.sovits = sovits

    def forward(self, spectrogram: Tensor, vector: Tensor | None = None) -> Tensor:
        """Style (1, G, 1) of magnitudes (1, 1025, F) and a speaker vector (1, S)."""
        return self.sovits.style(spectrogram, vector)


def quantiser_graph(sovits: SoVITS, opset: int) -> onnx.ModelProto:
    """The graph ``content -> codes``; see :class:`QuantiserEntry`."""
    example = (torch.zeros(1, sovits.config.ssl_dim, 12),)
    axes = {"content": {2: "frames"}, "codes": {2: "codes"}}
    model = trace(QuantiserEntry(sovits), example, ["content"], ["codes"], axes, opset)
    store_exact_halves(model)
    return model


def style_graph(sovits: SoVITS, opset: int, form: Format = "fp32") -> onnx.ModelProto:
    """The graph ``spectrogram[, vector] -> style``; see :class:`StyleEntry`. Computes in float32 in every format."""
    config = sovits.config
    example: tuple[Tensor, ...] = (torch.rand(1, config.spec_channels, 25),)
    names = ["spectrogram"]
    if config.speaker_vector_size:
        example, names = (*example, torch.rand(1, config.speaker_vector_size)), [*names, "vector"]
    model = trace(StyleEntry(sovits), example, names, ["style"], {"spectrogram": {2: "frames"}}, opset)
    if form == "fp16":
        store_halves(model)
    elif form != "fp32":
        store_bytes(model)
    return model


def voice_graphs(sovits: SoVITS, opset: int, form: Format) -> dict[str, onnx.ModelProto]:
    """The voice's own graphs by name: quantiser, style."""
    return {QUANTISER: quantiser_graph(sovits, opset), STYLE: style_graph(sovits, opset, form)}


class _Output(nn.Module):
    """Traced entry of a network of transformers: its last hidden state, turned to (B, D, T) if asked."""

    def __init__(self, network: Any, turned: bool) -> None:
        super().__init__()
        self.network, self.turned = network, turned

    def forward(self, first: Tensor, mask: Tensor | None = None) -> Tensor:
        output = self.network(first) if mask is None else self.network(first, attention_mask=mask)
        hidden: Tensor = output.last_hidden_state
        return hidden.transpose(1, 2) if self.turned else hidden


class _UnitVector(nn.Module):
    """Traced entry of CAM++: the vector of length 1 of a filter bank that is not mean-normalised."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, bank: Tensor) -> Tensor:
        """Vectors (1, S) of a filter bank (1, T, 80)."""
        return F.normalize(self.network(bank - bank.mean(1, keepdim=True)), dim=1)


def _hubert(asset: Asset) -> tuple[onnx.ModelProto, Comparison]:
    from voiceclone.listeners.content import HubertContent

    encoder = HubertContent(asset)
    for module in encoder.model.modules():
        if nn.utils.parametrize.is_parametrized(module):
            nn.utils.parametrize.remove_parametrizations(module, "weight")
    axes = {SAMPLES: {1: "samples"}, "content": {2: "frames"}}
    graph = trace(_Output(encoder.model, True), (torch.rand(1, 16000),), [SAMPLES], ["content"], axes, OPSET)
    return graph, lambda made: (GraphContent(made).encode(SOUND), encoder.encode(SOUND))


def _whisper(asset: Asset) -> tuple[onnx.ModelProto, Comparison]:
    from voiceclone.listeners.content import WhisperContent
    from voiceclone.listeners.whisper import WhisperEncoder, read_ctranslate2

    network = WhisperEncoder(read_ctranslate2(asset.file("model.bin")))
    axes = {MEL: {2: "steps"}, "content": {2: "frames"}}
    graph = trace(network, (torch.rand(1, 80, 200),), [MEL], ["content"], axes, OPSET)
    return graph, lambda made: (GraphContent(made).encode(SOUND), WhisperContent(asset).encode(SOUND))


def _campplus(asset: Asset) -> tuple[onnx.ModelProto, Comparison]:
    from voiceclone.listeners.campplus import WINDOW_SECONDS, SpeakerEncoder

    encoder = SpeakerEncoder(asset)
    graph = _speaker(_UnitVector(encoder.network))
    onnx.helper.set_model_props(graph, {PART_SECONDS: str(WINDOW_SECONDS)})
    return graph, lambda made: (GraphSpeaker(made).embed(SOUND), encoder.embed(SOUND, RATE))


def _eres2netv2(asset: Asset) -> tuple[onnx.ModelProto, Comparison]:
    from voiceclone.listeners.eres2netv2 import VerificationEncoder

    encoder = VerificationEncoder(asset)
    graph = _speaker(encoder.network)
    return graph, lambda made: (GraphSpeaker(made).embed(SOUND), encoder.embed(SOUND, RATE))


def _speaker(network: nn.Module) -> onnx.ModelProto:
    return trace(network, (torch.rand(1, 200, 80),), [FILTER_BANK], ["vector"], {FILTER_BANK: {1: "frames"}}, OPSET)


def _bert(asset: Asset) -> tuple[onnx.ModelProto, Comparison]:
    from voiceclone.listeners.bert import BertEncoder, CharacterEncoder

    encoder = BertEncoder(asset)
    shape = {0: "texts", 1: "characters"}
    axes = dict.fromkeys((IDS, "mask", "hidden"), shape)
    example = torch.tensor([[2, 3, 4, 3, 0], [2, 3, 4, 1, 3]]), torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    graph = trace(_Output(encoder.model, False), example, [IDS, "mask"], ["hidden"], axes, OPSET)
    places = encoder.tokenizer.get_vocab()
    tokens = sorted(places, key=places.__getitem__)
    notes = {VOCABULARY: json.dumps(tokens, ensure_ascii=False), "dimension": str(encoder.dimension)}
    onnx.helper.set_model_props(graph, notes)

    def read(reader: CharacterEncoder) -> Array:
        return np.concatenate(reader.hidden(CHINESE), axis=1)

    return graph, lambda made: (read(GraphBert(made)), read(encoder))


#: Exporter of each encoder.
EXPORTERS: Mapping[str, Callable[[Asset], tuple[onnx.ModelProto, Comparison]]] = {
    "whisper-base": _whisper,
    "chinese-hubert-base": _hubert,
    "campplus": _campplus,
    "eres2netv2": _eres2netv2,
    "chinese-roberta-wwm-ext-large": _bert,
}


def export_encoder(asset: Asset, folder: Path, max_error: float = MAX_ERROR, int8: bool = False) -> dict[str, Any]:
    """Write ``NAME.onnx`` of a model, compare it with the model, then write ``NAME.json``, its description.

    Args:
        asset: one of :data:`EXPORTERS`.
        folder: where to.
        max_error: allowed difference, relative to the largest value.
        int8: store the weights in 8 bits; the files are called ``NAME-int8``, and the cosine of the vectors is
            limited (:data:`LEAST_SIMILARITY`).

    Raises:
        AssetError: no such encoder.
        VoiceCloneError: the graph differs by more than the limit, or stores weights twice.
    """
    if asset.name not in EXPORTERS:
        raise AssetError(f"{asset.name}: cannot be exported", f"possible: {', '.join(EXPORTERS)}")
    graph, compare = EXPORTERS[asset.name](asset)
    (store_bytes if int8 else store_exact_halves)(graph)
    notes = {"encoder": asset.name, "licence": asset.licence, "asset": asset.digest}
    onnx.helper.set_model_props(graph, {item.key: item.value for item in graph.metadata_props} | notes)
    faults = lint_stored({asset.name: graph})
    if faults:
        raise VoiceCloneError("export of " + "; ".join(map(str, faults)), "report this with the log")
    target = folder / f"{asset.name}{'-int8' if int8 else ''}.onnx"
    with atomic_path(target) as temporary:
        onnx.save(graph, temporary)
        del graph
        made, of_model = compare(Graph(temporary))
        error, similarity = relative_error(made, of_model), least_similarity(made, of_model)
        if similarity < LEAST_SIMILARITY if int8 else error > max_error:
            raise VoiceCloneError(
                f"export of {target.stem}: differs from the model by {error:.1e} of its largest value, allowed "
                f"{max_error:.0e} in whole weights; cosine of the vectors {similarity:.4f}, in 8 bits "
                f"{LEAST_SIMILARITY:g} at least",
                "report this with the log",
            )
    log.info("%s: differs from the model by %.1e of its largest value, cosine %.5f", target, error, similarity)
    description = {
        "name": asset.name,
        "file": target.name,
        "sha256": sha256_file(target),
        "size": target.stat().st_size,
        "asset": asset.digest,
        "licence": asset.licence,
        "max_error": error,
    }
    write_json(target.with_suffix(".json"), description | ({"similarity": similarity} if int8 else {}))
    return description


def least_similarity(left: Array, right: Array) -> float:
    """Least cosine of two vectors (S,), or of the columns of two matrices (S, T); 0 for other shapes."""
    if left.shape != right.shape:
        return 0.0
    products = (left * right).sum(axis=0)
    return float((products / np.maximum(np.linalg.norm(left, axis=0) * np.linalg.norm(right, axis=0), 1e-8)).min())


def relative_error(left: Array, right: Array) -> float:
    """Largest difference of two arrays, relative to the largest value of the second; 1 for other shapes."""
    if left.shape != right.shape:
        return 1.0
    difference = np.abs(left.astype(np.float32) - right.astype(np.float32)).max()
    return float(difference / max(float(np.abs(right).max()), 1e-8))


def compare_voice_graphs(
    graphs: Mapping[str, onnx.ModelProto], sovits: SoVITS, spectrogram: Array, vector: Array | None
) -> dict[str, float]:
    """Error of the voice's own graphs on one utterance and on content vectors by chance.

    Args:
        graphs: of :func:`voice_graphs`.
        sovits: what they were made from.
        spectrogram: float32 (1025, F).
        vector: speaker vector float32 (S,) where there is one.

    Returns:
        ``style``: see :func:`relative_error`. ``quantiser``: how much farther its codes lie from the vectors than the
        nearest ones, relative to their mean distance; 0 where all codes are the same.
    """
    sessions = {name: onnx_session(model.SerializeToString(), spinning=False) for name, model in graphs.items()}
    content = torch.randn(1, sovits.config.ssl_dim, 400, generator=torch.Generator().manual_seed(0))
    inputs = {"spectrogram": spectrogram[None]} | ({} if vector is None else {"vector": vector[None]})
    with torch.inference_mode():
        projected = sovits.ssl_proj(content)[0].T
        distances = torch.cdist(projected, sovits.quantizer.table, compute_mode="donot_use_mm_for_euclid_dist")
        style = sovits.style(*(torch.from_numpy(value) for value in inputs.values())).numpy()
        codes = torch.from_numpy(sessions[QUANTISER].run(None, {"content": content.numpy()})[0])
        own = sovits.extract_codes(content)
        chosen, nearest = (distances.gather(1, each.reshape(-1, 1)) for each in (codes, own))
    return {
        STYLE: relative_error(sessions[STYLE].run(None, inputs)[0], style),
        QUANTISER: float((chosen - nearest).abs().max() / distances.mean()),
    }


def check_voice_graphs(errors: Mapping[str, float], target: Target, settings: ExportSettings) -> None:
    """Compare the errors with their limits: those of float32, for a style of fewer bits those of half precision.

    Raises:
        VoiceCloneError: one is larger.
    """
    style = settings.max_error if target.format == "fp32" else settings.max_error_half
    limits = {QUANTISER: settings.max_error, STYLE: style}
    faults = [
        f"{name} by {error:.1e}, allowed {limits[name]:.0e}" for name, error in errors.items() if error > limits[name]
    ]
    if faults:
        raise VoiceCloneError(
            f"export {target.name}: graphs differ from the trained model: {', '.join(faults)}",
            "report this with the log",
        )
