"""Whisper (Radford et al. 2022) through faster-whisper: for utterances of a corpus, and for scoring.

In a corpus each utterance is one window: nothing of its neighbours is heard, so a word cannot move over a cut, and an
utterance's text does not depend on what else is transcribed. Scoring has one fixed decoding, so that two runs hear the
same words.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voiceclone.assets import Asset
from voiceclone.device import choose_device
from voiceclone.errors import ConfigError, DataError
from voiceclone.sound.io import Waveform, resample
from voiceclone.stages.transcribe import TranscribeSettings

log = logging.getLogger(__name__)
RATE = 16_000  # Hz
#: A text that compresses better is looping, one with a lower mean log-probability per token is a guess: both are
#: recognised again (the limits of Radford et al. 2022, section 4.5).
LOOPING_RATIO, MIN_LOG_PROBABILITY = 2.4, -1.0
WINDOW = 30.0  # seconds. A shorter one is faster but swallows ends of sentences: 15 s gave 9.8 % for 5.5 % word errors
_FRAMES_PER_SECOND = 100  # of the mel spectrogram
_OPENING = "\"'“¿([{-"  # punctuation that belongs to the next word
_CLOSING = "\"'.。,，!！?？:：”)]}、"  # punctuation that belongs to the word before


@dataclass(frozen=True)
class Attempt:
    """One way of decoding. All are beam searches: Whisper's retries by sampling would make a text depend on chance."""

    prompted: bool = True
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0


ATTEMPTS = (Attempt(), Attempt(prompted=False, repetition_penalty=1.2, no_repeat_ngram_size=3))


@dataclass(frozen=True)
class Sound:
    """A batch of clips as the recogniser has heard them.

    Attributes:
        clips: float32 (samples,) at 16 kHz each.
        encoded: the encoder's output, ctranslate2.StorageView [clips, 1500, D].
        languages: probability of each candidate language, per clip.
    """

    clips: tuple[Waveform, ...]
    encoded: Any
    languages: list[dict[str, float]]


