"""genie-tts beside an exported voice: ``genie.py convert PUBLIC FOLDER``, then ``genie.py speak FOLDER``.

Runs in the peers' own environment. The graphs come from genie's own converter; its own loop runs them, stopped after as
many tokens as the others make, whatever it draws.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from workload import (
    NEW_TOKENS,
    PROMPT_TOKENS,
    REFERENCE_PHONES,
    REFERENCE_SECONDS,
    measure,
    phones_and_tokens,
    report,
)
from workload import Speaker as Engine


def prepare(data: Path) -> None:
    """Satisfy the check at import for models that read recordings, which are not measured here."""
    (data / "chinese-hubert-base").mkdir(parents=True, exist_ok=True)
    (data / "speaker_encoder.onnx").touch()
    os.environ["GENIE_DATA_DIR"] = str(data)


def convert(public: Path, folder: Path) -> None:
    os.chdir(folder.parent)  # before the import, which decides where its scratch files go
    from genie_tts.Converter.v2.Converter import convert as convert_voice

    convert_voice(str(public / "voice.ckpt"), str(public / "voice.pth"), str(folder))
    if not any(folder.glob("*.onnx")):
        sys.exit(f"genie's converter wrote nothing to {folder}")


class Limited:
    """A stage decoder that says "stop" after a number of calls and at no other time."""

    def __init__(self, session: Any, calls: int) -> None:
        self._session, self._calls = session, calls
        self.done, self.first = 0, 0.0

    def get_inputs(self) -> Any:
        return self._session.get_inputs()

    def run(self, names: Any, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        if not self.done:
            self.first = time.perf_counter()
        y, embedding, _, *present = self._session.run(names, feed)
        self.done += 1
        return [y, embedding, np.array(self.done == self._calls), *present]


class Speaker(Engine):
    """One sentence, again and again."""

    def __init__(self, model: Any) -> None:
        from genie_tts.Core.Inference import GENIE

        self._model, self._engine = model, GENIE()
        phones, _, codes = phones_and_tokens()
        self._reference, self._text = phones[None, :REFERENCE_PHONES], phones[None, REFERENCE_PHONES:]
        self._codes = codes[None, None]
        rng = np.random.default_rng(0)
        self._content = rng.standard_normal((1, 768, 2 * PROMPT_TOKENS)).astype(np.float32)
        self._audio = rng.standard_normal((1, REFERENCE_SECONDS * 32000)).astype(np.float32) / 10

    def generate(self) -> int:
        """The first token comes from the first stage."""
        stage = Limited(self._model.T2S_STAGE_DECODER, NEW_TOKENS - 1)
        start = time.perf_counter()
        self._engine.t2s_cpu(
            self._reference,
            np.zeros((self._reference.shape[1], 1024), np.float32),
            self._text,
            np.zeros((self._text.shape[1], 1024), np.float32),
            self._content,
            self._model.T2S_ENCODER,
            self._model.T2S_FIRST_STAGE_DECODER,
            stage,
        )
        self.prefill = stage.first - start
        return 1 + stage.done

    def decode(self) -> int:
        feed = {"text_seq": self._text, "pred_semantic": self._codes, "ref_audio": self._audio}
        return int(np.asarray(self._model.VITS.run(None, feed)[0]).size)


def speak(folder: Path) -> None:
    from genie_tts.ModelManager import model_manager

    def load() -> Any:
        if not model_manager.load_character("voice", str(folder), "English"):
            sys.exit(f"genie could not load {folder}")
        return model_manager.get("voice")

    _, figures = measure(load, Speaker, folder)
    report(**figures)


if __name__ == "__main__":
    command, *paths = sys.argv[1], *(Path(path).resolve() for path in sys.argv[2:])
    prepare(paths[-1].parent / "genie-data")
    if command == "convert":
        convert(*paths)
    else:
        speak(*paths)
