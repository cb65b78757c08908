"""What speaks for a target of the evaluation, and how its sentences are read and judged by the detector.

A target is ``recordings`` (the held-out recordings themselves: the ceiling), ``resynthesis`` (the acoustic model fed
with the recordings' own semantic tokens: what it could do behind a perfect text-to-semantic model), ``torch-fp32``
(the trained models) or a bundle such as ``onnx-fp32``. Text is read as ``say`` reads it. The gain of the KV cache is
the time of the same tokens with it and without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voiceclone.assets import Asset
from voiceclone.backends.backend import Floats, Tokens
from voiceclone.errors import AssetError, ConfigError
from voiceclone.evaluation.comparison import TRAINED, WITHOUT_TEXT
from voiceclone.evaluation.metrics import FAULTS
from voiceclone.evaluation.sentences import Item, by_hash
from voiceclone.features.store import Store, open_store
from voiceclone.files import digest, read_json, read_tsv, sha256_file
from voiceclone.sound.io import Waveform
from voiceclone.speaking.splitting import AUTO, pieces_of
from voiceclone.speaking.tokens import TokenRequest, decode, token_request
from voiceclone.stages.evaluate import EvaluateSettings
from voiceclone.targets import TENSORRT, runtime_of
from voiceclone.tensorrt.engines import Machine, why_not

if TYPE_CHECKING:
    from voiceclone.speaking.options import DetectorSettings
    from voiceclone.speaking.result import Speech
    from voiceclone.speaking.synthesizer import Synthesizer
    from voiceclone.speaking.torch_backend import TorchBackend
    from voiceclone.text.lexicon import Lexicon

TRAINING_RATE = 32_000
CALIBRATION = 200  # recordings that the limits of the detector are taken from


def not_measured(target: str, bundle: Path | None) -> str:
    """Reason why a target is not evaluated here, in one line that names it; empty if it is."""
    reason = why_not() if runtime_of(target) == TENSORRT else ""
    if not reason:
        return ""
    place = bundle.parent if bundle else f"export/{target}"
    return f"{target}: not measured: {reason}; build with 'voiceclone bundle build {place}' on one that has it"


@dataclass(frozen=True)
class Spoken:
    """Sound of one item: float32 (frames,), Hz, milliseconds per stage, pieces cut at the length limit, tokens made,
    milliseconds to the first sound of a stream, what ran the models, what :func:`robustness` finds, milliseconds per
    step of the text, and the voice's number for the watermark (None: a person spoke)."""

    samples: Waveform
    rate: int
    timings: Mapping[str, float]
    truncated: int = 0
    tokens: int = 0
    first_audio_ms: float | None = None
    engine: str = ""
    robustness: Mapping[str, float] = field(default_factory=dict)
    text_parts: Mapping[str, float] = field(default_factory=dict)
    number: int | None = None


Voice = Callable[[Item], Spoken]


def recording(audio: Store, utterance: str) -> Waveform:
    """Recording of an utterance from the audio features: float32 at 32 kHz."""
    return np.asarray(audio[utterance], dtype=np.float32) / 32768.0


def open_target(
    target: str,
    features_dir: Path,
    models_dir: Path,
    bundle: Path | None,
    bert: Asset | None,
    settings: EvaluateSettings,
    threads: int,
    lexicon: Lexicon | None = None,
) -> Voice:
    """Load what speaks for a target; returns a function from item to sound."""
    if target == "recordings":
        audio = open_store(features_dir / "audio.safetensors")
        return lambda item: Spoken(recording(audio, item.id), TRAINING_RATE, {})

    voice = target_voice(target, features_dir, models_dir, bundle, bert, threads, lexicon)
    if target == "resynthesis":
        return _resynthesis(voice, features_dir, settings.seed)
    return _speaker(voice, settings, own_limits(features_dir))


def target_voice(
    target: str,
    features_dir: Path,
    models_dir: Path,
    bundle: Path | None,
    bert: Asset | None,
    threads: int = 0,
    lexicon: Lexicon | None = None,
) -> Synthesizer:
    """The synthesiser of a target: reads text as ``say`` does with the same voice.

    Args:
        target: all but ``recordings``.
        features_dir: features of the training.
        models_dir: trained models.
        bundle: ``bundle.json`` of an exported target.
        bert: encoder of Chinese text for the trained models; a bundle has its own.
        threads: of a bundle.
        lexicon: see :func:`target_lexicon`.

    Raises:
        ConfigError: an exported target without its bundle.
    """
    if target in (TRAINED, "resynthesis"):
        return trained_voice(features_dir, models_dir, bert, lexicon)
    if bundle is None:
        raise ConfigError(
            f"target {target!r}: needs --bundle", "targets without one: recordings, resynthesis, torch-fp32"
        )
    from voiceclone.speaking.synthesizer import Synthesizer
    from voiceclone.tensorrt.engines import build_engines

    if runtime_of(target) == TENSORRT:
        build_engines(bundle.parent, read_json(bundle))
    return Synthesizer.from_bundle(bundle, threads, lexicon)


