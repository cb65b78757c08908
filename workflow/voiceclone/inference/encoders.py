"""What makes a reference of a clip: the same steps, whatever runs the networks. Bundles run them as graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from voiceclone.errors import AssetError, DataError
from voiceclone.files import contained_path, digest, sha256_file
from voiceclone.inference.bundle import QUANTISER, STYLE
from voiceclone.inference.graph_encoders import Graph, GraphBert, GraphContent, GraphSpeaker, give_back_memory
from voiceclone.listeners.bert import LazyEncoder
from voiceclone.sound.io import Waveform

Floats = npt.NDArray[np.float32]

#: What the encoders that voices share are for, by the names that bundles give them.
CONTENT, SPEAKER, TEXT = "content", "speaker", "text"
PURPOSE = {CONTENT: "what is said in a clip", SPEAKER: "who speaks in a clip", TEXT: "the melody of Chinese text"}
#: Their folder, in a bundle or beside it; and where the workflow writes them.
FOLDER = "encoders"
WRITTEN = Path("resources") / FOLDER


class Encoders(Protocol):
    """The networks that listen to a reference clip.

    Attributes:
        prompt: whether the voice speaks on from a clip's words; one that was trained from scratch does not.
    """

    prompt: bool

    def tokens(self, sound: Waveform) -> npt.NDArray[np.int64]:
        """Semantic tokens int64 (P,), 25 a second, of a sound float32 (n,) at 16 kHz."""
        ...

    def style(self, magnitudes: Floats, sound: Waveform) -> Floats:
        """Style float32 (1, G, 1) of a spectrogram (1025, F) and the same sound (n,) at 16 kHz."""
        ...

    def key(self, words: bool) -> str:
        """Digest of the networks that a reference comes from, with its words or without."""
        ...


class EncoderFiles:
    """The encoders that a bundle names, wherever they lie.

    They are looked for in ``encoders`` inside the bundle, in ``encoders`` beside it, then in the other folders.

    Args:
        bundle: folder of the bundle.
        description: its ``bundle.json``.
        places: other folders.
    """

    def __init__(self, bundle: Path, description: Mapping[str, Any], places: Sequence[Path] = ()) -> None:
        bundle = bundle.resolve()
        self.bundle, self.named = bundle, dict(description["encoders"])
        self.places = list(dict.fromkeys([bundle / FOLDER, bundle.parent / FOLDER, *places]))

    def digest(self, purpose: str) -> str:
        """sha256 of the encoder for a purpose; empty: the voice has none."""
        return str(self.named.get(purpose, {}).get("sha256", ""))

    def present(self, purpose: str) -> Path | None:
        """The encoder's file, not compared yet; None: it is not there."""
        entry = self.named[purpose]
        paths = [contained_path(place, entry["file"]) for place in self.places if entry.get("sha256")]
        return next((path for path in paths if path.is_file()), None)

    def find(self, purpose: str) -> Path:
        """The encoder's file, as it was exported.

        Raises:
            AssetError: it is not there; says where it was looked for and how to get it.
            DataError: what is there is another file.
        """
        name = self.named[purpose]["name"]
        if not self.digest(purpose):
            raise AssetError(
                f"{self.bundle}: was exported without the encoder {name} ({PURPOSE[purpose]})",
                "export the voice again with export.encoders: true",
            )
        path = self.present(purpose)
        if path is None:
            looked = ", ".join(map(str, self.places))
            raise AssetError(
                f"{self.bundle}: the encoder {self.named[purpose]['file']} ({PURPOSE[purpose]}) is not there; looked "
                f"in {looked}",
                f"copy it from {WRITTEN} of the machine that exported the voice to {self.bundle / FOLDER}, or name its "
                "folder: --encoders DIR",
            )
        if sha256_file(path) != self.digest(purpose):
            raise DataError(
                f"{path}: another file than the voice was exported with, its sha256 differs",
                f"copy it again from {WRITTEN} of the machine that exported the voice",
            )
        return path

    def text_encoder(self, threads: int = 0) -> LazyEncoder | None:
        """The encoder of Chinese text, loaded when such text comes; None: the voice has none, or it is not there."""
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
        if SPEAKER in self._files.named:
            inputs["vector"] = GraphSpeaker(self._graph(self._files.find(SPEAKER))).embed(sound)[None]
        return np.asarray(self._graph(self._files.bundle / STYLE)(**inputs), np.float32)

    def key(self, words: bool) -> str:
        """See :class:`Encoders`."""
        own = [self._own[name]["sha256"] for name in ((STYLE, QUANTISER) if words else (STYLE,))]
        shared = [self._files.digest(name) for name in ((SPEAKER, CONTENT) if words else (SPEAKER,))]
        return digest(["graphs", own, shared])

    def release(self) -> None:
        """Give back the memory of the networks."""
        self._graphs.clear()
        give_back_memory()

    def _graph(self, path: Path) -> Graph:
        if path not in self._graphs:
            self._graphs[path] = Graph(path, self._threads)
        return self._graphs[path]
