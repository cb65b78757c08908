"""Opens voices: bundles, trained or imported models, base voices; with the clip to speak like."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceclone.backends.bundle import Reference
from voiceclone.errors import AssetError, ConfigError
from voiceclone.files import Row, read_json
from voiceclone.languages import SUPPORTED, check_mode
from voiceclone.lineage.rights import Scope, check_use
from voiceclone.lineage.user_cache import cache_folder
from voiceclone.speaking.styles import TABLE, check_style, clips_of, own_clip
from voiceclone.speaking.synthesizer import Synthesizer
from voiceclone.text.lexicon import Lexicon, read_lexicon
from voiceclone.text.segment import split

if TYPE_CHECKING:
    from voiceclone.assets import Asset
    from voiceclone.listeners.bert import LazyEncoder
    from voiceclone.speaking.encoders import EncoderFiles
    from voiceclone.speaking.reference import ClipReader

log = logging.getLogger(__name__)
BERT = "chinese-roberta-wwm-ext-large"
G2PW_MODEL = "g2pw"
#: Folders in the user's cache: of clips that were encoded, and of texts that were read.
REFERENCES, TEXTS = "references", "texts"
#: Default language of voices without features.
ANY_LANGUAGE = "auto"


@dataclass(frozen=True)
class Clip:
    """A reference clip of the user; see :meth:`voiceclone.speaking.reference.ClipReader.read`."""

    path: Path
    text: str = ""
    language: str = ""
    styles: tuple[Path, ...] = ()
    any_length: bool = False


class Voice:
    """A synthesiser and its reader of reference clips.

    Args:
        synthesizer: speaks with the voice's own reference, or with the given clip.
        reader: makes references of clips; caches them.
        rights: what is stated of the voice, for :func:`voiceclone.lineage.rights.refusal`.
        styles: further references of the voice by the names of their styles.
    """

    def __init__(
        self,
        synthesizer: Synthesizer,
        reader: ClipReader,
        rights: Mapping[str, Any] | None = None,
        styles: Mapping[str, Reference] | None = None,
    ) -> None:
        self.synthesizer, self._reader, self.rights = synthesizer, reader, dict(rights or {})
        self.styles = dict(styles or {})

    def style(self, name: str) -> Reference:
        """The reference of a style.

        Raises:
            ConfigError: there is no such style; lists those that are there.
        """
        return self.styles[check_style(name, self.styles)]

    def reference(self, clip: Clip) -> Reference:
        """The reference of a clip; each is made once."""
        return _read(self._reader, clip)

    def check_use(self, use: Scope, text: str = "", language: str = "") -> None:
        """Stop where its speaker has not agreed to a use, or to a language of a text.

        Raises:
            DataError: says to what.
        """
        runs = split(text, check_mode(language or self.synthesizer.language)) if text else []
        check_use(self.rights, use, {name for name, _ in runs if name})

    def hit_rates(self) -> list[str]:
        """Hit rates of the caches, a line each: sentences, and references if there were any."""
        lines = [self.synthesizer.text_cache.summary()]
        return lines + [f"references: {self._reader.cache.summary()}"] * bool(self._reader.cache.asked)


def _read(reader: ClipReader, clip: Clip) -> Reference:
    return reader.read(clip.path, clip.text, clip.language, clip.styles, clip.any_length)


def asset_finder(root: Path) -> Callable[[str], Asset]:
    """Opens fetched models below a working folder; a missing one is an error that says how to fetch it."""
    from voiceclone.assets import open_asset
    from voiceclone.assets.preflight import MODELS

    return lambda name: open_asset(root / MODELS / name / "asset.json")


def user_lexicon(root: Path, voice: str) -> Lexicon:
    """The pronunciations of ``config/lexicon``, and those of the folder that the voice was made with, if any."""
    files = (root / "results" / voice / "config.json", root / "results" / "config.json")
    made = next((path for path in files if path.is_file()), None)
    own = read_json(made).get("lexicon", "") if made else ""
    folders = [root / "config" / "lexicon", *([root / own] if own else [])]
    return read_lexicon(table for folder in folders for table in sorted(folder.glob("*.tsv")))


def open_bundle(
    bundle: Path,
    root: Path = Path(),
    threads: int = 0,
    clip: Clip | None = None,
    encoders: Path | None = None,
    device: str = "auto",
    engine: str = "auto",
    style: str = "",
) -> Voice:
    """An exported voice; needs no torch except for TensorRT engines.

    Args:
        bundle: its folder, or ``bundle.json``.
        root: working folder with ``config`` and ``resources``.
        threads: CPU threads; 0: automatic.
        clip: to speak like; None: the voice's own clip.
        encoders: folder of the encoders, if they are neither in the bundle nor beside it nor below ``root``.
        device: and
        engine: see :func:`voiceclone.speaking.runtimes.open_backend`.
        style: to speak in, in place of a clip; empty: the voice's own clip.

    Raises:
        AssetError: a clip needs a missing encoder; says how to get it.
        ConfigError: there is no such style.
    """
    from voiceclone.backends.bundle import read_bundle, read_styles
    from voiceclone.speaking.encoders import BundleEncoders
    from voiceclone.speaking.reference import ClipReader, reference_cache

    description, folder = read_bundle(bundle)
    files = encoder_files(folder, description, root, encoders)
    networks, lexicon = BundleEncoders(files, description, threads), user_lexicon(root, description["voice"])
    lexicon = with_polyphones(lexicon, description.get("polyphones", ""), asset_finder(root))
    encode_text = files.text_encoder(threads)
    reader = ClipReader(networks, lexicon, encode_text, reference_cache(cache_folder(REFERENCES)))
    styles = read_styles(folder, description)
    reference = styles[check_style(style, styles)] if style else None if clip is None else _read(reader, clip)
    networks.release()  # hundreds of megabytes, which the next clip loads again
    synthesizer = Synthesizer.from_bundle(
        folder, threads, lexicon, reference, encode_text, device, engine, cache_folder(TEXTS)
    )
    if clip is not None and reference is not None:
        _set_rate(synthesizer.rates, clip, reference)
    return Voice(synthesizer, reader, description, styles)


def encoder_files(
    folder: Path, description: Mapping[str, Any], root: Path = Path(), given: Path | None = None
) -> EncoderFiles:
    """Places of a bundle's encoders: in it, beside it, in a given folder, below the working folder."""
    from voiceclone.speaking.encoders import WRITTEN, EncoderFiles

    return EncoderFiles(folder, description, [place for place in (given, root / WRITTEN) if place is not None])


