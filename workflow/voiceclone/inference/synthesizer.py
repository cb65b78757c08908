"""Text to speech with a trained or exported voice."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voiceclone.errors import DataError
from voiceclone.inference.backend import BERT_CHANNELS, Backend, Floats, OnnxBackend, Tokens
from voiceclone.inference.bundle import REFERENCE, Reference, read_bundle, read_reference
from voiceclone.inference.sampling import SamplingSettings, sample
from voiceclone.inference.splitting import split_text
from voiceclone.text.cache import CachedFrontend
from voiceclone.text.frontend import Phones
from voiceclone.text.languages import WITH_BERT
from voiceclone.text.lexicon import Lexicon

if TYPE_CHECKING:
    from voiceclone.assets import Asset

log = logging.getLogger(__name__)

#: Semantic tokens per second, and samples per token at 32 kHz.
TOKEN_RATE = 25
SAMPLES_PER_TOKEN = 1280
#: The public decoder never ends a sentence in its first steps.
FIRST_END_STEP = 11


@dataclass
class Speech:
    """What was spoken.

    Attributes:
        samples: float32 (n,) within ±1.
        rate: sample rate in Hz.
        timings: milliseconds per stage: ``text_ms``, ``gpt_ms``, ``decoder_ms``, ``post_ms``.
        tokens: semantic tokens that were generated, over all pieces.
        truncated: pieces that reached the length limit before their end token.
    """

    samples: Floats
    rate: int
    timings: dict[str, float] = field(default_factory=dict)
    tokens: int = 0
    truncated: int = 0


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
    ) -> None:
        self._bert_lacks = trained_with_bert and encode_text is None
        self._frontend = CachedFrontend(lexicon, encode_text)
        self.backend, self.reference, self.sample_rate = backend, reference, sample_rate
        self.prior_channels, self.end_token, self.language, self.lexicon = prior_channels, end_token, language, lexicon

    @classmethod
    def from_bundle(cls, bundle: Path, threads: int = 0) -> Synthesizer:
        """A synthesiser over an exported bundle (folder or ``bundle.json``)."""
        description, folder = read_bundle(bundle)
        return cls(
            OnnxBackend(folder, description, threads),
            read_reference(folder / REFERENCE),
            sample_rate=description["sample_rate"],
            prior_channels=description["prior_channels"],
            end_token=description["end_token"],
            language=description["languages"][0],
            trained_with_bert=description.get("bert", False),
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
        from voiceclone.inference.backend import TorchBackend
        from voiceclone.inference.reference import choose_reference, has_bert, make_reference
        from voiceclone.models.voice import has_base, load_gpt, load_sovits

        gpt, sovits = load_gpt(models_dir), load_sovits(models_dir)
        row = choose_reference(features_dir)
        reference = make_reference(sovits, features_dir, row, has_base(models_dir))
        sovits.remove_weight_norm()
        with_bert = has_bert(features_dir)
        return cls(
            TorchBackend(gpt, sovits),
            reference,
            sample_rate=sovits.config.sample_rate,
            prior_channels=sovits.config.inter_channels,
            end_token=gpt.config.codes,
            language=row["language"],
            lexicon=lexicon,
            trained_with_bert=with_bert,
            encode_text=LazyBert(bert) if bert is not None and with_bert else None,
        )

    def say(
        self,
        text: str,
        language: str = "",
        *,
        seed: int = 0,
        sampling: SamplingSettings | None = None,
        noise_scale: float = 0.5,
        pause_seconds: float = 0.3,
        max_tokens_per_phone: float = 5.0,
    ) -> Speech:
        """Speak a text.

        Args:
            text: one or more sentences.
            language: ISO code or a mode of the text front end (``auto``); empty: the voice's own.
            seed: of sampling and of the prior's noise; the same seed gives the same speech.
            sampling: how tokens are drawn.
            noise_scale: of the prior's normal noise; 0 takes its mean.
            pause_seconds: silence between pieces.
            max_tokens_per_phone: length limit of a piece; a model that never ends is cut there.

        Raises:
            DataError: nothing in the text can be spoken.
        """
        pieces = split_text(text)
        if not pieces:
            raise DataError(f"text {text[:60]!r}: nothing in it can be spoken", "give a text with letters or digits")
        speech = Speech(np.zeros(0, np.float32), self.sample_rate, dict.fromkeys(TIMINGS, 0.0))
        with _timed(speech.timings, "text_ms"):
            self._frontend.prepare(pieces, language or self.language)
        waves: list[Floats] = []
        for index, piece in enumerate(pieces):
            rng = np.random.Generator(np.random.Philox([seed, index]))
            waves.append(
                self._say_piece(
                    piece,
                    language or self.language,
                    rng,
                    sampling or SamplingSettings(),
                    noise_scale,
                    max_tokens_per_phone,
                    speech,
                )
            )
        with _timed(speech.timings, "post_ms"):
            speech.samples = _join(waves, int(pause_seconds * self.sample_rate))
        return speech

    def _say_piece(
        self,
        piece: str,
        language: str,
        rng: np.random.Generator,
        sampling: SamplingSettings,
        noise_scale: float,
        max_tokens_per_phone: float,
        speech: Speech,
    ) -> Floats:
        with _timed(speech.timings, "text_ms"):
            text = self._frontend.read(piece, language)
            phones, bert = text.ids, self._features_of(text)
        with _timed(speech.timings, "gpt_ms"):
            limit = int(max_tokens_per_phone * len(phones)) + TOKEN_RATE
            codes, ended = self.generate(phones, rng, sampling, limit, bert)
        if not ended:
            log.warning("%r: no end after %d tokens, cut there", piece, len(codes))
            speech.truncated += 1
        speech.tokens += len(codes)
        with _timed(speech.timings, "decoder_ms"):
            noise = rng.standard_normal((1, self.prior_channels, 2 * len(codes)), np.float32) * np.float32(noise_scale)
            return self.backend.decode(codes, phones, self.reference.style, noise)

    def generate(
        self,
        phones: Tokens,
        rng: np.random.Generator,
        sampling: SamplingSettings,
        max_tokens: int,
        bert: Floats | None = None,
    ) -> tuple[Tokens, bool]:
        """Semantic tokens (T,) for phones (L,), with BERT features (1024, L) or None for zeros, after the reference's
        prompt, and whether the model ended by itself."""
        prompt = self.reference.tokens
        everything = np.concatenate([self.reference.phones, phones])
        logits, cache = self.backend.start(everything, self._with_prompt(bert, len(phones)), prompt)
        tokens = prompt.tolist()
        for index in range(max_tokens):
            if index < FIRST_END_STEP:
                logits = logits.copy()
                logits[self.end_token] = -np.inf
            token, best = sample(logits, np.asarray(tokens, np.int64), sampling, rng)
            if self.end_token in (token, best):
                return np.asarray(tokens[len(prompt) :], np.int64), True
            tokens.append(token)
            logits, cache = self.backend.step(token, len(tokens) - 1, cache)
        return np.asarray(tokens[len(prompt) :], np.int64), False

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

    def _with_prompt(self, bert: Floats | None, phones: int) -> Floats | None:
        """Features of the reference's phones and of the text's, zeros for those that have none."""
        if self.reference.bert is None and bert is None:
            return None
        parts = ((self.reference.bert, len(self.reference.phones)), (bert, phones))
        return np.concatenate(
            [np.zeros((BERT_CHANNELS, length), np.float32) if part is None else part for part, length in parts], axis=1
        )


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
