"""A process that speaks for a server: it reads orders from a connection and answers with encoded sound.

It opens a bundle when it is first asked for, keeps the most recent ones, and ends when the server does. Killing it
loses the order that it was speaking and nothing else.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from voiceclone.backends.bundle import BUNDLE_FILE, verify_bundle
from voiceclone.errors import DataError, VoiceCloneError
from voiceclone.files import sha256_file
from voiceclone.lineage.rights import consent_of
from voiceclone.marks.labels import AskedNotice, Notice, notice_of, tone, with_notice
from voiceclone.marks.watermark import Floats
from voiceclone.serving.encoding import Encoder
from voiceclone.speaking.options import SpeechOptions
from voiceclone.speaking.streaming import OnWords, sentences, stream
from voiceclone.speaking.timing import Word, later
from voiceclone.speaking.voices import Voice, open_bundle

log = logging.getLogger(__name__)
#: Kinds of answers: sound (bytes, seconds so far); words of the next sound; the end; an invalid request, a damaged
#: voice, a newer version of it, a bug.
SOUND, WORDS, END = "sound", "words", "end"
REFUSED, DAMAGED, RENEWED, FAILED = "refused", "damaged", "renewed", "failed"
#: Seconds until a bundle that could not be opened is tried again.
RETRY_SECONDS = 0.5


@dataclass(frozen=True)
class WorkerSettings:
    """How a worker opens voices.

    Attributes:
        root: working folder with ``config`` and ``resources``.
        engine: see :func:`voiceclone.speaking.runtimes.open_backend`.
        kept: voices that are open at a time.
    """

    root: Path = Path()
    engine: str = "auto"
    kept: int = 8


@dataclass(frozen=True)
class Order:
    """A text to speak.

    Attributes:
        folder: the bundle.
        version: sha256 of its ``bundle.json``; another one there is answered by :data:`RENEWED`.
        text: what to speak.
        language: see :meth:`voiceclone.speaking.synthesizer.Synthesizer.say`.
        seed: of sampling.
        options: with one attempt and the speed 1 the sound comes while a sentence is computed, else by sentence.
        notice: what is heard first, see :func:`voiceclone.marks.labels.notice_of`.
        form: of the sound, see :data:`voiceclone.serving.encoding.MEDIA_TYPES`.
        max_seconds: length at which it is cut.
        timestamps: tell when each word is heard.
        style: of the voice; empty: its own clip.
    """

    folder: Path
    version: str
    text: str
    language: str = ""
    seed: int = 0
    options: SpeechOptions = field(default_factory=SpeechOptions)
    notice: AskedNotice = "auto"
    form: str = "wav"
    max_seconds: float = 600.0
    timestamps: bool = False
    style: str = ""


class _OpenVoices:
    """The synthesisers that were used last."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings, self._open = settings, OrderedDict[Path, tuple[str, Voice]]()

    def get(self, folder: Path, version: str) -> Voice | None:
        """The voice of a folder in a version; None: the folder has another version.

        Raises:
            DataError: its files are damaged.
        """
        if self._open.get(folder, ("", None))[0] != version:
            self._open.pop(folder, None)
            verify_bundle(folder)
            if sha256_file(folder / BUNDLE_FILE) != version:
                return None
            opened = open_bundle(folder, self._settings.root, threads=1, engine=self._settings.engine)
            self._open[folder] = version, opened
            if len(self._open) > self._settings.kept:
                self._open.popitem(last=False)
        self._open.move_to_end(folder)
        return self._open[folder][1]


def work(connection: Connection) -> None:
    """Answer orders until the other side is gone. The first thing that it sends are :class:`WorkerSettings`."""
    voices = _OpenVoices(connection.recv())
    while True:
        order = connection.recv()
        if order is None:  # a cancellation that came after the end
            continue
        for answer in _answers(voices, order):
            connection.send(answer)
            if answer[0] == SOUND and connection.poll():  # cancelled: nothing else comes before the end
                connection.recv()
                connection.send((END, 0.0))
                break


def _answers(voices: _OpenVoices, order: Order) -> Iterator[tuple[str, Any]]:
    """Sound of an order, and its end; or why there is none."""
    for last in (False, True):
        try:
            voice = voices.get(order.folder, order.version)
            break
        except Exception as error:  # whatever a damaged file does to a library, this voice alone is out
            if last:
                log.exception("%s: cannot be opened", order.folder)
                yield DAMAGED, str(error)
                return
            time.sleep(RETRY_SECONDS)  # a new version may be on its way
    if voice is None:
        yield RENEWED, ""
        return
    try:
        voice.check_use("serve", order.text, order.language)
        yield from _spoken(voice, order)
    except VoiceCloneError as error:
        yield REFUSED, error.message
    except Exception:
        log.exception("a text of %d characters", len(order.text))
        yield FAILED, "the text could not be spoken"


def _spoken(voice: Voice, order: Order) -> Iterator[tuple[str, Any]]:
    count, rate, rights = 0, voice.synthesizer.sample_rate, voice.rights or {}
    encoder = Encoder(order.form, rate, voice.synthesizer.number, consent_of(rights))
    words: list[Word] = []
    on_words = words.extend if order.timestamps else None
    for part in _parts(voice, order, notice_of(order.notice, rights), on_words):
        if words:
            yield WORDS, list(words)
            words.clear()
        count += len(part)
        if count > order.max_seconds * rate:
            raise DataError(f"the speech is longer than {order.max_seconds:g} s")
        yield SOUND, (encoder.push(part), count / rate)  # perhaps nothing yet, but a moment to be cancelled
    yield SOUND, (encoder.push(np.zeros(0, np.float32), last=True), count / rate)
    yield END, count / rate


def _parts(opened: Voice, order: Order, notice: Notice, on_words: OnWords | None) -> Iterator[Floats]:
    voice, reference = opened.synthesizer, opened.style(order.style) if order.style else None
    text = with_notice(order.text, notice, order.language or voice.language)
    speak = stream if order.options.attempts == 1 and order.options.speed == 1.0 else sentences
    before = tone(notice, voice.sample_rate)
    if len(before):
        yield before
    lead = len(before) / voice.sample_rate
    told = None if on_words is None else lambda words: on_words(later(words, lead))
    yield from speak(voice, text, order.language, seed=order.seed, options=order.options, reference=reference,
                     on_words=told)  # fmt: skip


def main() -> None:
    """Work at the connection whose descriptor is the only argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the server ends this one
    logging.basicConfig(level=logging.WARNING, format="worker: %(levelname)s %(message)s")
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the server has ended
        work(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    main()
