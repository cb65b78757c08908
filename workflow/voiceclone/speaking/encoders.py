"""Encoders of reference clips: the same steps for every runtime; those of bundles are ONNX graphs.

Each graph is one file that the export wrote; the names of its inputs say what it reads, its metadata the rest.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from voiceclone.backends.bundle import QUANTISER, STYLE
from voiceclone.device import threads_asked
from voiceclone.errors import AssetError, DataError
from voiceclone.files import contained_path, digest, sha256_file
from voiceclone.listeners.bert import CharacterEncoder, LazyEncoder
from voiceclone.listeners.content import (
    OVERLAP_SECONDS,
    RATE,
    STEP,
    WINDOW_SECONDS,
    check_finite,
    fit_length,
    in_windows,
)
from voiceclone.onnx_session import onnx_session
from voiceclone.sound.io import Waveform
from voiceclone.sound.spectra import filter_bank, whisper_mel

Floats = npt.NDArray[np.float32]
#: Purposes of the shared encoders, by the names that bundles give them.
CONTENT, SPEAKER, TEXT = "content", "speaker", "text"
PURPOSE = {CONTENT: "what is said in a clip", SPEAKER: "who speaks in a clip", TEXT: "the melody of Chinese text"}
#: Their folder, in a bundle or beside it; and where the workflow writes them.
FOLDER = "encoders"
WRITTEN = Path("resources") / FOLDER


class Encoders(Protocol):
    """The networks that encode a reference clip.

    Attributes:
        prompt: the voice continues from a clip's words; one that was trained from scratch does not.
    """

    prompt: bool

    def tokens(self, sound: Waveform) -> npt.NDArray[np.int64]:
        """Semantic tokens int64 (P,), 25 a second, of a sound float32 (n,) at 16 kHz."""
        ...

    def style(self, magnitudes: Floats, sound: Waveform) -> Floats:
        """Style float32 (1, G, 1) of a spectrogram (1025, F) and the same sound (n,) at 16 kHz."""
        ...

    def key(self, words: bool) -> str:
        """Digest of the networks that make a reference, with its words or without."""
        ...


class EncoderFiles:
    """Finds the encoders that a bundle lists.

    They are searched in ``encoders`` inside the bundle, in ``encoders`` beside it, then in the other folders.

    Args:
        bundle: folder of the bundle.
        description: its ``bundle.json``.
        places: other folders.
    """

    def __init__(self, bundle: Path, description: Mapping[str, Any], places: Sequence[Path] = ()) -> None:
        bundle = bundle.resolve()
        self.bundle, self.listed = bundle, dict(description["encoders"])
        self.places = list(dict.fromkeys([bundle / FOLDER, bundle.parent / FOLDER, *places]))

    def digest(self, purpose: str) -> str:
        """sha256 of the encoder for a purpose; empty: the voice has none."""
        return str(self.listed.get(purpose, {}).get("sha256", ""))

    def present(self, purpose: str) -> Path | None:
        """The encoder's file, not compared yet; None: missing."""
        entry = self.listed[purpose]
        paths = [contained_path(place, entry["file"]) for place in self.places if entry.get("sha256")]
        return next((path for path in paths if path.is_file()), None)

    def find(self, purpose: str) -> Path:
        """The encoder's file, as it was exported.

        Raises:
            AssetError: it is missing; says where it was searched and how to get it.
            DataError: the file there is a different one.
        """
        name = self.listed[purpose]["name"]
        if not self.digest(purpose):
            raise AssetError(
                f"{self.bundle}: was exported without the encoder {name} ({PURPOSE[purpose]})",
                "export the voice again with export.encoders: true",
            )
        path = self.present(purpose)
        if path is None:
            searched = ", ".join(map(str, self.places))
            raise AssetError(
                f"{self.bundle}: the encoder {self.listed[purpose]['file']} ({PURPOSE[purpose]}) is missing; searched "
                f"in {searched}",
                f"copy it from {WRITTEN} of the machine that exported the voice to {self.bundle / FOLDER}, or give its "
                "folder: --encoders DIR",
            )
        if sha256_file(path) != self.digest(purpose):
            raise DataError(
                f"{path}: not the file that the voice was exported with, its sha256 differs",
                f"copy it again from {WRITTEN} of the machine that exported the voice",
            )
        return path

    def text_encoder(self, threads: int = 0) -> LazyEncoder | None:
        """The encoder of Chinese text, loaded on first use; None: the voice has none, or it is missing."""
        if not self.digest(TEXT) or self.present(TEXT) is None:
            return None
        sha256 = self.digest(TEXT)
        return LazyEncoder(lambda: GraphBert(Graph(self.find(TEXT), threads), sha256), sha256)