def _set_rate(rates: dict[str, float], clip: Clip, reference: Reference) -> None:
    """Use the clip's tokens per phone for its language, if the voice's own are unknown."""
    if len(reference.tokens) and clip.language in SUPPORTED:
        rates.setdefault(clip.language, len(reference.tokens) / len(reference.phones))


def open_models(
    models: Path,
    root: Path = Path(),
    features: Path | None = None,
    clip: Clip | None = None,
    device: str = "cpu",
    precision: str = "fp32",
    compiled: bool = False,
    style: str = "",
) -> Voice:
    """A voice of trained or imported models, or of GPT-SoVITS's base models.

    Args:
        models: see :func:`voiceclone.models.voice.load_voice`.
        root: working folder with ``config`` and ``resources``.
        features: features of the training, for the voice's own reference clip; None: beside the models.
        clip: to speak like; None: the voice's own clip.
        device: ``cpu`` or ``cuda``.
        precision: see :class:`voiceclone.speaking.torch_backend.TorchBackend`.
        compiled: the same.
        style: to speak in, in place of a clip; empty: the voice's own clip.

    Raises:
        ConfigError: there are no models, half precision on the CPU, or there is no clip, or no such style.
        AssetError: an encoder is missing.
    """
    from voiceclone.models.voice import load_voice
    from voiceclone.speaking.model_encoders import ModelEncoders
    from voiceclone.speaking.reference import ClipReader, make_reference, reference_cache, usual_rates

    find, lexicon = asset_finder(root), user_lexicon(root, models.absolute().parent.name)
    loaded = load_voice(models, find)
    loaded.gpt.to(device)
    loaded.sovits.to(device)
    folder = _features_of(models, features)
    if folder is not None:
        lexicon = with_trained_polyphones(lexicon, folder, find)
    with_bert = loaded.public if folder is None else (folder / "bert.safetensors").is_file()
    encode_text = _text_encoder(root, find) if with_bert else None
    networks = ModelEncoders(loaded, find, device)
    reader = ClipReader(networks, lexicon, encode_text, reference_cache(cache_folder(REFERENCES)))
    clips = {} if folder is None else _own_clips(folder, styles_alone=bool(style) or clip is not None)
    styles = {name: make_reference(loaded.sovits, folder, row, loaded.prompt) for name, row in clips.items() if folder}
    own = styles.pop("", None)
    if style:
        reference = styles[check_style(style, styles)]
    elif clip is not None:
        reference = _read(reader, clip)
    elif own is not None:
        reference = own
    else:
        raise ConfigError(
            f"--models {models}: no clip to speak like: there are no features of a training beside the models",
            "give a clip of 3 to 10 s and its words: --reference clip.flac --reference-text '...'",
        )
    loaded.sovits.remove_weight_norm()
    rates = usual_rates(folder) if folder is not None else {}
    if clip is not None:
        _set_rate(rates, clip, reference)
    language = ANY_LANGUAGE if folder is None else _usual_language(folder)
    synthesizer = Synthesizer.from_loaded(
        loaded, reference, language, device, precision, compiled, lexicon=lexicon, trained_with_bert=with_bert,
        encode_text=encode_text, rates=rates, texts=cache_folder(TEXTS),
    )  # fmt: skip
    report = models / "gpt.json"
    return Voice(synthesizer, reader, read_json(report) if report.is_file() else None, styles)


