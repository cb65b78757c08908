"""Imports voices of GPT-SoVITS, and exports voices to it: its two files to a folder of models here, and back.

The folder has the files of the training stages, so synthesis and export read it like any other. Weights keep the number
format of their file, and its configuration is kept beside them: the export gives the same weights bit for bit.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from voiceclone import __version__
from voiceclone.assets.registry import load_registry
from voiceclone.config.load import FROM, IMPORTED, VOICE_FILE
from voiceclone.errors import AssetError, DataError
from voiceclone.features.tokenizer import KEYS as TOKENIZER_KEYS
from voiceclone.files import atomic_folder, check_speaker, read_json, sha256_file, write_json, write_jsonl, write_text
from voiceclone.lineage.fingerprint import Fingerprint
from voiceclone.models.architecture import Architecture
from voiceclone.models.gpt import GPTConfig
from voiceclone.models.public_files import (
    CODEBOOK,
    PublicFile,
    State,
    check_publishable,
    gpt_config,
    read_public,
    sovits_config,
    sovits_version,
    write_gpt,
    write_sovits,
)
from voiceclone.models.sovits import SoVITSConfig
from voiceclone.models.voice import load_gpt, load_sovits


def import_voice(gpt: Path, sovits: Path, output: Path) -> list[str]:
    """Write the models of a GPT-SoVITS voice in the format of the training stages.

    Args:
        gpt: ``.ckpt``, small weights or a checkpoint of its training.
        sovits: ``.pth``, likewise; small weights lack the posterior encoder and cannot be trained further.
        output: folder to make.

    Returns:
        A summary line for each file.

    Raises:
        AssetError: a file is not what it should be, or the two do not belong together.
        DataError: the folder exists.
    """
    if output.exists():
        raise DataError(f"{output}: exists already", "give a folder that does not exist, or delete this one")
    (text, text_config), (speech, speech_config) = _pair(gpt, sovits)
    with atomic_folder(output) as folder:
        _write_model(folder, "gpt", text, text_config)
        _write_model(folder, "sovits", speech, speech_config)
        _write_tokenizer(folder, speech)
    return [_describe(text, "GPT"), _describe(speech, f"SoVITS {sovits_version(speech_config)}")]


def _pair(gpt: Path, sovits: Path) -> tuple[tuple[PublicFile, GPTConfig], tuple[PublicFile, SoVITSConfig]]:
    """The two files of a voice with their sizes, which have to belong together."""
    text, speech = read_public(gpt), read_public(sovits)
    text_config, speech_config = gpt_config(text), sovits_config(speech)
    for name in ("codes", "phones"):
        ours, theirs = getattr(text_config, name), getattr(speech_config, name)
        if ours != theirs:
            raise AssetError(f"{gpt}: a GPT of {ours} {name}; {sovits} has {theirs}", "use files of one version")
    return (text, text_config), (speech, speech_config)


def register_voice(
    gpt: Path, sovits: Path, speaker: str, root: Path = Path(), licence: str = "not stated"
) -> list[str]:
    """Make a GPT-SoVITS voice one that the workflow exports, quantises, evaluates and serves, without training it.

    The files are copied to ``resources/imported/SPEAKER`` and registered in ``config/assets.yaml`` as models
    ``SPEAKER-gpt`` and ``SPEAKER-sovits-g``; a ``voice.yaml`` beside them takes these as bases, and
    ``resources/speakers/SPEAKER/voice.yaml`` is ``from`` it. A clip of 3 to 10 s there is what the voice speaks like.

    Args:
        gpt: and
        sovits: see :func:`import_voice`.
        speaker: name of the voice.
        root: working folder.
        licence: of the weights.

    Returns:
        A line for each file that was written.

    Raises:
        AssetError: a file is not what it should be, or the two do not belong together.
        DataError: the voice has its own settings already, or the models are registered.
    """
    (text, _), (speech, config) = _pair(gpt, sovits)
    names = {
        f"{check_speaker(speaker)}-{part}": kind for part, kind in (("gpt", "gpt"), ("sovits-g", "sovits-generator"))
    }
    settings, registry = root / "resources" / "speakers" / speaker / VOICE_FILE, root / "config" / "assets.yaml"
    folder = root / IMPORTED / speaker
    if settings.exists() or folder.exists() or any(name in load_registry(registry).assets for name in names):
        raise DataError(f"{speaker}: there is such a voice already", "choose another name")
    with atomic_folder(folder) as made:
        for file, name in ((text, "gpt.ckpt"), (speech, "sovits.pth")):
            shutil.copyfile(file.path, made / name)
        version = sovits_version(config)
        write_text(made / VOICE_FILE, _SETTINGS.format(gpt=f"{speaker}-gpt", sovits=f"{speaker}-sovits-g",
                   version=version, encoder="eres2netv2" if config.speaker_vector_size else '""'))  # fmt: skip
    entries = [
        _registered(name, kind, folder / file, file_info, licence, root)
        for (name, kind), file, file_info in zip(
            names.items(), ("gpt.ckpt", "sovits.pth"), (text.info, speech.info), strict=True
        )
    ]
    write_text(registry, registry.read_text(encoding="utf-8").rstrip("\n") + "\n" + "".join(entries))
    load_registry(registry)
    write_text(
        settings, f"# The imported voice as it is. Put a clip of 3 to 10 s beside this file.\n{FROM}: {speaker}\n"
    )
    return [f"{path}: written" for path in (folder, registry, settings)]


_SETTINGS = """# A voice of GPT-SoVITS as it is, by 'voiceclone import': what a voice.yaml with 'from' begins with.
preset: zero-shot
features: {{verification_encoder: {encoder}}}
tokenizer: {{base: {sovits}}}
gpt: {{train: false, base: {gpt}}}
sovits: {{train: false, architecture: {version}, base: {sovits}}}
"""


def _registered(name: str, kind: str, path: Path, info: str, licence: str, root: Path) -> str:
    """Entry of a model in the registry; what the file says of itself is quoted."""
    return (
        f"\n  {name}:\n    kind: {kind}\n    licence: {json.dumps(licence)}\n"
        f"    description: {json.dumps(f'Imported from GPT-SoVITS: {info[:80]}')}\n"
        f"    files:\n      {path.name}: {{size: {path.stat().st_size}, sha256: {sha256_file(path)}}}\n"
        f"    sources:\n      - local: {path.relative_to(root).as_posix()}\n"
    )


def export_upstream(models_dir: Path, output: Path, name: str = "") -> list[Path]:
    """Write the models of a voice as small weights of GPT-SoVITS: float16, no posterior encoder.

    Args:
        models_dir: folder of the trained or imported models.
        output: folder for ``NAME.ckpt`` and ``NAME.pth``.
        name: of the files; empty: that of the voice's folder.

    Returns:
        The two files.

    Raises:
        AssetError: GPT-SoVITS has no model of these sizes.
        DataError: the models are missing or damaged.
    """
    gpt, sovits = load_gpt(models_dir), load_sovits(models_dir)
    check_publishable(sovits.config, str(models_dir))
    reports = {kind: read_json(models_dir / f"{kind}.json") for kind in ("gpt", "sovits")}
    folder = models_dir.resolve()
    name = name or (folder.parent.name if folder.name == "models" else folder.name)
    texts, speeches = output / f"{name}.ckpt", output / f"{name}.pth"
    weights = _in_order(models_dir / "gpt.safetensors", gpt)
    write_gpt(texts, gpt.config, weights, *_of_file(reports["gpt"], "GPT-e{epochs:.0f}"))
    weights = _in_order(models_dir / "sovits.safetensors", sovits)
    label = "{epochs:.0f}epoch_{steps}iteration"
    write_sovits(speeches, sovits.config, weights, *_of_file(reports["sovits"], label))
    return [texts, speeches]


def _in_order(path: Path, network: nn.Module) -> State:
    """Weights as stored, in the order of GPT-SoVITS."""
    stored = load_file(str(path))
    return {key: stored[key] for key in network.state_dict()}


def _of_file(report: dict[str, Any], label: str) -> tuple[str, dict[str, Any] | None]:
    """Description of the training, and the configuration of the file that the model was imported from."""
    imported = report.get("imported")
    if imported is None:
        return label.format(epochs=report["epochs"], steps=report["step"]), None
    return imported["info"], imported["config"] or None


def _write_model(folder: Path, kind: str, file: PublicFile, config: Architecture) -> None:
    sha256 = sha256_file(file.path)
    architecture = config.to_dict()
    components = {
        "stage": f"import_{kind}", "revision": 1, "settings": {}, "architecture": architecture, "base": {kind: sha256}
    }  # fmt: skip
    fingerprint = Fingerprint({}, components)
    save_file(_contiguous(file.weights), folder / f"{kind}.safetensors")
    write_json(
        folder / f"{kind}.json",
        {
            "fingerprint": fingerprint.key,
            "components": {"utterances": {}, **components},
            "architecture": architecture,
            "step": 0,
            "selected": "last",
            "steps": 0,
            "epochs": 0.0,
            "best": {"step": None},
            "final": {"step": 0},
            "resumes": [],
            "seconds": 0.0,
            "versions": {"voiceclone": __version__, "torch": torch.__version__},
            "imported": {
                "file": file.path.name,
                "sha256": sha256,
                "form": "training checkpoint" if file.training else "weights",
                "info": file.info,
                "config": file.config,
            },
        },
    )
    reason = f"imported from {file.path.name}"
    write_jsonl(folder / f"{kind}.history.jsonl", [{"event": "started", "step": 0, "reason": reason}])


def _write_tokenizer(folder: Path, speech: PublicFile) -> None:
    """The quantizer alone, in float32, as the tokenizer stage takes it from a base."""
    tensors = {key: speech.weights[key].float() for key in TOKENIZER_KEYS}
    path = folder / "tokenizer.safetensors"
    save_file(_contiguous(tensors), path)
    codes, dimension = tensors[CODEBOOK].shape
    write_json(
        path.with_suffix(".json"),
        {
            "source": speech.path.name,
            "source_digest": sha256_file(speech.path),
            "codes": codes,
            "dimension": dimension,
            "sha256": sha256_file(path),
        },
    )


def _contiguous(weights: State) -> dict[str, Tensor]:
    """Own memory for each tensor, as the format asks for."""
    return {key: value.contiguous().clone() for key, value in weights.items()}


def _describe(file: PublicFile, model: str) -> str:
    numbers = sum(value.numel() for value in file.weights.values())
    kind = "checkpoint of a training" if file.training else "weights"
    return f"{file.path}: {model}, {kind}, {numbers / 1e6:.1f} million numbers ({file.info or 'no description'})"