def trained_voice(
    features_dir: Path, models_dir: Path, bert: Asset | None, lexicon: Lexicon | None = None
) -> Synthesizer:
    """The trained models, in torch on the CPU."""
    from voiceclone.speaking.synthesizer import Synthesizer

    return Synthesizer.from_models(models_dir, features_dir, lexicon, bert)


def target_lexicon(
    target: str, features_dir: Path, bundle: Path | None, tables: Iterable[Path], assets: Mapping[str, Asset]
) -> Lexicon:
    """The pronunciations that ``say`` has with a target: the user's, and the model that reads Chinese characters.

    Args:
        target: of the evaluation.
        features_dir: features of the training.
        bundle: ``bundle.json`` of an exported target.
        tables: the user's, ``LANGUAGE.tsv``.
        assets: the models given, by name; a warning if the voice's is not among them.
    """
    from voiceclone.backends.bundle import read_bundle
    from voiceclone.speaking.voices import trained_polyphones, with_polyphones
    from voiceclone.text.lexicon import read_lexicon

    def find(name: str) -> Asset:
        if name not in assets:
            raise AssetError(f"{name}: not among the models given")
        return assets[name]

    lexicon = read_lexicon(tables)
    if target in WITHOUT_TEXT:
        return lexicon
    model = read_bundle(bundle)[0].get("polyphones", "") if bundle else trained_polyphones(features_dir)
    return with_polyphones(lexicon, model, find)


def own_limits(features_dir: Path) -> DetectorSettings:
    """Limits of the detector for a voice, see :func:`voiceclone.speaking.detector.calibrated`."""
    from voiceclone.speaking.detector import calibrated
    from voiceclone.speaking.reference import choose_reference, usual_rates

    semantic, phones = (open_store(features_dir / f"{kind}.safetensors") for kind in ("semantic", "phones"))
    reference, rates = choose_reference(features_dir)["utterance"], usual_rates(features_dir)
    rows = {row["utterance"]: row for row in read_tsv(features_dir / "manifest.tsv") if row["split"] == "train"}
    names = by_hash(rows.keys() - {reference}, CALIBRATION)
    recordings = [
        (np.asarray(semantic[name], np.int64), np.asarray(phones[name], np.int64), rates[rows[name]["language"]])
        for name in names
    ]
    return calibrated(recordings, np.asarray(semantic[reference], np.int64))


def robustness(synthesizer: Synthesizer, speech: Speech, language: str, limits: DetectorSettings) -> dict[str, float]:
    """Faults of spoken text by the given limits: 1 where a piece has one, in the kept (``NAME``) and in the first
    attempt (``NAME_first``); and mean ``attempts`` at a piece."""
    from voiceclone.speaking.detector import find_faults

    reference, kinds = synthesizer.reference, {"": set[str](), "_first": set[str]()}
    for piece in speech.pieces:
        sentence = synthesizer.sentence(piece.text, language)
        for suffix, codes in (("", piece.codes), ("_first", piece.first)):
            assert codes is not None
            ended, rate = len(codes) < sentence.max_tokens, synthesizer.rates.get(sentence.language)
            faults = find_faults(codes, sentence.phones, ended, limits, reference.tokens, reference.phones, rate)
            kinds[suffix] |= {fault.kind for fault in faults}
    found = {
        f"{name}{suffix}": int(not kinds[suffix].isdisjoint(of)) for name, of in FAULTS.items() for suffix in kinds
    }
    return found | {"attempts": speech.attempts / len(speech.pieces)}


def _speaker(synthesizer: Synthesizer, settings: EvaluateSettings, limits: DetectorSettings) -> Voice:
    """Speaks whole sentences, and with the first seed again as a stream, whose first sound is waited for."""
    from voiceclone.speaking.streaming import stream

    def say(item: Item) -> Spoken:
        synthesizer.forget_texts()  # that of the warm-up, or a sentence that comes twice
        seed = settings.seed + item.turn
        speech = synthesizer.say(item.text, item.language, seed=seed, attempts=settings.attempts)
        found = robustness(synthesizer, speech, item.language, limits)
        first = None
        if not item.turn:
            synthesizer.forget_texts()
            began = time.perf_counter()
            next(stream(synthesizer, item.text, item.language, seed=seed), None)
            first = (time.perf_counter() - began) * 1000
        engine = synthesizer.backend.name
        return Spoken(
            speech.samples,
            speech.rate,
            speech.timings,
            speech.truncated,
            speech.tokens,
            first,
            engine,
            found,
            speech.text_parts,
            speech.number,
        )

    return say


