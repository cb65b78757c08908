"""Streaming: the vocoder runs while the text-to-semantic model still generates tokens.

The prior sees the whole sentence, so the latent of earlier frames changes a little with every new token. Each part is
therefore decoded with some frames before it, the newest tokens wait for those that follow, and parts are cross-faded:
the frames of a seam are decoded in both parts. Pulses and noise of a source-filter decoder continue from part to part:
if the latent did not change, the parts would be the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from voiceclone.backends.backend import Floats
from voiceclone.backends.bundle import Reference
from voiceclone.errors import ConfigError
from voiceclone.marks.watermark import Marker
from voiceclone.speaking.guidance import PointingBackend
from voiceclone.speaking.options import SpeechOptions
from voiceclone.speaking.splitting import spoken_pieces
from voiceclone.speaking.timing import Word, spans_of, timed, units_of
from voiceclone.speaking.tokens import TOKEN_RATE, Sentence, token_request

if TYPE_CHECKING:
    from voiceclone.speaking.synthesizer import Synthesizer

FRAMES_PER_TOKEN = 2
#: Called with words as soon as their times are known.
OnWords = Callable[[list[Word]], None]


@dataclass(frozen=True)
class Streaming:
    """Sizes of the parts.

    Attributes:
        first_tokens: semantic tokens (40 ms) before the first sound; fewer start sooner and end more abruptly.
        tokens: tokens of each further part.
        wait: newest tokens that wait for those that follow.
        context: frames (20 ms) before a part that are decoded with it; the vocoder sees some 12 on each side.
        fade: frames of the cross-fade.
    """

    first_tokens: int = 15
    tokens: int = 30
    wait: int = 3
    context: int = 16
    fade: int = 1


def stream(
    synthesizer: Synthesizer,
    text: str,
    language: str = "",
    *,
    seed: int = 0,
    options: SpeechOptions | None = None,
    streaming: Streaming | None = None,
    reference: Reference | None = None,
    on_words: OnWords | None = None,
) -> Iterator[Floats]:
    """Speak a text part by part, each sentence once: what was sent cannot be taken back. The parts are marked.

    ``on_words`` is called before a part with the words that ended in it; without a pointer at the end of a sentence.

    Yields:
        Samples float32 (n,) within ±1, as soon as they are computed.

    Raises:
        DataError: nothing in the text can be spoken.
        ConfigError: another speed than 1, or another pitch for a voice that cannot change it.
    """
    options, language = replace(options or SpeechOptions(), attempts=1), language or synthesizer.language
    if options.speed != 1.0:
        raise ConfigError(f"speed {options.speed:g}: a stream has the speed 1", "speak without streaming")
    if options.moves_pitch and not synthesizer.backend.pitched:
        raise ConfigError(
            "pitch, pitch_range: this voice has a HiFi-GAN decoder, whose pitch is changed in finished sound alone",
            "speak without streaming, or use a voice of the architecture small, which has a source-filter decoder",
        )
    pieces = spoken_pieces(text, options.split, language)
    pause = np.zeros(int(options.pause_seconds * synthesizer.sample_rate), np.float32)

    def unmarked(ahead: Executor) -> Iterator[Floats]:
        begin = 0
        for index, piece in enumerate(pieces):
            if index:
                yield pause
                begin += len(pause)
            sentence = synthesizer.sentence(piece, language, options, reference)
            parts = _SentenceStream(synthesizer, sentence, [seed, index], streaming or Streaming())
            timer = _WordTimer(parts, piece, language, begin) if on_words is not None else None
            following = pieces[index + 1 : index + 2]
            for part in parts.parts():
                if timer is not None and on_words is not None:
                    on_words(timer.words_until(part))
                yield part
                begin += len(part)
                if following:  # is read while this sentence sounds, and not before its first sound
                    ahead.submit(synthesizer.text_cache.prepare, following, language)
                    following = []

    marker = Marker(synthesizer.number, synthesizer.sample_rate)
    with ThreadPoolExecutor(1, "reads-ahead") as ahead:  # what it cannot read is an error when it is spoken
        yield from (part for part in map(marker.push, unmarked(ahead)) if len(part))
    yield marker.flush()


def sentences(
    synthesizer: Synthesizer,
    text: str,
    language: str = "",
    *,
    seed: int = 0,
    options: SpeechOptions | None = None,
    reference: Reference | None = None,
    on_words: OnWords | None = None,
) -> Iterator[Floats]:
    """Speak a text sentence by sentence: the first sound comes later than from :func:`stream`, but suspicious sentences
    are tried again before they are heard, and any speed is possible. Each sentence has its own seed. ``on_words`` is
    called before each sentence with its words.

    Yields:
        Samples float32 (n,) within ±1, marked.

    Raises:
        DataError: nothing in the text can be spoken.
        ConfigError: another pitch for a voice that cannot change it.
    """
    options, language = options or SpeechOptions(), language or synthesizer.language
    pieces = spoken_pieces(text, options.split, language)
    pause = np.zeros(int(options.pause_seconds * synthesizer.sample_rate), np.float32)

    marker, begin = Marker(synthesizer.number, synthesizer.sample_rate), 0
    synthesizer.text_cache.prepare(pieces[:1], language)
    with ThreadPoolExecutor(1, "reads-ahead") as ahead:
        for index, piece in enumerate(pieces):
            if index:
                yield marker.push(pause)
                begin += len(pause)
            ahead.submit(synthesizer.text_cache.prepare, pieces[index + 1 : index + 2], language)
            spoken = synthesizer.say(piece, language, seed=seed + index, options=options, reference=reference)
            if on_words is not None:
                words = synthesizer.words_of(spoken, language, begin / synthesizer.sample_rate)
                on_words([word for sentence in words for word in sentence])
            yield marker.push(spoken.samples)
            begin += len(spoken.samples)
    yield marker.flush()


class _SentenceStream:
    """A sentence in progress: tokens so far, frames that were sent, the end of the last part for the next seam."""

    def __init__(self, synthesizer: Synthesizer, sentence: Sentence, seed: list[int], streaming: Streaming) -> None:
        self.synthesizer, self.sentence, self.streaming = synthesizer, sentence, streaming
        self.request = token_request(sentence, np.random.Generator(np.random.Philox(seed)), synthesizer.backend)
        self.noises = np.random.Generator(np.random.Philox([*seed, 1]))
        self.source = synthesizer.source(sentence.options, np.random.Generator(np.random.Philox([*seed, 2])))
        self.noise = np.zeros((synthesizer.prior_channels, 0), np.float32)
        self.tokens: list[int] = []
        self.ended = False
        self.sent = 0  # frames
        self.seam = np.zeros(0, np.float32)

    def parts(self) -> Iterator[Floats]:
        """Samples of the sentence, part by part."""
        due = self.streaming.first_tokens
        for token in self.synthesizer.decode(self.request):
            self.tokens.append(token)
            if len(self.tokens) >= due:
                yield self._part(FRAMES_PER_TOKEN * (len(self.tokens) - self.streaming.wait))
                due = len(self.tokens) + self.streaming.tokens
        self.ended = True
        yield self._part(FRAMES_PER_TOKEN * len(self.tokens), last=True)

    def _part(self, end: int, last: bool = False) -> Floats:
        """Samples of the frames from those that were heard up to ``end``."""
        fade = 0 if last else self.streaming.fade
        first = max(0, self.sent - self.streaming.context)
        latent = self._latent()
        stop = min(latent.shape[2], end + fade + self.streaming.context)
        source = self.source and self.source.part(first, self.sent, end)
        wave = self.synthesizer.backend.vocode(latent[:, :, first:stop], self.sentence.reference.style, source)
        hop = len(wave) // max(1, stop - first)
        new = wave[(self.sent - first) * hop : (end + fade - first) * hop]
        new = _faded(self.seam, new)
        self.sent, cut = end, len(new) - fade * hop
        self.seam = new[cut:]
        return np.clip(new[:cut], -1.0, 1.0)

    def _latent(self) -> Any:
        frames = FRAMES_PER_TOKEN * len(self.tokens)
        more = self.noises.standard_normal((frames - self.noise.shape[1], len(self.noise)), np.float32)
        self.noise = np.concatenate([self.noise, more.T * np.float32(self.sentence.options.noise_scale)], axis=1)
        codes, style = np.asarray(self.tokens, np.int64), self.sentence.reference.style
        return self.synthesizer.backend.latent(codes, self.sentence.phones, style, self.noise[None])


class _WordTimer:
    """Times of the words of a sentence in progress, which begins at a sample of the speech."""

    def __init__(self, stream: _SentenceStream, text: str, language: str, begin: int) -> None:
        voice, self.stream = stream.synthesizer, stream
        self.units = units_of(text, stream.sentence.text.symbols, language, voice.lexicon)
        self.offset, self.told = begin / voice.sample_rate, 0
        self.sound: list[Floats] = []

    def words_until(self, part: Floats) -> list[Word]:
        """Words that ended in a part, or before it and were not reported yet; at the end all."""
        self.sound.append(part)
        stream, guide = self.stream, self.stream.request.guide
        phones = stream.sentence.text
        if guide is not None and guide.path:
            spans, reached = guide.spans(), len(phones.ids) if stream.ended else max(guide.path)
        elif stream.ended:
            codes, backend = np.asarray(stream.tokens, np.int64), stream.synthesizer.backend
            emission = backend.emission if isinstance(backend, PointingBackend) else None
            spans, reached = spans_of(phones, codes, np.concatenate(self.sound), emission), len(phones.ids)
        else:
            return []
        words = timed(self.units, spans, 1 / TOKEN_RATE, self.offset)
        ended = next((index for index, unit in enumerate(self.units) if unit.phones and unit.phones[1] >= reached),
                     len(words))  # fmt: skip
        told, self.told = self.told, max(self.told, ended)
        return words[told : self.told]


def _faded(old: Floats, new: Floats) -> Floats:
    """``new`` with its first samples cross-faded from ``old``."""
    count = min(len(old), len(new))
    if not count:
        return new
    rise = (0.5 - 0.5 * np.cos(np.pi * (np.arange(count, dtype=np.float32) + 0.5) / count)).astype(np.float32)
    return np.concatenate([old[:count] * (1 - rise) + new[:count] * rise, new[count:]])