class BundleEncoders:
    """The encoders of a bundle; each is loaded when a clip needs it.

    Args:
        files: those that voices share.
        description: the bundle's ``bundle.json``.
        threads: threads inside an operator; 0: as OMP_NUM_THREADS says, else all cores.
    """

    def __init__(self, files: EncoderFiles, description: Mapping[str, Any], threads: int = 0) -> None:
        self._files, self._own, self._threads = files, description["files"], threads
        self.prompt = bool(description["prompt"])
        self._graphs: dict[Path, Graph] = {}

    def tokens(self, sound: Waveform) -> npt.NDArray[np.int64]:
        """See :class:`Encoders`."""
        content = GraphContent(self._graph(self._files.find(CONTENT))).encode(sound)
        return np.asarray(self._graph(self._files.bundle / QUANTISER)(content=content[None])[0, 0], np.int64)

    def style(self, magnitudes: Floats, sound: Waveform) -> Floats:
        """See :class:`Encoders`."""
        inputs = {"spectrogram": magnitudes[None]}
        if SPEAKER in self._files.listed:
            inputs["vector"] = GraphSpeaker(self._graph(self._files.find(SPEAKER))).embed(sound)[None]
        return np.asarray(self._graph(self._files.bundle / STYLE)(**inputs), np.float32)

    def key(self, words: bool) -> str:
        """See :class:`Encoders`."""
        own = [self._own[name]["sha256"] for name in ((STYLE, QUANTISER) if words else (STYLE,))]
        shared = [self._files.digest(name) for name in ((SPEAKER, CONTENT) if words else (SPEAKER,))]
        return digest(["graphs", own, shared])

    def release(self) -> None:
        """Free the memory of the networks."""
        self._graphs.clear()
        give_back_memory()

    def _graph(self, path: Path) -> Graph:
        if path not in self._graphs:
            self._graphs[path] = Graph(path, self._threads)
        return self._graphs[path]


#: Input of each kind of graph.
SAMPLES, MEL, FILTER_BANK, IDS = "samples", "mel", "filter_bank", "ids"
#: Metadata: tokens of a text encoder as a JSON list; seconds of the parts whose unit vectors are averaged.
VOCABULARY, PART_SECONDS = "vocabulary", "part_seconds"
#: Shortest input of the convolutions of HuBERT, in samples.
SHORTEST = 400


class Graph:
    """A graph in float32 on the CPU, whose memory is freed with it.

    Args:
        path: ``.onnx``.
        threads: threads inside an operator; 0: as OMP_NUM_THREADS says, else all cores.

    Raises:
        AssetError: not a graph.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        try:
            self._session = onnx_session(path, threads_asked(threads), memory="none", quiet=True)
        except Exception as error:  # onnxruntime's errors have no common base but this
            raise AssetError(f"{path}: cannot be loaded ({error})", "copy or export it again") from error
        give_back_memory()
        self.name = path.stem
        self.inputs = [value.name for value in self._session.get_inputs()]

    @property
    def metadata(self) -> Mapping[str, str]:
        """Metadata that the export wrote into it."""
        notes: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        return notes

    def __call__(self, **inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Its one output; inputs that it does not have are ignored."""
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
    """An encoder of the speaker."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._part = float(graph.metadata.get(PART_SECONDS, 0))

    def embed(self, samples: Waveform) -> Floats:
        """Vector float32 (S,) of a sound float32 (n,) at 16 kHz, n of at least 400.

        An encoder with a length of parts in its metadata gives unit vectors, averaged over the parts of a longer
        sound.
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
    """An encoder of Chinese text; its graph includes its vocabulary."""

    def __init__(self, graph: Graph, digest: str = "") -> None:
        tokens = json.loads(graph.metadata[VOCABULARY])
        self._graph, self._places = graph, {token: place for place, token in enumerate(tokens)}
        super().__init__(graph.name, digest, int(graph.metadata["dimension"]))

    def _ids(self, tokens: list[str]) -> list[int]:
        return [self._places.get(token, self._places["[UNK]"]) for token in tokens]

    def _network(self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> Floats:
        return np.asarray(self._graph(ids=ids, mask=mask))