def _resynthesis(synthesizer: Synthesizer, features_dir: Path, seed: int) -> Voice:
    """Decode the recordings' own tokens, with the reference clip's style and the noise of synthesis from text."""
    semantic, phones = (open_store(features_dir / f"{kind}.safetensors") for kind in ("semantic", "phones"))

    def decode(item: Item) -> Spoken:
        codes, symbols = semantic[item.id].astype(np.int64), phones[item.id].astype(np.int64)
        noise = np.random.Generator(np.random.Philox([seed + item.turn, 0])).standard_normal(
            (1, synthesizer.prior_channels, 2 * len(codes)), np.float32
        )
        start = time.perf_counter()
        samples = synthesizer.backend.decode(codes, symbols, synthesizer.reference.style, noise * np.float32(0.5))
        timings = {"decoder_ms": (time.perf_counter() - start) * 1000}
        return Spoken(samples, synthesizer.sample_rate, timings, number=synthesizer.number)

    return decode


def target_digest(target: str, features_dir: Path, models_dir: Path, bundle: Path | None) -> str:
    """Digest of everything that speaks for a target, for the cache."""
    names = {
        "recordings": [],
        "resynthesis": [models_dir / "sovits.safetensors", features_dir / "manifest.tsv"],
        "torch-fp32": [
            models_dir / "gpt.safetensors",
            models_dir / "sovits.safetensors",
            features_dir / "manifest.tsv",
        ],
    }.get(target, [bundle] if bundle else [])
    # Timings of one GPU do not hold for another.
    machine = [asdict(Machine.here())] if runtime_of(target) == TENSORRT else []
    return digest([target, *(sha256_file(path) for path in names), *machine])


def target_bytes(target: str, models_dir: Path, bundle: Path | None) -> int | None:
    """Size on disk of what a user must keep to speak: models or bundle; None for recordings."""
    if target == "recordings":
        return None
    if bundle is not None and target not in ("torch-fp32", "resynthesis"):
        return sum(path.stat().st_size for path in bundle.parent.iterdir() if path.is_file())
    names = ["sovits.safetensors"] if target == "resynthesis" else ["gpt.safetensors", "sovits.safetensors"]
    return sum((models_dir / name).stat().st_size for name in names)


#: Tokens that are drawn: without a cache each costs as much as reading all that is before it.
TOKENS = 32
Everything = tuple[Tokens, Floats | None, Tokens]


class WithoutCache:
    """The text-to-semantic half of a backend that keeps nothing: every step reads all from the beginning."""

    def __init__(self, backend: TorchBackend) -> None:
        self._backend = backend

    def start(self, phones: Tokens, bert: Floats | None, prompt: Tokens) -> tuple[Floats, Everything]:
        """See :class:`voiceclone.backends.backend.Backend`; the cache is all that was read."""
        return self._backend.read(phones, bert, prompt), (phones, bert, prompt)

    def step(self, token: int, position: int, cache: Everything) -> tuple[Floats, Everything]:
        """See :class:`voiceclone.backends.backend.Backend`."""
        phones, bert, tokens = cache
        return self.start(phones, bert, np.append(tokens, token))


def cache_gain(synthesizer: Synthesizer, text: str, language: str, seed: int) -> dict[str, Any]:
    """Draw the first tokens of a text's first sentence with and without the cache.

    Args:
        synthesizer: over the trained models in torch.
        text: what is said.
        language: its language.
        seed: of the draws.

    Returns:
        ``tokens`` drawn after ``positions`` of phones and prompt, ``with_ms``, ``without_ms``, their ``ratio``, and
        whether both drew the ``same_tokens``.
    """
    from voiceclone.speaking.torch_backend import TorchBackend

    backend = synthesizer.backend
    assert isinstance(backend, TorchBackend)

    def timed(runner: Any) -> tuple[list[int], float]:
        request = _first_tokens(synthesizer, text, language, seed)
        began = time.perf_counter()
        tokens = list(decode(runner, request, synthesizer.end_token))
        return tokens, (time.perf_counter() - began) * 1000

    timed(backend)  # first calls cost more
    kept, with_ms = timed(backend)
    again, without_ms = timed(WithoutCache(backend))
    request = _first_tokens(synthesizer, text, language, seed)
    return {
        "tokens": len(kept),
        "positions": len(request.phones) + len(request.prompt),
        "with_ms": round(with_ms, 3),
        "without_ms": round(without_ms, 3),
        "ratio": round(without_ms / with_ms, 3),
        "same_tokens": kept == again,
    }


def _first_tokens(synthesizer: Synthesizer, text: str, language: str, seed: int) -> TokenRequest:
    sentence = synthesizer.sentence(pieces_of(text, AUTO, language)[0], language)
    request = token_request(sentence, np.random.Generator(np.random.Philox([seed, 0])))
    return replace(request, max_tokens=min(TOKENS, request.max_tokens))
