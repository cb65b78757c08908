"""Features of all utterances of a corpus: made once per content, gathered into one store per kind."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voiceclone.errors import AssetError, DataError
from voiceclone.features.phones import PhonesCache, phones_key
from voiceclone.features.spectrogram import BINS, HOP, PER_FRAME, magnitudes, to_float, track_pitch, training_audio
from voiceclone.features.spectrogram import RATE as TRAINING_RATE
from voiceclone.features.store import Array, ArrayCache, Entry, write_store
from voiceclone.files import Row, canonical_json, contained_path, read_tsv, table_columns, write_tsv
from voiceclone.languages import WITH_BERT
from voiceclone.lineage.items import item_key
from voiceclone.listeners.bert import BertEncoder, check_finite
from voiceclone.listeners.campplus import DIMENSION, SpeakerEncoder
from voiceclone.listeners.content import RATE, ContentEncoder, fit_length, load_encoder
from voiceclone.listeners.eres2netv2 import VerificationEncoder
from voiceclone.progress import Progress
from voiceclone.sound.io import resample
from voiceclone.stages.features import SPEAKER_ENCODER, FeaturesSettings
from voiceclone.text.cache import hit_rate
from voiceclone.text.frontend import Phones
from voiceclone.text.lexicon import Lexicon

if TYPE_CHECKING:
    from voiceclone.assets import Asset

COLUMNS = table_columns("features")
#: What a corpus of many speakers says of an utterance beside.
SPEAKERS_COLUMNS = ("speaker", "source", "bandwidth", "weight", "use")
TEXTS_AT_ONCE = 64  # of which the BERT vectors are held in memory
OPTIONAL = ("verification", "bert", "pitch")  # kinds that only some voices need, and bert only some utterances
SOUND = ("spectrogram", "audio")  # kinds that the training of the GPT does not read
REJECTED_COLUMNS = table_columns("rejected_features")
CORPUS_COLUMNS = ("utterance", "path", "sha256", "seconds", "language", "text", "split")
log = logging.getLogger(__name__)


@dataclass
class _Utterance:
    """One utterance on its way into the stores."""

    row: Row
    audio_path: Path
    phones: Phones
    frames: int
    keys: dict[str, str]
    polyphones: str
    """What decided between readings of Chinese characters; empty where there are none."""

    @property
    def manifest_row(self) -> dict[str, object]:
        kept = {column: self.row[column] for column in ("utterance", "split", "language", "text")}
        keys = {f"key_{kind}": self.keys[kind] for kind in ("phones", "content", "speaker", "spectrogram")}
        keys |= {f"key_{kind}": self.keys.get(kind, "") for kind in ("verification", "bert")}
        keys |= {"key_pitch": self.keys["pitch"]} if "pitch" in self.keys else {}
        return {
            **kept,
            **keys,
            "seconds": self.frames * HOP / TRAINING_RATE,
            "phones": " ".join(self.phones.symbols),
            "polyphones": self.polyphones,
            "frames": self.frames,
            "audio_sha256": self.row["sha256"],
            **{column: self.row[column] for column in SPEAKERS_COLUMNS if column in self.row},
        }


def serves(row: Row, training: str) -> bool:
    """True if a training, gpt or sovits, reads an utterance of a corpus."""
    return training in row.get("use", training).split()


class FeatureExtractor:
    """Makes the missing features of utterances; models are loaded when one needs them.

    Args:
        cache: folder of the per-utterance caches.
        settings: which encoders.
        assets: models by name.
        lexicon: the user's pronunciations.
        device: of the encoders.
        threads: of the encoders on the CPU; 0: their choice.
    """

    def __init__(
        self,
        cache: Path,
        settings: FeaturesSettings,
        assets: Mapping[str, Asset],
        lexicon: Lexicon,
        device: str = "cpu",
        threads: int = 0,
    ) -> None:
        self._assets = {
            kind: _asset(assets, name, f"features.{key}")
            for kind, key, name in (
                ("content", "content", settings.content),
                ("speaker", "speaker_encoder", SPEAKER_ENCODER),
                ("verification", "verification_encoder", settings.verification_encoder),
                ("bert", "bert", settings.bert),
            )
            if name
        }
        self._lexicon, self._device, self._threads = lexicon, device, threads
        self._phones = PhonesCache(cache / "phones")
        self.settings = settings
        kinds = [*self._assets, *(["pitch"] if settings.pitch else [])]
        self.caches = {kind: ArrayCache(cache / kind) for kind in kinds}
        self._models: dict[str, Any] = {}
        self.made: Counter[str] = Counter()
        self.cached: Counter[str] = Counter()

    def extract(self, row: Row, audio_path: Path) -> _Utterance:
        """Phones, content and speaker vectors of one utterance, from the caches or made.

        Raises:
            DataError: the utterance cannot be used; says why.
        """
        audio = training_audio(audio_path)
        keys = {"phones": phones_key(row["text"], row["language"], self._lexicon)}
        phones, made = self._phones.get(keys["phones"], row["text"], row["language"], self._lexicon)
        self._count("phones", made)
        for kind in self._assets:
            if kind != "bert":
                keys[kind] = item_key("features", {"kind": kind}, row["sha256"], self._assets[kind].digest)
        keys["spectrogram"] = item_key("features", {"kind": "spectrogram"}, row["sha256"])
        sound: list[Array] = []

        def at_16_khz() -> Array:
            if not sound:
                sound.append(resample(to_float(audio), TRAINING_RATE, RATE))
            return sound[0]

        frames = len(audio) // HOP
        self._get("content", keys["content"], lambda: fit_length(self._content().encode(at_16_khz()), frames))
        self._get("speaker", keys["speaker"], lambda: self._speaker().embed(at_16_khz(), RATE))
        if "verification" in self._assets:
            self._get("verification", keys["verification"], lambda: self._verification().embed(at_16_khz(), RATE))
        if self.settings.pitch and serves(row, "sovits"):
            keys["pitch"] = item_key("features", {"kind": "pitch", "method": self.settings.pitch}, row["sha256"])
            self._get("pitch", keys["pitch"], lambda: track_pitch(to_float(audio), TRAINING_RATE))
        return _Utterance(row, audio_path, phones, frames, keys, self._decided(phones))

    def _decided(self, phones: Phones) -> str:
        reader = self._lexicon.polyphones
        chinese = any(segment.language in WITH_BERT for segment in phones.segments)
        return "" if not chinese else reader.name if reader else "pypinyin"

    def encode_texts(self, utterances: Sequence[_Utterance]) -> dict[str, str]:
        """BERT vectors of all Chinese texts that the cache lacks, in batches.

        Returns:
            Utterances that cannot be used, with the reason.
        """
        chinese = [u for u in utterances if "bert" in self._assets and u.row["language"] in WITH_BERT]
        lacking: dict[str, Phones] = {}
        for utterance in chinese:
            key = utterance.keys["bert"] = bert_key(utterance.phones, self._assets["bert"].digest)
            if key in lacking or self.caches["bert"].read(key) is not None:
                self._count("bert", made=False)
            else:
                self._count("bert", made=True)
                lacking[key] = utterance.phones
        wrong: dict[str, str] = {}
        for start in range(0, len(lacking), TEXTS_AT_ONCE):
            part = dict(list(lacking.items())[start : start + TEXTS_AT_ONCE])
            for key, vectors in zip(part, self._bert().encode_all(list(part.values())), strict=True):
                try:
                    self.caches["bert"].write(key, check_finite(vectors, self._assets["bert"].name))
                except DataError as error:
                    wrong[key] = error.message
        return {u.row["utterance"]: wrong[u.keys["bert"]] for u in chinese if u.keys["bert"] in wrong}

    def prune(self) -> None:
        """Remove cached features of utterances that are gone."""
        self._phones.prune()
        for cache in self.caches.values():
            cache.prune()

    def summary(self) -> str:
        """Number of features of each kind that were made and that came from the cache."""
        kinds = ["phones", *self.caches]
        return "; ".join(f"{kind} {self.made[kind]} made, {self.cached[kind]} from cache" for kind in kinds)

    def _get(self, kind: str, key: str, make: Callable[[], Array]) -> None:
        found = self.caches[kind].read(key) is not None
        if not found:
            self.caches[kind].write(key, make())
        self._count(kind, not found)

    def _count(self, kind: str, made: bool) -> None:
        (self.made if made else self.cached)[kind] += 1

    def _load(self, kind: str, load: Callable[[Asset], Any]) -> Any:
        if kind not in self._models:
            log.info("loading %s for %s on %s", self._assets[kind].name, kind, self._device)
            self._models[kind] = load(self._assets[kind])
        return self._models[kind]

    def _content(self) -> ContentEncoder:
        encoder: ContentEncoder = self._load("content", lambda a: load_encoder(a, self._device, self._threads))
        return encoder

    def _speaker(self) -> SpeakerEncoder:
        encoder: SpeakerEncoder = self._load("speaker", lambda asset: SpeakerEncoder(asset, self._device))
        return encoder

    def _verification(self) -> VerificationEncoder:
        encoder: VerificationEncoder = self._load(
            "verification", lambda asset: VerificationEncoder(asset, self._device)
        )
        return encoder

    def _bert(self) -> BertEncoder:
        encoder: BertEncoder = self._load("bert", lambda asset: BertEncoder(asset, self._device))
        return encoder


def bert_key(phones: Phones, asset_digest: str) -> str:
    """Key of the BERT vectors of a text: of what is spoken and how its phones are spread."""
    runs = [[run.language, run.normalised, len(run.symbols), list(run.word2ph or ())] for run in phones.segments]
    return item_key("features", {"kind": "bert"}, canonical_json(runs), asset_digest)


def extract_features(
    corpus: Path,
    output: Path,
    settings: FeaturesSettings,
    assets: Mapping[str, Asset],
    lexicon: Lexicon | None = None,
    device: str = "cpu",
    threads: int = 0,
    label: str = "features",
    progress_seconds: float = 10.0,
) -> None:
    """Write the stores, ``manifest.tsv`` and ``rejected.tsv`` of a speaker.

    Memory: one utterance at a time, besides the models and the table of utterances; stores are streamed to disk.

    Args:
        corpus: ``corpus.tsv``; its paths start at the folder above its own.
        output: folder of the stores.
        settings: which encoders.
        assets: models by name.
        lexicon: the user's pronunciations.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads of the encoders; 0: their choice.
        label: for the progress lines.
        progress_seconds: min. seconds between two of them.

    Raises:
        AssetError: a model that the settings name was not given.
        DataError: no utterance could be used.
    """
    rows = read_tsv(corpus, CORPUS_COLUMNS)
    lexicon = with_polyphones(lexicon or Lexicon(), settings, assets, threads)
    extractor = FeatureExtractor(output / "cache", settings, assets, lexicon, device, threads)
    progress = Progress(label, len(rows), progress_seconds)
    usable: list[_Utterance] = []
    rejected: list[dict[str, str]] = []
    for row in progress.track(rows):
        try:
            usable.append(extractor.extract(row, contained_path(corpus.parent.parent, row["path"])))
        except (DataError, OSError) as error:
            log.warning("%s: left out: %s", row["utterance"], error)
            reason = "unreadable" if isinstance(error, OSError) else "unusable"
            detail = error.message if isinstance(error, DataError) else str(error)
            rejected.append({"utterance": row["utterance"], "reason": reason, "detail": detail})
    wrong = extractor.encode_texts(usable)
    for name, detail in wrong.items():
        log.warning("%s: left out: %s", name, detail)
        rejected.append({"utterance": name, "reason": "unusable", "detail": detail})
    usable = [utterance for utterance in usable if utterance.row["utterance"] not in wrong]
    made, cached = extractor.made["phones"], extractor.cached["phones"]
    log.info("text: %s", hit_rate(cached, made + cached))
    log.info("features: %s", extractor.summary())
    write_tsv(output / "rejected.tsv", REJECTED_COLUMNS, rejected)
    if rejected:
        progress.say(f"{len(rejected)} left out, see {output / 'rejected.tsv'}")
    if not usable:
        first = f"; first: {rejected[0]['utterance']}: {rejected[0]['detail']}" if rejected else ""
        hint = f"see {output / 'rejected.tsv'}"
        raise DataError(f"{corpus}: none of {len(rows)} utterances can be used{first}", hint)
    _write_stores(output, usable, extractor)
    extractor.prune()
    absent = set() if settings.pitch else {"key_pitch"}  # tables of voices without it stay as they were
    absent |= set() if "speaker" in usable[0].row else set(SPEAKERS_COLUMNS)
    shown = [column for column in COLUMNS if column not in absent]
    write_tsv(output / "manifest.tsv", shown, (utterance.manifest_row for utterance in usable))


def with_polyphones(
    lexicon: Lexicon, settings: FeaturesSettings, assets: Mapping[str, Asset], threads: int = 0
) -> Lexicon:
    """The lexicon with the model that reads Chinese characters in their sentence, if the settings name one.

    Raises:
        AssetError: the model, or the BERT whose vocabulary it reads, was not given or is damaged.
    """
    if not settings.polyphones:
        return lexicon
    from voiceclone.listeners.g2pw import G2PW

    model = _asset(assets, settings.polyphones, "features.polyphones")
    vocabulary = _asset(assets, settings.bert, "features.bert")
    return lexicon.with_polyphones(G2PW(model.folder, vocabulary.folder, model.digest, threads))


def _asset(assets: Mapping[str, Asset], name: str, key: str) -> Asset:
    if name not in assets:
        hint = "fetch it and pass its asset.json"
        raise AssetError(f"{key}: the model {name} was not given, only {sorted(assets)}", hint)
    return assets[name]


def _write_stores(output: Path, usable: list[_Utterance], extractor: FeatureExtractor) -> None:
    """One store per kind. Audio and spectrograms are made as they are written: quicker than keeping them twice."""

    def cached(kind: str, utterance: _Utterance) -> Entry:
        cache, key = extractor.caches[kind], utterance.keys[kind]
        return Entry(cache.shape(key), lambda: _present(cache, key))

    plan: dict[str, tuple[str, Callable[[_Utterance], Entry]]] = {
        "phones": ("int64", lambda u: Entry(u.phones.ids.shape, lambda: u.phones.ids)),
        "content": ("float32", lambda u: cached("content", u)),
        "speaker": ("float32", lambda u: Entry((DIMENSION,), cached("speaker", u).make)),
        "spectrogram": ("float16", lambda u: Entry((BINS, u.frames), lambda: magnitudes(training_audio(u.audio_path)))),
        "audio": ("int16", lambda u: Entry((u.frames * HOP,), lambda: training_audio(u.audio_path))),
    }
    optional: dict[str, tuple[str, Callable[[_Utterance], Entry]]] = {
        "verification": ("float32", lambda u: cached("verification", u)),
        "bert": ("float16", lambda u: cached("bert", u)),
        "pitch": ("float32", lambda u: Entry((PER_FRAME * u.frames,), cached("pitch", u).make)),
    }
    for kind in OPTIONAL:
        if any(kind in utterance.keys for utterance in usable):
            plan[kind] = optional[kind]
        else:
            (output / f"{kind}.safetensors").unlink(missing_ok=True)
    for kind, (dtype, entry) in plan.items():
        members = [utterance for utterance in usable if kind not in OPTIONAL or kind in utterance.keys]
        if kind in SOUND:
            members = [utterance for utterance in members if serves(utterance.row, "sovits")]
        if kind == "spectrogram" and not extractor.settings.spectrogram:
            members = []
        entries = {utterance.row["utterance"]: entry(utterance) for utterance in members}
        write_store(output / f"{kind}.safetensors", dtype, entries, {"kind": kind})


def _present(cache: ArrayCache, key: str) -> Array:
    values = cache.read(key)
    if values is None:
        raise DataError(f"{cache.path(key)}: vanished while the stores were written", "run again")
    return np.asarray(values)
