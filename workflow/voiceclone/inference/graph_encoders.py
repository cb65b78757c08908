"""Encoders of speech and text as graphs: onnxruntime and numpy, no torch.

Each is one file that the export wrote; what it reads is told by the names of its inputs, the rest by its metadata.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from voiceclone.errors import AssetError
from voiceclone.listeners.bert import CharacterEncoder
from voiceclone.listeners.content import (
    OVERLAP_SECONDS,
    RATE,
    STEP,
    WINDOW_SECONDS,
    check_finite,
    fit_length,
    in_windows,
)
from voiceclone.sound.io import Waveform
from voiceclone.sound.spectra import filter_bank, whisper_mel

Floats = npt.NDArray[np.float32]

#: Input of each kind of graph.
SAMPLES, MEL, FILTER_BANK, IDS = "samples", "mel", "filter_bank", "ids"
#: Metadata: tokens of a text encoder as a JSON list; seconds of the parts whose unit vectors are averaged.
VOCABULARY, PART_SECONDS = "vocabulary", "part_seconds"
#: Shortest sound that the convolutions of HuBERT take.
SHORTEST = 400


class Graph:
    """A graph in float32 on the CPU, whose memory goes when it goes.

    Args:
        path: ``.onnx``.
        threads: threads inside an operator; 0: as OMP_NUM_THREADS says, else all cores.

    Raises:
        AssetError: not a graph.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or int(os.environ.get("OMP_NUM_THREADS") or 0)
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common base but this
            raise AssetError(f"{path}: cannot be loaded ({error})", "copy or export it again") from error
        give_back_memory()
        self.name = path.stem
        self.inputs = [value.name for value in self._session.get_inputs()]

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the export noted in it."""
        notes: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        return notes

    def __call__(self, **inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Its one output; inputs that it does not have are left out."""
        feed = {name: inputs[name] for name in self.inputs}
        return np.asarray(self._session.run(None, feed)[0])


def give_back_memory() -> None:
    """Return to the system what loading and closing graphs has freed; glibc keeps hundreds of megabytes of it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


class GraphContent:
    """An encoder of speech content, as :class:`voiceclone.listeners.content.ContentEncoder`."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def encode(self, samples: Waveform) -> Floats:
        """float32 (n,) at 16 kHz to float32 (dimension, n // 320)."""
        hear = self._samples if SAMPLES in self._graph.inputs else self._bands
        return check_finite(in_windows(hear, samples), self._graph.name)

    def _samples(self, samples: Waveform) -> Floats:
        padded = np.pad(samples, (0, max(0, SHORTEST - len(samples))))
        return fit_length(self._graph(samples=padded[None])[0], max(1, len(samples) // STEP))

    def _bands(self, samples: Waveform) -> Floats:
        """One to two seconds of silence follow the sound, as :class:`voiceclone.listeners.content.WhisperContent` has
        it."""
        seconds = min(len(samples) // RATE + OVERLAP_SECONDS, WINDOW_SECONDS)
        padded = np.zeros(seconds * RATE, np.float32)
        padded[: len(samples)] = samples
        return np.asarray(self._graph(mel=whisper_mel(padded)[None])[0][:, : max(1, len(samples) // STEP)])


class GraphSpeaker:
    """An encoder of who speaks."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._part = float(graph.metadata.get(PART_SECONDS, 0))

    def embed(self, samples: Waveform) -> Floats:
        """Vector float32 (S,) of a sound float32 (n,) at 16 kHz, n of at least 400.

        An encoder that notes the length of parts gives unit vectors; a longer sound takes the mean over equal parts.
        """
        if not self._part:
            return check_finite(self._vector(samples), self._graph.name)
        count = max(1, round(len(samples) / RATE / self._part))
        size = -(-len(samples) // count)
        vectors = [self._vector(samples[start : start + size]) for start in range(0, len(samples), size)]
        mean = np.stack(vectors).mean(axis=0)
        return check_finite(np.asarray(mean / np.linalg.norm(mean), np.float32), self._graph.name)

    def _vector(self, samples: Waveform) -> Floats:
        return np.asarray(self._graph(filter_bank=filter_bank(samples)[None])[0])


class GraphBert(CharacterEncoder):
    """An encoder of Chinese text; its graph brings its vocabulary."""

    def __init__(self, graph: Graph, digest: str = "") -> None:
        tokens = json.loads(graph.metadata[VOCABULARY])
        self._graph, self._places = graph, {token: place for place, token in enumerate(tokens)}
        super().__init__(graph.name, digest, int(graph.metadata["dimension"]))

    def _ids(self, tokens: list[str]) -> list[int]:
        return [self._places.get(token, self._places["[UNK]"]) for token in tokens]

    def _network(self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> Floats:
        return np.asarray(self._graph(ids=ids, mask=mask))
