"""A Piper voice (VITS; rhasspy, OHF): any language for which there is one, in one timbre and its resized relatives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from voiceclone.errors import AssetError, DataError
from voiceclone.teachers.speakers import Manner, resized, tilted
from voiceclone.teachers.teacher import Speech, level, session

_NOISE = 192 * 86 * 60  # numbers, enough for a minute
_NONE = np.zeros(0, np.float32)


class Piper:
    """A voice of one speaker: ``NAME.onnx`` and ``NAME.onnx.json``."""

    def __init__(self, folder: Path) -> None:
        from piper import PiperConfig, PiperVoice

        models = sorted(folder.glob("*.onnx"))
        if len(models) != 1:
            raise AssetError(f"{folder}: expected one .onnx file of a Piper voice, found {len(models)}")
        config = json.loads(models[0].with_name(models[0].name + ".json").read_text(encoding="utf-8"))
        self._session = session(with_noise_input(models[0]))
        self._voice = PiperVoice(session=self._session, config=PiperConfig.from_dict(config))
        self.rate = int(self._voice.config.sample_rate)

    def speak(self, text: str, manners: Sequence[Manner], rng: np.random.Generator) -> list[Speech]:
        """Speak a line in the first manner, the only one that one voice has; see :class:`Teacher`."""
        manner = manners[0]
        read = [self._voice.phonemes_to_ids(phonemes) for phonemes in self._voice.phonemize(text)]
        if not read:
            raise DataError(f"{text!r}: Piper finds nothing to pronounce")
        # Variation of sound and of rhythm, as wide as keeps the words whole.
        scales = [rng.uniform(0.5, 0.8), manner.formants / manner.tempo, rng.uniform(0.6, 0.9)]
        sounds = []
        for ids in read:
            inputs = {
                "input": np.asarray([ids], np.int64),
                "input_lengths": np.asarray([len(ids)], np.int64),
                "scales": np.asarray(scales, np.float32),
                "noise": rng.standard_normal(_NOISE, dtype=np.float32),
            }
            sounds.append(self._session.run(None, inputs)[0].reshape(-1))
        samples = level(tilted(resized(np.concatenate(sounds), self.rate, manner.formants), self.rate, manner.tilt))
        return [Speech(samples, (), _NONE, _NONE)] * len(manners)


def with_noise_input(model: Path) -> bytes:
    """The graph whose random nodes read from an input ``noise``, float32 (n,): so a line has its own seed."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    loaded = onnx.load(str(model))
    graph = loaded.graph
    nodes: list[Any] = []
    start = 0
    for node in graph.node:
        if node.op_type != "RandomNormalLike":
            nodes.append(node)
            continue
        name = node.output[0]
        nodes += [
            helper.make_node("Shape", [node.input[0]], [f"{name}.shape"]),
            helper.make_node("ReduceProd", [f"{name}.shape"], [f"{name}.size"], keepdims=1),
            helper.make_node("Add", [f"{name}.size", f"{name}.start"], [f"{name}.end"]),
            helper.make_node("Slice", ["noise", f"{name}.start", f"{name}.end"], [f"{name}.flat"]),
            helper.make_node("Reshape", [f"{name}.flat", f"{name}.shape"], [name]),
        ]
        graph.initializer.append(numpy_helper.from_array(np.array([start]), f"{name}.start"))
        start += 4096  # the rhythm's noise, two numbers for each phone, comes first
    del graph.node[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["n"]))
    return bytes(loaded.SerializeToString())