class Recogniser:
    """A CTranslate2 Whisper model in a local folder.

    Args:
        folder: holds model.bin, config.json, tokenizer.json and the vocabulary.
        settings: decoding options.
        device: ``auto``, ``cpu`` (int8) or ``cuda`` (float16).
        threads: CPU threads; 0: what the library chooses.
    """

    def __init__(self, folder: Path, settings: TranscribeSettings, device: str = "auto", threads: int = 0) -> None:
        import ctranslate2
        from faster_whisper import WhisperModel

        device = choose_device(device, cuda=ctranslate2.get_cuda_device_count() > 0)
        self.settings = settings
        self.whisper = WhisperModel(
            str(folder),
            device=device,
            compute_type="float16" if device == "cuda" else "int8",
            cpu_threads=threads,
            local_files_only=True,
        )
        self.known = tuple(self.whisper.supported_languages)
        unknown = sorted(set(settings.languages) - set(self.known))
        if unknown:
            raise ConfigError(
                f"transcribe.languages: the recogniser in {folder.name} does not know {', '.join(unknown)}; it knows "
                f"{', '.join(self.known)}",
                "use ISO codes such as en or zh, or choose a multilingual recogniser",
            )

    def hear(self, clips: Sequence[Waveform]) -> Sound:
        """Encode a batch of clips, each float32 (samples,) at 16 kHz.

        Raises:
            DataError: a clip is longer than 30 s.
        """
        from faster_whisper.audio import pad_or_trim

        for clip in clips:
            if len(clip) > WINDOW * RATE:
                raise DataError(
                    f"an utterance of {len(clip) / RATE:.1f} s cannot be recognised, the limit is {WINDOW:.0f} s",
                    "set slice.max_seconds to 30 or less",
                )
        frames = int(WINDOW * _FRAMES_PER_SECOND)
        features = [pad_or_trim(self.whisper.feature_extractor(clip)[..., :-1], frames) for clip in clips]
        encoded = self.whisper.encode(np.stack(features))
        return Sound(tuple(clips), encoded, self._language_probabilities(encoded, len(clips)))

    def transcribe(self, sound: Sound, language: str) -> list[dict[str, Any]]:
        """Recognise a batch in one language.

        A clip whose text looks like a loop or a guess is decoded again (:data:`ATTEMPTS`); the first good attempt is
        taken, else the most probable one that does not loop.

        Returns:
            per clip: text, words [{word, start, end, probability}] in seconds from the clip's start, avg_logprob,
            no_speech_prob, compression_ratio, heard (most probable language), heard_probability,
            language_probability (of ``language``), attempt.
        """
        tried: list[list[dict[str, Any]]] = [[] for _ in sound.clips]
        pending = list(range(len(sound.clips)))
        for number, attempt in enumerate(ATTEMPTS):
            if not pending:
                break
            part = sound if number == 0 else self.hear([sound.clips[index] for index in pending])
            results = self._decode(part, language, attempt)
            for index, result in zip(pending, results, strict=True):
                tried[index].append({**result, "attempt": number})
            pending = [index for index in pending if self._doubtful(tried[index][-1])]
        return [self._best(results) for results in tried]

    def _doubtful(self, result: dict[str, Any]) -> bool:
        looping = result["compression_ratio"] > LOOPING_RATIO
        return bool(looping or result["avg_logprob"] < MIN_LOG_PROBABILITY)

    def _best(self, results: list[dict[str, Any]]) -> dict[str, Any]:
        good = [result for result in results if not self._doubtful(result)]
        if good:
            return good[0]
        calm = [result for result in results if result["compression_ratio"] <= LOOPING_RATIO]
        return max(calm or results, key=lambda result: float(result["avg_logprob"]))

    def _language_probabilities(self, encoded: Any, count: int) -> list[dict[str, float]]:
        if not self.whisper.model.is_multilingual:
            return [{"en": 1.0}] * count
        candidates = set(self.settings.languages or self.known)
        heard = []
        for ranking in self.whisper.model.detect_language(encoded):
            scores = {token[2:-2]: float(score) for token, score in ranking if token[2:-2] in candidates}
            total = sum(scores.values()) or 1.0
            heard.append({code: score / total for code, score in scores.items()})
        return heard

    def _decode(self, sound: Sound, language: str, attempt: Attempt) -> list[dict[str, Any]]:
        from faster_whisper.tokenizer import Tokenizer
        from faster_whisper.transcribe import get_suppressed_tokens

        whisper, model = self.whisper, self.whisper.model
        tokenizer = Tokenizer(whisper.hf_tokenizer, model.is_multilingual, task="transcribe", language=language)
        before = self.settings.prompts.get(language, "") if attempt.prompted else ""
        prompt = whisper.get_prompt(
            tokenizer, tokenizer.encode(" " + before) if before else [], without_timestamps=True
        )
        lengths = [len(clip) / RATE for clip in sound.clips]
        results = model.generate(
            sound.encoded,
            [prompt] * len(lengths),
            beam_size=self.settings.beam_size,
            repetition_penalty=attempt.repetition_penalty,
            no_repeat_ngram_size=attempt.no_repeat_ngram_size,
            suppress_tokens=get_suppressed_tokens(tokenizer, [-1]),
            return_scores=True,
            return_no_speech_prob=True,
            # Nobody speaks 20 tokens a second: a loop in a short utterance ends early.
            max_length=min(whisper.max_length, len(prompt) + 20 + int(20 * max(lengths))),
        )
        tokens = [[token for token in result.sequences_ids[0] if token < tokenizer.eot] for result in results]
        words = self._words(tokenizer, tokens, sound.encoded, lengths)
        return [
            _record(tokenizer.decode(ids), timed, result, language, probabilities)
            for ids, timed, result, probabilities in zip(tokens, words, results, sound.languages, strict=True)
        ]

    def _words(
        self, tokenizer: Any, tokens: list[list[int]], encoded: Any, lengths: list[float]
    ) -> list[list[dict[str, Any]]]:
        """Times of words by dynamic time warping over the cross-attention, as Whisper's own word_timestamps."""
        from faster_whisper.transcribe import merge_punctuations

        frames = [int(length * _FRAMES_PER_SECOND) for length in lengths]
        timed = []
        for alignment, length in zip(
            self.whisper.find_alignment(tokenizer, tokens, encoded, frames), lengths, strict=True
        ):
            merge_punctuations(alignment, _OPENING, _CLOSING)
            timed.append(
                [
                    {
                        "word": word["word"],
                        "start": round(min(float(word["start"]), length), 3),
                        "end": round(min(float(word["end"]), length), 3),
                        "probability": round(float(word["probability"]), 4),
                    }
                    for word in alignment
                    if word["word"].strip()
                ]
            )
        return timed