def with_trained_polyphones(lexicon: Lexicon, features: Path, find: Callable[[str], Asset] | None) -> Lexicon:
    """The lexicon with the model that read the training's Chinese characters; a warning if it is missing.

    Args:
        lexicon: the user's pronunciations.
        features: of the training; the column ``polyphones`` of its manifest names the model.
        find: opens fetched models; None: none.
    """
    return with_polyphones(lexicon, trained_polyphones(features), find)


def trained_polyphones(features: Path) -> str:
    """Name of the model that read a training's Chinese characters; empty: none did."""
    from voiceclone.files import read_tsv

    rows = read_tsv(features / "manifest.tsv", ["utterance"])
    return G2PW_MODEL if any(row.get("polyphones") == G2PW_MODEL for row in rows) else ""


def with_polyphones(lexicon: Lexicon, name: str, find: Callable[[str], Asset] | None) -> Lexicon:
    """The lexicon with the named model, see :func:`with_trained_polyphones`; an empty name: none."""
    if name != G2PW_MODEL:
        return lexicon
    try:
        if find is None:
            raise AssetError(f"{G2PW_MODEL}: not given")
        model, vocabulary = find(G2PW_MODEL), find(BERT)
    except AssetError as error:
        log.warning(
            "this voice was trained on Chinese with readings by %s, which is missing (%s): some characters will be "
            "read differently than in training",
            G2PW_MODEL,
            error.message,
        )
        return lexicon
    from voiceclone.listeners.g2pw import G2PW

    return lexicon.with_polyphones(G2PW(model.folder, vocabulary.folder, model.digest))


def _features_of(models: Path, features: Path | None) -> Path | None:
    if features is not None:
        if not (features / "manifest.tsv").is_file():
            raise ConfigError(f"--features {features}: no manifest.tsv there", "name results/NAME/features")
        return features
    beside = models.resolve().parent / "features"
    return beside if models.is_dir() and (beside / "manifest.tsv").is_file() else None


def _own_clips(features: Path, styles_alone: bool) -> dict[str, Row]:
    """Utterances of a training that the voice speaks like, by style; an empty name: its own."""
    table = features / TABLE
    rows = clips_of(features, table) if table.is_file() else {}
    if styles_alone:
        rows.pop("", None)
        return rows
    return rows or {"": own_clip(features, None)}


def _usual_language(features: Path) -> str:
    from voiceclone.files import read_tsv

    languages = [row["language"] for row in read_tsv(features / "manifest.tsv", ["language"])]
    return max(sorted(set(languages)), key=languages.count)


def _text_encoder(root: Path, find: Callable[[str], Asset]) -> LazyEncoder | None:
    """The BERT of Chinese text, if it was fetched."""
    from voiceclone.assets.preflight import MODELS
    from voiceclone.listeners.bert import LazyBert

    return LazyBert(find(BERT)) if (root / MODELS / BERT / "asset.json").is_file() else None
