"""Text to speech with a trained or exported voice."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from voiceclone.backends.backend import Backend, Floats, Tokens, frames_at
from voiceclone.backends.bundle import REFERENCE, Reference, read_bundle, read_reference, read_styles, voice_number
from voiceclone.backends.waveform import Source
from voiceclone.files import digest
from voiceclone.languages import WITH_BERT
from voiceclone.sound.repitch import repitched
from voiceclone.speaking.detector import Finding, find_detours, find_faults, score
from voiceclone.speaking.guidance import Guide, PointingBackend, is_pointing
from voiceclone.speaking.options import SpeechOptions
from voiceclone.speaking.result import Listener, Piece, Speech, joined
from voiceclone.speaking.runtimes import open_backend
from voiceclone.speaking.splitting import spoken_pieces
from voiceclone.speaking.timing import Word, spans_of, timed, units_of
from voiceclone.speaking.tokens import Sentence, SpeechTask, TokenRequest, decode, token_request
from voiceclone.text.cache import CachedFrontend
from voiceclone.text.frontend import Phones
from voiceclone.text.lexicon import Lexicon
from voiceclone.text.stopwatch import measuring

if TYPE_CHECKING:
    from voiceclone.assets import Asset
    from voiceclone.models.voice import VoiceModels

log = logging.getLogger(__name__)


@dataclass
class _Attempt:
    """Tokens of one attempt at a sentence, their findings, and the waveform if it was made already."""

    codes: Tokens
    ended: bool
    findings: list[Finding]
    rng: np.random.Generator
    spans: Tokens | None = None
    wave: Floats | None = None


class Synthesizer:
    """Speaks text with one voice: splitting, phones, semantic tokens, waveform.

    Args:
        backend: runs the models.
        reference: the default reference clip.
        sample_rate: of the output, in Hz.
        prior_channels: channels of the prior's noise.
        end_token: id of the token that ends a sentence (the number of codes).
        language: default language of a text.
        lexicon: the user's pronunciations.
        trained_with_bert: the voice was trained on Chinese with BERT features; warns if they are missing.
        encode_text: computes the BERT features (1024, L) of phones; None: zeros.
        rates: the voice's usual semantic tokens per phone by language, if known.
        fingerprint: identifies this voice and its default reference.
        number: that the watermark of its speech carries.
        styles: further references of the voice by the names of their styles.
        texts: folder of read texts that processes share; None: they are kept in memory alone.

    Attributes:
        text_cache: phones of earlier texts, with its hit rate.
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
        number: int = 0,
        styles: Mapping[str, Reference] | None = None,
        texts: Path | None = None,
    ) -> None:
        self._bert_lacks = trained_with_bert and encode_text is None
        self.text_cache = CachedFrontend(lexicon, encode_text, folder=texts)
        self.backend, self.reference, self.sample_rate = backend, reference, sample_rate
        self.prior_channels, self.end_token, self.language, self.lexicon = prior_channels, end_token, language, lexicon
        self.rates, self.fingerprint, self.number = dict(rates or {}), fingerprint, number
        self.styles = dict(styles or {})

    @classmethod
    def from_bundle(
        cls,
        bundle: Path,
        threads: int = 0,
        lexicon: Lexicon | None = None,
        reference: Reference | None = None,
        encode_text: Callable[[Phones], npt.NDArray[Any]] | None = None,
        device: str = "auto",
        engine: str = "auto",
        texts: Path | None = None,
    ) -> Synthesizer:
        """A synthesiser over an exported bundle (folder or ``bundle.json``).

        Args:
            bundle: the folder.
            threads: CPU threads; 0: automatic.
            lexicon: the user's pronunciations.
            reference: the default clip; None: the exported one.
            encode_text: see the class; None: the bundle's encoder, if it is in the bundle, beside it or below the
                working folder.
            device: and
            engine: see :func:`voiceclone.speaking.runtimes.open_backend`.
            texts: see the class.
        """
        from voiceclone.speaking.encoders import WRITTEN, EncoderFiles

        description, folder = read_bundle(bundle)
        encode_text = encode_text or EncoderFiles(folder, description, [WRITTEN]).text_encoder(threads)
        fingerprint = digest({name: entry["sha256"] for name, entry in description["files"].items()})
        return cls(
            open_backend(folder, description, threads, device, engine),
            reference or read_reference(folder / REFERENCE),
            sample_rate=description["sample_rate"],
            prior_channels=description["prior_channels"],
            end_token=description["end_token"],
            language=description["languages"][0],
            trained_with_bert=description["bert"],
            encode_text=encode_text,
            lexicon=lexicon,
            rates=description.get("tokens_per_phone"),
            fingerprint=fingerprint if reference is None else digest([fingerprint, reference.digest]),
            number=voice_number(description),
            styles=read_styles(folder, description),
            texts=texts,
        )

    @classmethod
    def from_models(
        cls,
        models: Path | VoiceModels,
        features_dir: Path,
        lexicon: Lexicon | None = None,
        bert: Asset | None = None,
        device: str = "cpu",
        precision: str = "fp32",
        references: Path | None = None,
    ) -> Synthesizer:
        """A synthesiser over models in torch, with the reference clip of a training's features.

        Args:
            models: folder of trained models, or models in memory.
            features_dir: the features that they, or others from them, were trained on.
            lexicon: the user's pronunciations.
            bert: the encoder of Chinese text that the features were made with.
            device: where to compute.
            precision: see :class:`voiceclone.speaking.torch_backend.TorchBackend`.
            references: see :func:`voiceclone.speaking.styles.clips_of`.
        """
        from voiceclone.listeners.bert import LazyBert
        from voiceclone.models.voice import load_voice
        from voiceclone.speaking.reference import has_bert, make_reference, usual_rates
        from voiceclone.speaking.styles import clips_of

        models = load_voice(models) if isinstance(models, Path) else models
        clips = clips_of(features_dir, references)
        styles = {name: make_reference(models.sovits, features_dir, row, models.prompt) for name, row in clips.items()}
        models.sovits.remove_weight_norm()
        models.gpt.to(device)
        models.sovits.to(device)
        with_bert = has_bert(features_dir)
        return cls.from_loaded(
            models,
            styles.pop(""),
            clips[""]["language"],
            device,
            precision,
            lexicon=lexicon,
            trained_with_bert=with_bert,
            encode_text=LazyBert(bert) if bert is not None and with_bert else None,
            rates=usual_rates(features_dir),
            styles=styles,
        )

    @classmethod
    def from_loaded(
        cls,
        models: VoiceModels,
        reference: Reference,
        language: str,
        device: str = "cpu",
        precision: str = "fp32",
        compiled: bool = False,
        **more: Any,
    ) -> Synthesizer:
        """A synthesiser over models in memory, weight norm removed.

        Args:
            models: the voice, on the device.
            reference: the default reference clip.
            language: default language of a text.
            device: where the models are.
            precision: see :class:`voiceclone.speaking.torch_backend.TorchBackend`.
            compiled: the same.
            more: further arguments of the class.
        """
        from voiceclone.speaking.torch_backend import TorchBackend

        return cls(
            TorchBackend(models.gpt, models.sovits, device, precision, compiled),
            reference,
            sample_rate=models.sovits.config.sample_rate,
            prior_channels=models.sovits.config.inter_channels,
            end_token=models.gpt.config.codes,
            language=language,
            fingerprint=digest([models.fingerprint, reference.digest, *([precision] if precision != "fp32" else [])]),
            number=models.number,
            **more,
        )

    def reading_of(self, text: str) -> dict[str, Any]:
        """Plain values for the key of a cache, on which the phones of a text depend besides the text: entries of the
        user's lexicon, presence of the encoder of Chinese text."""
        return {"lexicon": self.lexicon.used_in(text) if self.lexicon else {}, "bert": self.text_cache.encodes}

    def forget_texts(self) -> None:
        """Empty the cache, so that timings include text processing."""
        self.text_cache.forget()

    def say(
        self,
        text: str,
        language: str = "",
        *,
        seed: int = 0,
        options: SpeechOptions | None = None,
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
            options: how it is spoken.
            reference: clip to speak like; None: the voice's own.
            listener: judges the waveform of every attempt.
            on_piece: called after each sentence with the numbers of spoken sentences and of all.
            changes: fields of ``options`` to replace, for example ``attempts=1``.

        Raises:
            DataError: nothing in the text can be spoken.
            ConfigError: a value out of its range, or another pitch for a HiFi-GAN without Praat's library.
        """
        options = replace(options or SpeechOptions(), **changes)
        return self.run(self.task(text, language, seed, options, reference, listener, on_piece))

    def run(self, task: SpeechTask) -> Speech:
        """Run a task to its end, decoding its tokens one sentence at a time."""
        try:
            request = next(task)
            while True:
                request = task.send(np.fromiter(decode(self.backend, request, self.end_token), np.int64))
        except StopIteration as end:
            speech: Speech = end.value
            return speech

    def task(
        self,
        text: str,
        language: str,
        seed: int,
        options: SpeechOptions,
        reference: Reference | None = None,
        listener: Listener | None = None,
        on_piece: Callable[[int, int], None] | None = None,
    ) -> SpeechTask:
        """:meth:`say` as a coroutine: yields token requests and expects their tokens.

        So several texts can be decoded together, see :func:`voiceclone.speaking.tokens.decode_together`.
        """
        language = language or self.language
        pieces = spoken_pieces(text, options.split, language)
        speech = Speech(np.zeros(0, np.float32), self.sample_rate, self.number)
        reference = reference or self.reference
        with speech.timed("text_ms"), measuring(speech.text_parts):
            self.text_cache.prepare(pieces, language)
        waves: list[Floats] = []
        pause, place = int(options.pause_seconds * self.sample_rate), 0
        for index, piece in enumerate(pieces):
            with speech.timed("text_ms"), measuring(speech.text_parts):
                sentence = self.sentence(piece, language, options, reference)
            waves.append((yield from self._say_sentence(piece, sentence, [seed, index], listener, speech)))
            speech.pieces[-1] = replace(speech.pieces[-1], place=place, length=len(waves[-1]))
            place += len(waves[-1]) + pause
            if on_piece is not None:
                on_piece(index + 1, len(pieces))
        with speech.timed("post_ms"):
            speech.samples = joined(waves, pause)
        return speech

    def source(self, options: SpeechOptions, rng: np.random.Generator) -> Source | None:
        """Pulses and noise of a sentence; None: the decoder needs none."""
        return Source(rng, options.pitch, options.pitch_range) if self.backend.pitched else None

    def sentence(
        self, text: str, language: str, options: SpeechOptions | None = None, reference: Reference | None = None
    ) -> Sentence:
        """A sentence as the models read it; None: the default options, the voice's own reference."""
        phones = self.text_cache.read(text, language)
        options = (options or SpeechOptions()).filled(is_pointing(self.backend))
        return Sentence(phones, self._features_of(phones), options, reference or self.reference)

    def decode(self, request: TokenRequest) -> Iterator[int]:
        """Semantic tokens of a request, see :func:`voiceclone.speaking.tokens.decode`."""
        return decode(self.backend, request, self.end_token)

    def words_of(self, speech: Speech, language: str = "", offset: float = 0.0) -> list[list[Word]]:
        """Words of each sentence of a speech, with their times.

        Args:
            speech: of this voice.
            language: as it was spoken in; empty: the voice's own.
            offset: seconds of sound before it.
        """
        emission = self.backend.emission if isinstance(self.backend, PointingBackend) else None
        return [
            timed(
                units_of(piece.text, piece.phones.symbols, language or self.language, self.lexicon),
                piece.spans if piece.spans is not None else spans_of(piece.phones, piece.codes, samples, emission),
                len(samples) / speech.rate / max(1, piece.tokens),
                offset + piece.place / speech.rate,
            )
            for piece, samples in speech.sounds()
        ]

    def _say_sentence(
        self, text: str, sentence: Sentence, seed: list[int], listener: Listener | None, speech: Speech
    ) -> Generator[TokenRequest, Tokens, Floats]:
        """Speak a sentence until an attempt has no findings; returns the best attempt, the first of equal ones.

        The first attempt does not depend on the number of attempts.
        """
        best: _Attempt | None = None
        first: Tokens | None = None
        for number in range(sentence.options.attempts):
            rng = np.random.Generator(np.random.Philox([*seed, number] if number else seed))
            with speech.timed("gpt_ms"):
                request = token_request(sentence, rng, self.backend)
                codes = yield request
            attempt = self._attempt(sentence, codes, rng, request.guide)
            first = codes if first is None else first
            if listener is not None:  # all attempts: otherwise an unheard one would seem the better one
                attempt.wave = self._waveform(attempt, sentence, speech)
                attempt.findings += listener(
                    attempt.wave, self.sample_rate, text, sentence.language, sentence.reference
                )
            if best is None or score(attempt.findings) < score(best.findings):
                best = attempt
            if not attempt.findings:
                break
        assert best is not None
        if not best.ended:
            log.warning("%r: no end after %d tokens, cut there", text, len(best.codes))
            speech.truncated += 1
        speech.tokens += len(best.codes)
        findings = tuple(best.findings)
        spoken = Piece(text, len(best.codes), number + 1, findings, sentence.text, best.codes, best.spans, first)
        speech.pieces.append(spoken)
        return best.wave if best.wave is not None else self._waveform(best, sentence, speech)

    def _attempt(
        self, sentence: Sentence, codes: Tokens, rng: np.random.Generator, guide: Guide | None = None
    ) -> _Attempt:
        ended, reference = len(codes) < sentence.max_tokens, sentence.reference
        findings = find_faults(
            codes,
            sentence.phones,
            ended,
            sentence.options.detector,
            reference.tokens,
            reference.phones,
            self.rates.get(sentence.language),
        )
        if guide is not None:
            findings += find_detours(guide, codes, sentence.options.detector)
        return _Attempt(codes, ended, findings, rng, None if guide is None else guide.spans())

    def _waveform(self, attempt: _Attempt, sentence: Sentence, speech: Speech) -> Floats:
        with speech.timed("decoder_ms"):
            options = sentence.options
            frames = frames_at(len(attempt.codes), options.speed)
            noise = attempt.rng.standard_normal((1, self.prior_channels, frames), np.float32)
            noise *= np.float32(options.noise_scale)
            source = self.source(options, attempt.rng)
            style = sentence.reference.style
            wave = self.backend.decode(attempt.codes, sentence.phones, style, noise, source)
            if options.moves_pitch and source is None:
                wave = repitched(wave, self.sample_rate, options.pitch, options.pitch_range)
            return wave

    def _features_of(self, text: Phones) -> Floats | None:
        """BERT features of a text; None: zeros, as all text but Chinese has."""
        if not any(segment.language in WITH_BERT for segment in text.segments):
            return None
        if (features := self.text_cache.features(text)) is not None:
            return np.asarray(features, np.float32)
        if self._bert_lacks:
            self._bert_lacks = False  # reported once
            log.warning(
                "this voice was trained on Chinese with BERT features, which are missing here: its melody will be "
                "flatter than that of the trained models ('voiceclone bundle verify' lists the encoders found)"
            )
        return None