def _record(
    text: str, words: list[dict[str, Any]], result: Any, language: str, probabilities: dict[str, float]
) -> dict[str, Any]:
    count = len(result.sequences_ids[0])
    packed = text.encode()
    heard = max(probabilities, key=lambda code: probabilities[code])
    return {
        "text": text.strip(),
        "words": words,
        "avg_logprob": round(float(result.scores[0]) * count / (count + 1), 4),
        "no_speech_prob": round(float(result.no_speech_prob), 4),
        "compression_ratio": round(len(packed) / len(zlib.compress(packed)), 4),
        "heard": heard,
        "heard_probability": round(probabilities[heard], 4),
        "language_probability": round(probabilities.get(language, 0.0), 4),
    }


def align_text(
    recogniser: Recogniser, clip: Waveform, text: str, language: str
) -> tuple[list[dict[str, Any]], tuple[str, float]]:
    """Find the words of a known text in a clip, float32 (samples,) at 16 kHz.

    Returns:
        words as :meth:`Recogniser.transcribe` gives them, a low probability where something else is said; and the most
        probable language with its probability.
    """
    from faster_whisper.tokenizer import Tokenizer

    whisper = recogniser.whisper
    tokenizer = Tokenizer(whisper.hf_tokenizer, whisper.model.is_multilingual, task="transcribe", language=language)
    sound = recogniser.hear([clip])
    tokens = tokenizer.encode(f" {text}")[: whisper.max_length - 8]
    words = recogniser._words(tokenizer, [tokens], sound.encoded, [len(clip) / RATE])[0]
    return words, max(sound.languages[0].items(), key=lambda item: item[1])


MOST_TOKENS = 224  # of a 30 s window; keeps unintelligible sound from being read for ever


class ScoringRecogniser:
    """Whisper (Radford et al. 2022) through faster-whisper, without retries, filters or memory between windows.

    Args:
        asset: a CTranslate2 Whisper asset.
        threads: CPU threads.
        beam_size: width of the beam search.
    """

    def __init__(self, asset: Asset, threads: int = 1, beam_size: int = 5) -> None:
        from faster_whisper import WhisperModel

        self.name = asset.name
        self.beam_size = beam_size
        self._model = WhisperModel(
            str(asset.folder), device="cpu", compute_type="int8", cpu_threads=max(1, threads), local_files_only=True
        )

    def transcribe(self, samples: Waveform, rate: int, language: str) -> str:
        """Words of samples float32 (frames,) in ``language`` (ISO code).

        Raises:
            DataError: the model does not know the language.
        """
        if not self._model.model.is_multilingual and language != "en":
            raise DataError(
                f"recogniser {self.name}: knows English only, asked for {language!r}",
                "configure a multilingual recogniser, for example whisper-base",
            )
        signal = resample(np.asarray(samples, dtype=np.float32), rate, RATE)
        segments, _ = self._model.transcribe(
            signal,
            language=language,
            beam_size=self.beam_size,
            temperature=0.0,
            condition_on_previous_text=False,
            compression_ratio_threshold=None,
            log_prob_threshold=None,
            no_speech_threshold=None,
            without_timestamps=True,
            vad_filter=False,
            max_new_tokens=MOST_TOKENS,
        )
        return " ".join(segment.text.strip() for segment in segments).strip()
