"""What speaks for a target of the evaluation, and how its sentences are read and judged by the detector.

A target is ``recordings`` (the held-out recordings themselves: the ceiling), ``resynthesis`` (the acoustic model fed
with the recordings' own semantic tokens: what it could do behind a perfect text-to-semantic model), ``torch-fp32``
(the trained models), ``torch-fp16`` (the same in half precision, on a GPU), ``zero-shot`` (the base voice as it was
before it was fine-tuned, with the voice's reference clip) or a bundle such as ``onnx-fp32``. Text is read as ``say``
reads it. The gain of the KV cache is the time of the same tokens with it and without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voiceclone.assets import Asset
from voiceclone.backends.backend import Floats, Tokens
from voiceclone.backends.bundle import Reference
from voiceclone.errors import AssetError, ConfigError
from voiceclone.evaluation.comparison import HALF, TRAINED, WITHOUT_TEXT, ZERO_SHOT
from voiceclone.evaluation.metrics import FAULTS, timed
from voiceclone.evaluation.sentences import Item, by_hash
from voiceclone.features.store import Store, open_store
from voiceclone.files import digest, read_json, read_tsv, sha256_file
from voiceclone.sound.io import Waveform
from voiceclone.speaking.splitting import AUTO, pieces_of
from voiceclone.speaking.styles import clips_of, own_clip
from voiceclone.speaking.tokens import TokenRequest, decode, token_request
from voiceclone.stages.evaluate import EvaluateSettings
from voiceclone.targets import TARGETS, TENSORRT, runtime_of
from voiceclone.tensorrt.engines import Machine, why_not

if TYPE_CHECKING:
    from voiceclone.models.voice import VoiceModels
    from voiceclone.speaking.options import DetectorSettings
    from voiceclone.speaking.result import Speech
    from voiceclone.speaking.synthesizer import Synthesizer
    from voiceclone.speaking.torch_backend import TorchBackend
    from voiceclone.text.lexicon import Lexicon

TRAINING_RATE = 32_000
CALIBRATION = 200  # recordings that the limits of the detector are taken from
#: Kinds of the models that a base voice consists of.
BASE_KINDS = {"gpt", "sovits-generator"}


@dataclass(frozen=True)
class Spoken:
    """Speech of one item, and what it cost.

    Attributes:
        samples: float32 (frames,).
        rate: in Hz.
        timings: ms of each part of the synthesis.
        truncated: sentences cut at the length limit.
        tokens: semantic tokens that were generated.
        first_audio_ms: to the first sound of a stream; None: not measured.
        engine: that ran the models.
        robustness: see :func:`robustness`.
        text_parts: ms of each step of the text front end.
        cost: seconds spent beside the synthesis, see :data:`voiceclone.evaluation.metrics.PARTS`.
        read: hits in the cache of texts, and look-ups.
        number: of the voice, for the watermark; None: a recording.
    """

    samples: Waveform
    rate: int
    timings: Mapping[str, float]
    truncated: int = 0
    tokens: int = 0
    first_audio_ms: float | None = None
    engine: str = ""
    robustness: Mapping[str, float] = field(default_factory=dict)
    text_parts: Mapping[str, float] = field(default_factory=dict)
    cost: Mapping[str, float] = field(default_factory=dict)
    read: tuple[int, int] = (0, 0)
    number: int | None = None


Voice = Callable[[Item], Spoken]


def recording(audio: Store, utterance: str) -> Waveform:
    """Recording of an utterance from the audio features: float32 at 32 kHz."""
    return np.asarray(audio[utterance], dtype=np.float32) / 32768.0


@dataclass(frozen=True)
class Source:
    """What speaks for a target.

    Attributes:
        target: its name.
        features_dir: features of the training.
        models_dir: trained models.
        bundle: ``bundle.json`` of an exported target.
        bert: encoder of Chinese text for models in torch; a bundle has its own.
        lexicon: of :func:`target_lexicon`.
        threads: of a bundle.
        base: the models that the voice was fine-tuned from, GPT and SoVITS, for ``zero-shot``.
        references: of models in torch, see :func:`voiceclone.speaking.styles.clips_of`; a bundle has its own.
    """

    target: str
    features_dir: Path
    models_dir: Path
    bundle: Path | None = None
    bert: Asset | None = None
    lexicon: Lexicon | None = None
    threads: int = 1
    base: Sequence[Asset] = ()
    references: Path | None = None

    def not_measured(self) -> str:
        """Reason why the target is not evaluated here, in one line that names it; empty if it is."""
        reason = ""
        if runtime_of(self.target) == TENSORRT and (reason := why_not()):
            place = self.bundle.parent if self.bundle else f"export/{self.target}"
            reason += f"; build with 'voiceclone bundle build {place}' on one that has it"
        elif self.target == HALF and not _gpu():
            reason = "half precision needs a GPU"
        elif self.target == ZERO_SHOT:
            reason = self._without_base()
        return f"{self.target}: not measured: {reason}" if reason else ""

    def _without_base(self) -> str:
        if {asset.kind for asset in self.base} != BASE_KINDS:
            return "GPT or SoVITS was trained from scratch, so there is no base voice"
        steps = [read_json(self.models_dir / f"{kind}.json").get("step") for kind in ("gpt", "sovits")]
        return "" if any(steps) else "the voice is its base, nothing was trained"

    def synthesizer(self) -> Synthesizer:
        """What reads text as ``say`` does with the same voice; for all targets but ``recordings``.

        Raises:
            ConfigError: an exported target without its bundle.
        """
        from voiceclone.speaking.synthesizer import Synthesizer
        from voiceclone.tensorrt.engines import build_engines

        if self.target == ZERO_SHOT:
            return self._in_torch(self._base())
        if self.target == HALF:
            return self._in_torch(self.models_dir, "cuda", "fp16")
        if self.target in (TRAINED, "resynthesis"):
            return self._in_torch(self.models_dir)
        if self.bundle is None:
            raise ConfigError(
                f"target {self.target!r}: needs --bundle", "without one: recordings, resynthesis, torch-fp32, zero-shot"
            )
        if runtime_of(self.target) == TENSORRT:
            build_engines(self.bundle.parent, read_json(self.bundle))
        return Synthesizer.from_bundle(self.bundle, self.threads, self.lexicon)

    def _in_torch(self, models: Path | VoiceModels, device: str = "cpu", precision: str = "fp32") -> Synthesizer:
        from voiceclone.speaking.synthesizer import Synthesizer

        return Synthesizer.from_models(
            models, self.features_dir, self.lexicon, self.bert, device, precision, self.references
        )

    def _base(self) -> VoiceModels:
        from voiceclone.models.voice import load_base

        by_kind = {asset.kind: asset for asset in self.base}
        return load_base(by_kind["gpt"], by_kind["sovits-generator"], self.models_dir / "tokenizer.safetensors")

    @cached_property
    def digest(self) -> str:
        """Digest of everything that speaks, for the cache."""
        sovits, gpt = self.models_dir / "sovits.safetensors", self.models_dir / "gpt.safetensors"
        features = self.features_dir / "manifest.tsv"
        trained = [gpt, sovits, features]
        names = {
            "recordings": [], "resynthesis": [sovits, features], TRAINED: trained, HALF: trained, ZERO_SHOT: [features]
        }.get(self.target, [self.bundle] if self.bundle else [])  # fmt: skip
        # Timings of one GPU do not hold for another.
        machine: list[Any] = [asdict(Machine.here())] if runtime_of(self.target) == TENSORRT else []
        machine += [_gpu()] if self.target == HALF else []
        base = sorted(asset.digest for asset in self.base) if self.target == ZERO_SHOT else []
        return digest([self.target, *(sha256_file(path) for path in names), *machine, *base, *self._clip()])

    def _clip(self) -> list[str]:
        """The utterance that models in torch speak like; a bundle's digest has it."""
        if self.bundle or self.target == "recordings":
            return []
        return [own_clip(self.features_dir, self.references)["utterance"]]

    def clip_of(self, member: str) -> list[str]:
        """The utterance that a member of a group is spoken like; empty where none is its own."""
        if not member or self.bundle or self.target == "recordings":
            return []
        return [row["utterance"] for row in [clips_of(self.features_dir, self.references).get(member)] if row]

    def size_bytes(self) -> int | None:
        """Size on disk of what a user must keep to speak: models or bundle; None for recordings."""
        if self.target == "recordings":
            return None
        if self.target == ZERO_SHOT:
            return sum(int(entry["size"]) for asset in self.base for entry in asset.files.values())
        if self.target in TARGETS and self.bundle is not None:
            return sum(path.stat().st_size for path in self.bundle.parent.iterdir() if path.is_file())
        kinds = ["sovits"] if self.target == "resynthesis" else ["gpt", "sovits"]
        return sum((self.models_dir / f"{kind}.safetensors").stat().st_size for kind in kinds)


