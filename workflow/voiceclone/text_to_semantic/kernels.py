"""Text-to-semantic by the kernels of this project, from the weights of a bundle's graph."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from voiceclone.backends.backend import CACHE_STEP, Floats, Tokens
from voiceclone.backends.weights import OnnxWeights
from voiceclone.kernels.binding import MAX_THREADS, Layer, Network, Pass
from voiceclone.kernels.packing import Packed, pack_int4, pack_int8, pack_linear

#: Bytes for each input that a thread needs to quantise rows; see ``SCRATCH`` in ``linear.h``.
SCRATCH = 8


class KernelGPT:
    """The network with its KV cache; one sentence at a time.

    Args:
        library: of :func:`voiceclone.kernels.binding.load_kernels`.
        weights: of ``text_to_semantic.onnx``, of float32, float16 or int8.
        sizes: ``cache`` of ``bundle.json``.
        pointer: ``pointer`` of ``bundle.json``; None: there is none.
    """

    def __init__(
        self, library: Any, weights: OnnxWeights, sizes: dict[str, int], pointer: dict[str, Any] | None = None
    ) -> None:
        self._library, self._sizes = library, sizes
        self._layers = [self._layer(weights, index) for index in range(sizes["layers"])]
        self._logits = _linear(weights, "ar_predict_layer.weight", None)
        self._text = np.asarray(weights["ar_text_embedding.word_embeddings.weight"], np.float32)
        self._audio = np.asarray(weights["ar_audio_embedding.word_embeddings.weight"], np.float32)
        self._scales = {kind: float(weights[f"ar_{kind}_position.alpha"][0]) for kind in ("text", "audio")}
        self._rates = weights["position_rates"]
        self._bert, self._bert_bias = _matrix(weights, "bert_proj.weight"), weights["bert_proj.bias"]
        self._dim, self._inner = self._text.shape[1], self._layers[0][0]["up"].structure.outputs
        self._codes = len(self._audio)
        self._split = pointer["layer"] if pointer else 0
        self._query = _linear(weights, "pointer.query.weight", None) if pointer else None
        self._key = _matrix(weights, "pointer.key.weight") if pointer else np.zeros((self._dim, 0), np.float32)
        self._asked: Floats = np.zeros(pointer["dim"] if pointer else 0, np.float32)
        self._phone_keys: Floats = np.zeros((0, len(self._asked)), np.float32)
        self._capacity = 0
        self._kv_cache: Floats = np.zeros(0, np.float32)  # (2, layers, heads, capacity, width)

    def _layer(self, weights: OnnxWeights, index: int) -> tuple[dict[str, Packed], dict[str, Floats]]:
        name = f"h.layers.{index}"
        parts = {
            "joint": ("self_attn.in_proj_weight", "self_attn.in_proj_bias"),
            "out": ("self_attn.out_proj.weight", "self_attn.out_proj.bias"),
            "up": ("linear1.weight", "linear1.bias"),
            "down": ("linear2.weight", "linear2.bias"),
        }
        linears = {
            part: _linear(weights, f"{name}.{weight}", f"{name}.{bias}") for part, (weight, bias) in parts.items()
        }
        norms = {
            f"{norm}{suffix}": np.array(weights[f"{name}.{norm}.{part}"])
            for norm in ("norm1", "norm2")
            for suffix, part in (("", "weight"), ("_bias", "bias"))
        }
        return linears, norms

    def start(self, phones: Tokens, bert: Floats | None, prompt: Tokens) -> tuple[Floats, int]:
        """See :class:`voiceclone.backends.backend.Backend`; the cache of the sentence before is lost."""
        context = self._bert_bias if bert is None else bert.T @ self._bert + self._bert_bias
        text = self._text[phones] + context + self._waves("text", 0, len(phones))
        audio = self._audio[prompt] + self._waves("audio", 0, len(prompt))
        return self._run(np.concatenate([text, audio]), 0, len(phones))

    def step(self, token: int, position: int, past: int) -> tuple[Floats, int]:
        """See :class:`voiceclone.backends.backend.Backend`; ``past`` is the number of positions that are filled."""
        return self._run(self._audio[[token]] + self._waves("audio", position, 1), past, 0)

    def point(self) -> Floats:
        """See :class:`voiceclone.speaking.guidance.PointingBackend`."""
        return np.asarray(self._phone_keys @ self._asked * np.float32(len(self._asked) ** -0.5), np.float32)

    def _waves(self, kind: str, first: int, count: int) -> Floats:
        """Scaled sine and cosine waves (count, dim), interleaved, of positions from ``first``."""
        angles = np.arange(first, first + count, dtype=np.float32)[:, None] * self._rates
        waves = np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(count, self._dim)
        return np.asarray(waves * np.float32(self._scales[kind]), np.float32)

    def _run(self, x: Floats, past: int, phones: int) -> tuple[Floats, int]:
        rows = len(x)
        if past + rows > self._capacity:
            self._grow(past + rows, past)
        x = np.ascontiguousarray(x, np.float32)
        joint = np.empty((rows, 3 * self._dim), np.float32)
        inner = np.empty((rows, self._inner), np.float32)
        logits = np.empty(self._logits.structure.outputs, np.float32)
        addresses = [array.ctypes.data for array in (joint, inner, self._scores, self._numbers)]
        for network, out in zip(self._networks, (self._asked, logits)[-len(self._networks) :], strict=True):
            given = Pass(ctypes.pointer(network), x.ctypes.data, rows, past, phones, *addresses, out.ctypes.data)
            self._library.run_network(ctypes.byref(given))  # overwrites x with what it gives
            if phones and out is self._asked:
                self._phone_keys = x[:phones] @ self._key
        return logits[: self._codes], past + rows

    def _grow(self, positions: int, kept: int) -> None:
        """Make room for more positions in the KV cache; the first ``kept`` are kept."""
        layers, heads, width = (self._sizes[name] for name in ("layers", "heads", "head_width"))
        capacity = -(-positions // CACHE_STEP) * CACHE_STEP
        grown: Floats = np.zeros((2, layers, heads, capacity, width), np.float32)
        if kept:
            grown[:, :, :, :kept] = self._kv_cache[:, :, :, :kept]
        self._kv_cache, self._capacity = grown, capacity
        self._scores = np.empty((MAX_THREADS, capacity + 16), np.float32)
        self._numbers = np.empty((MAX_THREADS, SCRATCH * self._inner), np.uint8)
        self._array = (Layer * layers)()
        for index, (linears, norms) in enumerate(self._layers):
            for name, linear in linears.items():
                setattr(self._array[index], name, linear.structure)
            for name, norm in norms.items():
                setattr(self._array[index], name, norm.ctypes.data)
            self._array[index].keys, self._array[index].values = (part[index].ctypes.data for part in grown)
        after = ctypes.cast(ctypes.byref(self._array, self._split * ctypes.sizeof(Layer)), ctypes.POINTER(Layer))
        self._networks = [Network(layers - self._split, heads, width, capacity, after, self._logits.structure)]
        if self._query is not None:  # the layers that the pointer reads are a network of their own
            first = Network(self._split, heads, width, capacity, self._array, self._query.structure)
            self._networks.insert(0, first)


def _matrix(weights: OnnxWeights, name: str) -> Floats:
    """Weights (inputs, outputs) in float32, however they are stored."""
    if f"{name}.T" in weights:
        return np.asarray(weights[f"{name}.T"], np.float32)
    if f"{name}.packed" in weights:
        packed = weights[f"{name}.packed"]
        numbers = np.stack([packed & 15, packed >> 4], axis=3).reshape(*packed.shape[:2], -1).astype(np.float32) - 8
        scaled = numbers * weights[f"{name}.scales"].reshape(*packed.shape[:2], 1)
        return np.ascontiguousarray(scaled.reshape(len(packed), -1).T)
    return np.asarray(weights[f"{name}.numbers"] * weights[f"{name}.scales"], np.float32)


def _linear(weights: OnnxWeights, name: str, bias: str | None) -> Packed:
    added = None if bias is None else np.asarray(weights[bias], np.float32)
    if f"{name}.T" in weights:
        return pack_linear(weights[f"{name}.T"], added)
    if f"{name}.packed" in weights:
        return pack_int4(weights[f"{name}.packed"], weights[f"{name}.scales"], np.asarray(added))
    return pack_int8(weights[f"{name}.numbers"], weights[f"{name}.scales"], np.asarray(added))
