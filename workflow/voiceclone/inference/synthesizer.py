"""Text to speech with a trained or exported voice."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voiceclone.errors import DataError
from voiceclone.files import digest
from voiceclone.inference.backend import BERT_CHANNELS, Backend, Floats, Tokens, frames_at
from voiceclone.inference.bundle import REFERENCE, Reference, read_bundle, read_reference
from voiceclone.inference.detector import Finding, find_faults, score
from voiceclone.inference.sampling import SamplingSettings, sample
from voiceclone.inference.speaking import Speaking
from voiceclone.inference.splitting import pieces_of
from voiceclone.inference.standard import open_backend
from voiceclone.text.cache import CachedFrontend
from voiceclone.text.frontend import Phones
from voiceclone.text.languages import WITH_BERT
from voiceclone.text.lexicon import Lexicon

if TYPE_CHECKING:
    from voiceclone.assets import Asset
    from voiceclone.models.voice import VoiceModels

log = logging.getLogger(__name__)

#: Semantic tokens per second, and samples per token at 32 kHz.
TOKEN_RATE = 25
SAMPLES_PER_TOKEN = 1280
#: The public decoder never ends a sentence in its first steps.
FIRST_END_STEP = 11


@dataclass(frozen=True)
class Piece:
    """How one piece of a text was spoken.

    Attributes:
        text: the piece.
        tokens: semantic tokens that were kept.
        attempts: how often it was spoken.
        findings: what the detector suspects in the attempt that was kept.
    """

    text: str
    tokens: int
    attempts: int
    findings: tuple[Finding, ...]


@dataclass
class Speech:
    """What was spoken.

    Attributes:
        samples: float32 (n,) within ±1.
        rate: sample rate in Hz.
        timings: milliseconds per stage: ``text_ms``, ``gpt_ms``, ``decoder_ms``, ``post_ms``.
        tokens: semantic tokens that were kept, over all pieces.
        truncated: pieces that reached the length limit before their end token.
        pieces: each piece, in order.
    """

    samples: Floats
    rate: int
    timings: dict[str, float] = field(default_factory=dict)
    tokens: int = 0
    truncated: int = 0
    pieces: list[Piece] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return len(self.samples) / self.rate

    @property
    def attempts(self) -> int:
        """Attempts at all pieces together."""
        return sum(piece.attempts for piece in self.pieces)

    @property
    def findings(self) -> list[Finding]:
        """What the detector suspects in what was kept."""
        return [finding for piece in self.pieces for finding in piece.findings]


#: Judges a piece by its sound: samples (n,), rate, the piece, its language, the reference.
Listener = Callable[[Floats, int, str, str, Reference], list[Finding]]


@dataclass
class _Attempt:
    """Tokens of one attempt at a piece, what is suspected of them, and their sound where it was made already."""

    codes: Tokens
    ended: bool
    findings: list[Finding]
    rng: np.random.Generator
    wave: Floats | None = None


class Synthesizer:
    """Speaks text with one voice: splitting, phones, semantic tokens, waveform.

    Args:
        backend: runs the models.
        reference: the default reference clip.
        sample_rate: of the output, in Hz.
        prior_channels: channels of the prior's noise.
        end_token: id of the token that ends a sentence (the number of codes).
        language: used where the caller names none.
        lexicon: the user's pronunciations.
        trained_with_bert: the voice knows Chinese text with BERT features; without them it warns.
        encode_text: gives the BERT features (1024, L) of phones; None: a text's are taken as zeros.
        rates: the voice's usual semantic tokens per phone by language, where they are known.
        fingerprint: tells this voice and its default reference from others.
    """

    def __init__(
        self,
        backend: Backend,
        reference: Reference,
        *,
        sample_rate: int,
        prior_channels: int,
        end_token: int,
        language: str,
        lexicon: Lexicon | None = None,
        trained_with_bert: bool = False,
        encode_text: Callable[[Phones], npt.NDArray[Any]] | None = None,
        rates: Mapping[str, float] | None = None,
        fingerprint: str = "",
    ) -> None:
        self._bert_lacks = trained_with_bert and encode_text is None
        self._frontend = CachedFrontend(lexicon, encode_text)
        self.backend, self.reference, self.sample_rate = backend, reference, sample_rate
        self.prior_channels, self.end_token, self.language, self.lexicon = prior_channels, end_token, language, lexicon
        self.rates, self.fingerprint = dict(rates or {}), fingerprint

    @classmethod
    def from_bundle(
        cls, bundle: Path, threads: int = 0, lexicon: Lexicon | None = None, device: str = "auto"
    ) -> Synthesizer:
        """A synthesiser over an exported bundle (folder or ``bundle.json``); ``device``: see :func:`open_backend`."""
        description, folder = read_bundle(bundle)
        reference = read_reference(folder / REFERENCE)
        return cls(
            open_backend(folder, description, threads, device),
            reference,
            sample_rate=description["sample_rate"],
            prior_channels=description["prior_channels"],
            end_token=description["end_token"],
            language=description["languages"][0],
            trained_with_bert=description.get("bert", False),
            lexicon=lexicon,
            rates=description.get("tokens_per_phone"),
            fingerprint=digest({name: entry["sha256"] for name, entry in description["files"].items()}),
        )

    @classmethod
    def from_models(
        cls, models_dir: Path, features_dir: Path, lexicon: Lexicon | None = None, bert: Asset | None = None
    ) -> Synthesizer:
        """A synthesiser over the trained models themselves, in torch, with the voice's own reference clip.

        Args:
            models_dir: trained models.
            features_dir: the features that they were trained on.
            lexicon: the user's pronunciations.
            bert: the encoder of Chinese text that the features were made with.
        """
        from voiceclone.features.bert import LazyBert
        from voiceclone.inference.reference import choose_reference, has_bert, make_reference, usual_rates
        from voiceclone.models.voice import load_voice

        models = load_voice(models_dir)
        row = choose_reference(features_dir)
        reference = make_reference(models.sovits, features_dir, row, models.prompt)
        models.sovits.remove_weight_norm()
        with_bert = has_bert(features_dir)
        return cls.from_loaded(
            models,
            reference,
            row["language"],
            lexicon=lexicon,
            trained_with_bert=with_bert,
            encode_text=LazyBert(bert) if bert is not None and with_bert else None,
            rates=usual_rates(features_dir),
        )

    @classmethod
    def from_loaded(
        cls, models: VoiceModels, reference: Reference, language: str, device: str = "cpu", **more: Any
    ) -> Synthesizer:
        """A synthesiser over models in memory, weight norm removed.

        Args:
            models: the voice, on the device.
            reference: the default reference clip.
            language: used where the caller names none.
            device: where the models are.
            more: further arguments of the class.
        """
        from voiceclone.inference.backend import TorchBackend

        return cls(
            TorchBackend(models.gpt, models.sovits, device),
            reference,
            sample_rate=models.sovits.config.sample_rate,
            prior_channels=models.sovits.config.inter_channels,
            end_token=models.gpt.config.codes,
            language=language,
            fingerprint=digest([models.fingerprint, reference.digest]),
            **more,
        )

    def reading_of(self, text: str) -> dict[str, Any]:
        """What decides how a text is read beside the text itself: entries of the user's lexicon, and whether the
        encoder of Chinese text is there; plain values for the key of a cache."""
        return {"lexicon": self.lexicon.used_in(text) if self.lexicon else {}, "bert": self._frontend.encodes}

    def say(
        self,
        text: str,
        language: str = "",
        *,
        seed: int = 0,
        speaking: Speaking | None = None,
        reference: Reference | None = None,
        listener: Listener | None = None,
        on_piece: Callable[[int, int], None] | None = None,
        **changes: Any,
    ) -> Speech:
        """Speak a text.

        Args:
            text: one or more sentences.
            language: ISO code or a mode of the text front end (``auto``); empty: the voice's own.
            seed: of sampling and of the prior's noise; the same seed gives the same speech.
            speaking: how.
            reference: clip to speak like; None: the voice's own.
            listener: judges the sound of every attempt.
            on_piece: called after each piece with the numbers of those that are spoken and of all.
            changes: fields of ``speaking`` to take otherwise, for example ``attempts=3``.

        Raises:
            DataError: nothing in the text can be spoken.
            ConfigError: a value out of its range.
        """
        manner, language = replace(speaking or Speaking(), **changes), language or self.language
        pieces = pieces_of(text, manner.split, language)
        if not pieces:
            raise DataError(f"text {text[:60]!r}: nothing in it can be spoken", "give a text with letters or digits")
        speech = Speech(np.zeros(0, np.float32), self.sample_rate, dict.fromkeys(TIMINGS, 0.0))
        reference = reference or self.reference
        with _timed(speech.timings, "text_ms"):
            self._frontend.prepare(pieces, language)
        waves: list[Floats] = []
        for index, piece in enumerate(pieces):
            waves.append(self._say_piece(piece, language, [seed, index], manner, reference, listener, speech))
            if on_piece is not None:
                on_piece(index + 1, len(pieces))
        with _timed(speech.timings, "post_ms"):
            speech.samples = _join(waves, int(manner.pause_seconds * self.sample_rate))
        return speech

    def _say_piece(
        self,
        piece: str,
        language: str,
        seed: list[int],
        manner: Speaking,
        reference: Reference,
        listener: Listener | None,
        speech: Speech,
    ) -> Floats:
        """Speak one piece, again where it is suspected, and keep the least suspected attempt, of equal ones the first.

        The first attempt is the same however many may follow.
        """
        with _timed(speech.timings, "text_ms"):
            text, bert = self._read(piece, language)
        best: _Attempt | None = None
        for number in range(manner.attempts):
            rng = np.random.Generator(np.random.Philox([*seed, number] if number else seed))
            attempt = self._attempt(text, bert, rng, manner, reference, speech.timings)
            if listener is not None:  # all attempts: otherwise one that nobody heard would seem the better one
                attempt.wave = self._decode(attempt, text.ids, manner, reference, speech.timings)
                attempt.findings += listener(attempt.wave, self.sample_rate, piece, main_language(text), reference)
            if best is None or score(attempt.findings) < score(best.findings):
                best = attempt
            if not attempt.findings:
                break
        assert best is not None
        if not best.ended:
            log.warning("%r: no end after %d tokens, cut there", piece, len(best.codes))
            speech.truncated += 1
        speech.tokens += len(best.codes)
        speech.pieces.append(Piece(piece, len(best.codes), number + 1, tuple(best.findings)))
        return best.wave if best.wave is not None else self._decode(best, text.ids, manner, reference, speech.timings)

    def _attempt(
        self,
        text: Phones,
        bert: Floats | None,
        rng: np.random.Generator,
        manner: Speaking,
        reference: Reference,
        timings: dict[str, float],
    ) -> _Attempt:
        phones = text.ids
        with _timed(timings, "gpt_ms"):
            limit = self.limit(phones, manner)
            codes, ended = self.generate(phones, rng, manner.sampling, limit, bert, reference)
        rate = self.rates.get(main_language(text))
        findings = find_faults(codes, phones, ended, manner.detector, reference.tokens, reference.phones, rate)
        return _Attempt(codes, ended, findings, rng)

    def _decode(
        self, attempt: _Attempt, phones: Tokens, manner: Speaking, reference: Reference, timings: dict[str, float]
    ) -> Floats:
        with _timed(timings, "decoder_ms"):
            frames = frames_at(len(attempt.codes), manner.speed)
            noise = attempt.rng.standard_normal((1, self.prior_channels, frames), np.float32)
            noise *= np.float32(manner.noise_scale)
            return self.backend.decode(attempt.codes, phones, reference.style, noise)

    def generate(
        self,
        phones: Tokens,
        rng: np.random.Generator,
        sampling: SamplingSettings,
        max_tokens: int,
        bert: Floats | None = None,
        reference: Reference | None = None,
    ) -> tuple[Tokens, bool]:
        """Semantic tokens (T,) for phones (L,), with BERT features (1024, L) or None for zeros, after the prompt of a
        reference (None: the voice's own), and whether the model ended by itself."""
        codes = list(self.draw(phones, rng, sampling, max_tokens, bert, reference))
        return np.asarray(codes, np.int64), len(codes) < max_tokens

    def draw(
        self,
        phones: Tokens,
        rng: np.random.Generator,
        sampling: SamplingSettings,
        max_tokens: int,
        bert: Floats | None = None,
        reference: Reference | None = None,
    ) -> Iterator[int]:
        """The tokens of :meth:`generate` one by one, up to ``max_tokens`` or the end."""
        reference = reference or self.reference
        prompt = reference.tokens
        everything = np.concatenate([reference.phones, phones])
        logits, cache = self.backend.start(everything, _with_prompt(reference, bert, len(phones)), prompt)
        tokens = prompt.tolist()
        for index in range(max_tokens):
            if index:
                logits, cache = self.backend.step(tokens[-1], len(tokens) - 1, cache)
            if index < FIRST_END_STEP:
                logits = logits.copy()
                logits[self.end_token] = -np.inf
            token, best = sample(logits, np.asarray(tokens, np.int64), sampling, rng)
            if self.end_token in (token, best):
                return
            tokens.append(token)
            yield token

    def limit(self, phones: Tokens, manner: Speaking) -> int:
        """Most tokens for phones (L,)."""
        return int(manner.max_tokens_per_phone * len(phones)) + TOKEN_RATE

    def read(self, piece: str, language: str) -> tuple[Tokens, Floats | None]:
        """Phones (L,) of a piece of text and their BERT features (1024, L), None for zeros."""
        text, bert = self._read(piece, language)
        return text.ids, bert

    def _read(self, piece: str, language: str) -> tuple[Phones, Floats | None]:
        text = self._frontend.read(piece, language)
        return text, self._features_of(text)

    def _features_of(self, text: Phones) -> Floats | None:
        """BERT features of a text; None: zeros, as all text but Chinese has."""
        if not any(segment.language in WITH_BERT for segment in text.segments):
            return None
        if (features := self._frontend.features(text)) is not None:
            return np.asarray(features, np.float32)
        if self._bert_lacks:
            self._bert_lacks = False  # said once
            log.warning(
                "this voice learnt Chinese with BERT features, which are not computed here: its melody will be "
                "flatter than that of the trained models"
            )
        return None


def _with_prompt(reference: Reference, bert: Floats | None, phones: int) -> Floats | None:
    """Features of the reference's phones and of the text's, zeros for those that have none."""
    if reference.bert is None and bert is None:
        return None
    parts = ((reference.bert, len(reference.phones)), (bert, phones))
    return np.concatenate(
        [np.zeros((BERT_CHANNELS, length), np.float32) if part is None else part for part, length in parts], axis=1
    )


def main_language(text: Phones) -> str:
    """The language of most phones of a text."""
    counts: dict[str, int] = {}
    for segment in text.segments:
        counts[segment.language] = counts.get(segment.language, 0) + len(segment.symbols)
    return max(counts, key=lambda language: (counts[language], language))


TIMINGS = ("text_ms", "gpt_ms", "decoder_ms", "post_ms")


class _timed:  # noqa: N801 - reads as a verb where it is used
    """Add the milliseconds of a block to one entry of a dictionary."""

    def __init__(self, timings: dict[str, float], name: str) -> None:
        self.timings, self.name = timings, name

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: Any) -> None:
        self.timings[self.name] += (time.perf_counter() - self.start) * 1000


def _join(waves: list[Floats], pause: int) -> Floats:
    """Pieces with silence between them; a piece above full scale is scaled down, never clipped."""
    silence = np.zeros(pause, np.float32)
    parts: list[Floats] = []
    for wave in waves:
        parts += [silence] * bool(parts) + [wave / max(1.0, float(np.abs(wave).max(initial=0.0)))]
    return np.concatenate(parts)
