"""The trained networks of a base voice as four small files, and their place in the repository."""

from __future__ import annotations

import lzma
import re
from pathlib import Path

from safetensors.torch import load_file

from voiceclone.errors import DataError
from voiceclone.features.tokenizer import Tokenizer
from voiceclone.files import atomic_path, canonical_json, read_json, sha256_file, write_text
from voiceclone.models.discriminators import DiscriminatorConfig
from voiceclone.models.gpt import GPTConfig
from voiceclone.models.packed import half, write_halves, write_packed
from voiceclone.models.sovits import SoVITSConfig
from voiceclone.training.checkpoints import CheckpointStore
from voiceclone.training.state import FINGERPRINT

#: Name of an asset of the registry to its file.
FILES = {
    "base-tokenizer": "tokenizer.safetensors",
    "base-gpt": "gpt.safetensors",
    "base-sovits-g": "sovits.safetensors",
    "base-sovits-d": "discriminator.safetensors",
}
CARD = ("card.md", "card.json")
XZ = ".xz"  # in resources/base, where the files are compressed without loss


def open_base(packed: Path, scratch: Path) -> Path:
    """Folder of the packed files of a base as they are used: ``packed``, or ``scratch`` where those are compressed."""
    if not (packed / (FILES["base-gpt"] + XZ)).is_file():
        return packed
    for name in FILES.values():
        with atomic_path(scratch / name) as temporary:
            temporary.write_bytes(lzma.decompress((packed / (name + XZ)).read_bytes()))
    return scratch


def pack_base(models: Path, output: Path) -> dict[str, int]:
    """Write tokenizer, GPT, SoVITS and discriminators of a training in float16.

    Args:
        models: folder that the trainings wrote, ``results/NAME/models``.
        output: folder of the packed files.

    Returns:
        Bytes of each file.

    Raises:
        DataError: the trainings left no discriminators.
        AssetError: weights do not fit their architecture.
    """
    gpt, sovits = (read_json(models / f"{kind}.json") for kind in ("gpt", "sovits"))
    discriminator = models / FILES["base-sovits-d"]
    if not discriminator.is_file():
        raise DataError(f"{discriminator}: missing", "train with sovits.keep_discriminator: true")
    pack_tokenizer(models / FILES["base-tokenizer"], output / FILES["base-tokenizer"])
    for name, kind, config, report in (
        ("base-gpt", "gpt", GPTConfig.from_dict(gpt["architecture"]), gpt),
        ("base-sovits-g", "sovits", SoVITSConfig.from_dict(sovits["architecture"]), sovits),
        ("base-sovits-d", "discriminator", DiscriminatorConfig.from_dict(sovits["discriminator"]), sovits),
    ):
        notes = {"step": str(report["step"]), "fingerprint": report["fingerprint"]}
        write_packed(output / FILES[name], kind, config, load_file(models / FILES[name]), notes)
    return {name: (output / name).stat().st_size for name in FILES.values()}


def pack_running(states: Path, tokenizer: Path, output: Path) -> dict[str, int]:
    """Pack trainings that still run: their newest checkpoints, averaged if they keep an average.

    Args:
        states: ``results/NAME/state`` or a copy; of several trainings of a kind the one that saved last is taken.
        tokenizer: that they are trained on.
        output: folder of the packed files.

    Returns:
        Step of each training.

    Raises:
        DataError: there is no whole checkpoint.
        AssetError: weights do not fit their architecture.
    """
    steps = {}
    pack_tokenizer(tokenizer, output / FILES["base-tokenizer"])
    for kind, asset in (("gpt", "base-gpt"), ("sovits", "base-sovits-g")):
        folders = sorted((path.parent for path in (states / kind).glob(f"*/{FINGERPRINT}")), key=_last_saved)
        found = CheckpointStore(folders[-1], folders[-1].name).newest() if folders else None
        if found is None:
            raise DataError(f"{states / kind}: no checkpoint", "train first, or name the folder of the states")
        sizes = dict(read_json(folders[-1] / FINGERPRINT)["components"]["architecture"])
        notes = {"step": str(found.record.step), "fingerprint": found.record.fingerprint}
        average = found.parts.get("average", {}).get("average", {})
        if kind == "sovits":
            judges = DiscriminatorConfig.from_dict(sizes.pop("discriminator"))
            state = found.parts["discriminator"]
            write_packed(output / FILES["base-sovits-d"], "discriminator", judges, state, notes)
        config = GPTConfig.from_dict(sizes) if kind == "gpt" else SoVITSConfig.from_dict(sizes)
        write_packed(output / FILES[asset], kind, config, {**found.parts["model"], **average}, notes)
        steps[kind] = found.record.step
    return steps


def _last_saved(folder: Path) -> str:
    """When a training saved its newest checkpoint: file times do not survive a copy."""
    return max((str(read_json(path)["time"]) for path in folder.glob("step-*/checkpoint.json")), default="")


def pack_tokenizer(source: Path, target: Path) -> None:
    """A fitted tokenizer in float16, under the public names."""
    tensors = load_file(source)
    codes, size = Tokenizer.load(source).size, int(tensors["ssl_proj.bias"].shape[0])
    metadata = {"kind": "tokenizer", "architecture": canonical_json({"codes": codes, "ssl_dim": size})}
    write_halves(target, {name: half(value) for name, value in tensors.items()}, metadata)


def install_base(packed: Path, project: Path) -> list[str]:
    """Make a packed base the project's own: copy it to ``resources/base`` and pin it in ``config/assets.yaml``.

    Args:
        packed: folder of the four files and the card.
        project: folder with ``config`` and ``resources``.

    Returns:
        Lines that say what was pinned.

    Raises:
        DataError: a file is missing, or the registry does not name it.
    """
    registry = project / "config" / "assets.yaml"
    text, lines = registry.read_text(encoding="utf-8"), []
    for asset, name in FILES.items():
        path = packed / name
        if not path.is_file():
            raise DataError(f"{path}: missing", "pack the base again")
        pin = f"{{size: {path.stat().st_size}, sha256: {sha256_file(path)}}}"
        pattern = rf"(?m)^(  {re.escape(asset)}:\n(?:    .*\n)*?      {re.escape(name)}:) \{{.*\}}$"
        text, found = re.subn(pattern, rf"\g<1> {pin}", text)
        text = text.replace(f"local: resources/base/{name}\n", f"local: resources/base/{name}{XZ}\n")
        if found != 1:
            raise DataError(f"{registry}: no line '{name}: {{...}}' under {asset}", "restore the registry")
        lines.append(f"{asset}: {pin}")
    for name in (*FILES.values(), *CARD):
        if (packed / name).is_file():
            compressed = name in FILES.values()
            with atomic_path(project / "resources" / "base" / (name + XZ if compressed else name)) as temporary:
                content = (packed / name).read_bytes()
                temporary.write_bytes(lzma.compress(content, preset=9) if compressed else content)
            if compressed:
                (project / "resources" / "base" / name).unlink(missing_ok=True)  # of an install without compression
    write_text(registry, text)
    return lines