def _gpu() -> str:
    """Name of the GPU that torch can use; empty without one."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def open_voice(source: Source, settings: EvaluateSettings) -> Voice:
    """Load what speaks for a target; returns a function from item to sound."""
    if source.target == "recordings":
        audio = open_store(source.features_dir / "audio.safetensors")
        return lambda item: Spoken(recording(audio, item.id), TRAINING_RATE, {})
    voice = source.synthesizer()
    if source.target == "resynthesis":
        return _resynthesis(voice, source.features_dir, settings.seed)
    return _speaker(voice, settings, partial(own_limits, source.features_dir, source.references))


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


def own_limits(features_dir: Path, references: Path | None = None, style: str = "") -> DetectorSettings:
    """Limits of the detector for a voice in one of its styles, see :func:`voiceclone.speaking.detector.calibrated`."""
    from voiceclone.speaking.detector import calibrated
    from voiceclone.speaking.reference import usual_rates

    semantic, phones = (open_store(features_dir / f"{kind}.safetensors") for kind in ("semantic", "phones"))
    clips, rates = clips_of(features_dir, references), usual_rates(features_dir)
    reference = clips.get(style, clips[""])["utterance"]
    rows = {row["utterance"]: row for row in read_tsv(features_dir / "manifest.tsv") if row["split"] == "train"}
    names = by_hash(rows.keys() - {reference}, CALIBRATION)
    recordings = [
        (np.asarray(semantic[name], np.int64), np.asarray(phones[name], np.int64), rates[rows[name]["language"]])
        for name in names
    ]
    return calibrated(recordings, np.asarray(semantic[reference], np.int64))


def robustness(
    synthesizer: Synthesizer,
    speech: Speech,
    language: str,
    limits: DetectorSettings,
    reference: Reference | None = None,
) -> dict[str, float]:
    """Faults of text spoken like a reference (None: the voice's own) by the given limits: 1 where a piece has one, in
    the kept (``NAME``) and in the first attempt (``NAME_first``); and mean ``attempts`` at a piece."""
    from voiceclone.speaking.detector import find_faults

    reference, kinds = reference or synthesizer.reference, {"": set[str](), "_first": set[str]()}
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


def _speaker(
    synthesizer: Synthesizer, settings: EvaluateSettings, limits_of: Callable[[str], DetectorSettings]
) -> Voice:
    """Speaks whole sentences, and with the first seed again as a stream, whose first sound is waited for.

    A member of a group speaks like its own clip; ``limits_of`` gives the detector's limits for it.
    """
    from voiceclone.speaking.streaming import stream

    texts, limits = synthesizer.text_cache, {"": limits_of("")}

    def say(item: Item) -> Spoken:
        reference = synthesizer.styles.get(item.member)
        if item.member not in limits:
            limits[item.member] = limits_of(item.member)
        synthesizer.forget_texts()  # that of the warm-up, or a sentence that comes twice
        cost: dict[str, float] = {}
        seed, hits, asked = settings.seed + item.turn, texts.found, texts.asked
        speech = synthesizer.say(item.text, item.language, seed=seed, attempts=settings.attempts, reference=reference)
        with timed(cost, "detector"):
            found = robustness(synthesizer, speech, item.language, limits[item.member], reference)
        if not item.turn:
            synthesizer.forget_texts()
            with timed(cost, "first_audio"):
                next(stream(synthesizer, item.text, item.language, seed=seed, reference=reference), None)
        return Spoken(
            speech.samples,
            speech.rate,
            speech.timings,
            speech.truncated,
            speech.tokens,
            cost["first_audio"] * 1000 if "first_audio" in cost else None,
            synthesizer.backend.name,
            found,
            speech.text_parts,
            cost,
            (texts.found - hits, texts.asked - asked),
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
        reference = synthesizer.styles.get(item.member, synthesizer.reference)
        samples = synthesizer.backend.decode(codes, symbols, reference.style, noise * np.float32(0.5))
        timings = {"decoder_ms": (time.perf_counter() - start) * 1000}
        return Spoken(samples, synthesizer.sample_rate, timings, number=synthesizer.number)

    return decode


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


def cache_gain(source: Source, item: Item, seed: int) -> dict[str, Any]:
    """Draw the first tokens of a text's first sentence with and without the cache.

    Args:
        source: of the trained models in torch.
        item: what is said.
        seed: of the draws.

    Returns:
        ``tokens`` drawn after ``positions`` of phones and prompt, ``with_ms``, ``without_ms``, their ``ratio``, and
        whether both drew the ``same_tokens``; ``cost`` in seconds.
    """
    from voiceclone.speaking.torch_backend import TorchBackend

    cost: dict[str, float] = {}
    with timed(cost, "cache_gain"):
        synthesizer = source.synthesizer()
        backend = synthesizer.backend
        assert isinstance(backend, TorchBackend)

        def drawn(runner: Any) -> tuple[list[int], float]:
            request = _first_tokens(synthesizer, item, seed)
            began = time.perf_counter()
            tokens = list(decode(runner, request, synthesizer.end_token))
            return tokens, (time.perf_counter() - began) * 1000

        drawn(backend)  # first calls cost more
        kept, with_ms = drawn(backend)
        again, without_ms = drawn(WithoutCache(backend))
        request = _first_tokens(synthesizer, item, seed)
    return {
        "tokens": len(kept),
        "positions": len(request.phones) + len(request.prompt),
        "with_ms": round(with_ms, 3),
        "without_ms": round(without_ms, 3),
        "ratio": round(without_ms / with_ms, 3),
        "same_tokens": kept == again,
        "cost": cost,
    }


def _first_tokens(synthesizer: Synthesizer, item: Item, seed: int) -> TokenRequest:
    sentence = synthesizer.sentence(pieces_of(item.text, AUTO, item.language)[0], item.language)
    request = token_request(sentence, np.random.Generator(np.random.Philox([seed, 0])))
    return replace(request, max_tokens=min(TOKENS, request.max_tokens))
