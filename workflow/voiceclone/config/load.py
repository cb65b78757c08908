"""From files and the command line to a checked configuration: defaults, preset, the user's file, command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from voiceclone.config.config import Config
from voiceclone.errors import ConfigError, DataError
from voiceclone.files import write_changed
from voiceclone.stages.settings import describe
from voiceclone.usertext import read_user_text

HINT = "config/README.md explains every key"
VOICE_FILE = "voice.yaml"
#: Folder of the voices that 'voiceclone import' made, below the working folder; the key of a voice that names one.
IMPORTED, FROM = Path("resources/imported"), "from"
#: Keys that hold for all voices of a run.
COMMON = ("speakers_dir", "speakers", "offline", "models_dir", "corpora", "teachers", "runtime")


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file of keys; an empty file is an empty table.

    Raises:
        ConfigError: missing, not YAML, or not a table.
    """
    try:
        values = yaml.safe_load(read_user_text(path))
    except DataError as error:
        raise ConfigError(error.message, error.hint) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML ({error})", HINT) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected 'key: value' lines, found {type(values).__name__}", HINT)
    return values


def as_utf8(path: str, copy: str) -> str:
    """The path of a file of people in UTF-8, for readers that know nothing else: itself, or a copy.

    Raises:
        ConfigError: its encoding is not plain.
    """
    try:
        Path(path).read_bytes().decode("utf-8")
    except OSError:
        return path  # the reader says so
    except UnicodeDecodeError:
        try:
            write_changed(Path(copy), read_user_text(Path(path)))
        except DataError as error:
            raise ConfigError(error.message, error.hint) from error
        return copy
    return path


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Tables merged key by key; any other value of ``over`` replaces that of ``base``."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        result[key] = merged(below, value) if both else value  # type: ignore[arg-type]
    return result


def resolve(raw: Mapping[str, Any], presets_dir: Path) -> Config:
    """The checked configuration: defaults, then the preset that ``raw`` names, then ``raw``.

    Args:
        raw: the user's file and command line, already merged (as the workflow engine gives them).
        presets_dir: folder of the presets, ``NAME.yaml``.

    Raises:
        ConfigError: one message with every wrong key, its value and what is allowed.
    """
    preset = str(raw.get("preset", Config.model_fields["preset"].default))
    path = Path(presets_dir) / f"{preset}.yaml"
    known = sorted(file.stem for file in Path(presets_dir).glob("*.yaml"))
    if preset not in known:
        raise ConfigError(f"preset: {preset!r} is not allowed; expected {' | '.join(known)}", HINT)
    config = validate(_seeded(merged(merged(read_yaml(path), raw), {"preset": preset})))
    registry = Path(presets_dir).parent / "assets.yaml"
    if registry.is_file():
        _check_models(config, registry)
    return config


def read_voice(file: Path, root: Path) -> dict[str, Any]:
    """The keys of a voice's file, over those of the imported voice that its key ``from`` names, if it names one.

    Args:
        file: ``voice.yaml``.
        root: working folder, which has the imported voices.

    Raises:
        ConfigError: see :func:`read_yaml`; there is no such imported voice.
    """
    own = read_yaml(file)
    if FROM not in own:
        return own
    name, found = own.pop(FROM), {path.parent.name: path for path in (root / IMPORTED).glob(f"*/{VOICE_FILE}")}
    if not isinstance(name, str) or name not in found:
        raise ConfigError(
            f"{file}: from: {str(name)[:80]!r} is no imported voice; there are {', '.join(sorted(found)) or 'none'}",
            "'voiceclone import --gpt GPT.ckpt --sovits SOVITS.pth --speaker NAME' makes one of GPT-SoVITS's files",
        )
    return merged(read_yaml(found[name]), own)


def resolve_voice(raw: Mapping[str, Any], presets_dir: Path, file: Path) -> Config:
    """The configuration of one voice: its file over the common configuration, see :func:`resolve`.

    Args:
        raw: the common configuration.
        presets_dir: folder of the presets.
        file: the voice's ``voice.yaml``; its preset replaces the common one, below all keys that are set.

    Raises:
        ConfigError: the file is wrong, or sets a key that holds for all voices; names the file and the keys.
    """
    own = read_voice(file, Path(presets_dir).parent.parent)
    allowed = [key for key in Config.model_fields if key not in COMMON]
    if wrong := [key for key in own if key in COMMON]:
        lines = "\n".join(f"  {key}: holds for all voices, set it in config/config.yaml" for key in wrong)
        raise ConfigError(f"{file}: not valid:\n{lines}\n  allowed here: {', '.join([*allowed, FROM])}", HINT)
    try:
        return resolve(merged(raw, own), presets_dir)
    except ConfigError as error:
        raise ConfigError(f"{file}, over the common configuration: {error.message}", error.hint) from error


def groups_of(common: Config, voices: Mapping[str, Config], speakers: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The members of each voice that several people train.

    Args:
        common: configuration of all voices.
        voices: of those with a file of their own, by name.
        speakers: of the run.

    Raises:
        ConfigError: a member is unknown, a group or named twice, or a group has fewer than two.
    """
    if common.group:
        raise ConfigError(f"group: is of one voice, set it in its {VOICE_FILE}", HINT)
    groups = {name: one.group for name, one in voices.items() if one.group}
    for name, members in groups.items():
        wrong = {
            "the group itself": [member for member in members if member == name],
            "groups too": [member for member in members if member in groups and member != name],
            "no speakers of this run": [member for member in members if member not in speakers],
            "named twice": sorted({member for member in members if members.count(member) > 1}),
        }
        found = [f"{', '.join(map(repr, those))}: {what}" for what, those in wrong.items() if those]
        if found or len(members) < 2:
            raise ConfigError(
                f"{name}/{VOICE_FILE}: group: {'; '.join(found) or 'one member'}",
                f"name two speakers or more, of {', '.join(one for one in speakers if one not in groups) or 'none'}",
            )
    return groups


def resolve_student(raw: Mapping[str, Any], presets_dir: Path, file: Path | None) -> Config:
    """The configuration of a voice's student: ``student.yaml`` beside the presets' folder, over the voice's own.

    Args:
        raw: the common configuration.
        presets_dir: folder of the presets.
        file: the voice's ``voice.yaml``; None: it has none.

    Raises:
        ConfigError: see :func:`resolve`.
    """
    own = merged(raw, read_voice(file, Path(presets_dir).parent.parent) if file else {})
    return resolve(merged(own, read_yaml(Path(presets_dir).parent / "student.yaml")), presets_dir)


def _seeded(values: dict[str, Any]) -> dict[str, Any]:
    """The common seed written into each block that has one and was given none."""
    seed = values.get("seed")
    if seed is None:
        return values
    blocks = {
        name: {"seed": seed}
        for name, field in Config.model_fields.items()
        if "seed" in getattr(field.annotation, "model_fields", {})
    }
    return merged(blocks, values)


def _check_models(config: Config, registry_path: Path) -> None:
    """Refuse names that are not registered, or are models of another kind, before any work."""
    from voiceclone.assets.registry import load_registry  # it is built on this package

    known = load_registry(registry_path).assets
    lines = []
    for key, (name, kinds) in config.chosen_models().items():
        if name not in known or known[name].kind not in kinds:
            fitting = " | ".join(sorted(other for other, spec in known.items() if spec.kind in kinds))
            kind = " or ".join(kinds)
            lines.append(f"  {key}: {name!r} is not a registered model of kind {kind}; expected {fitting}")
    if lines:
        raise ConfigError("the configuration is not valid:\n" + "\n".join(lines), "config/assets.yaml lists the models")


def validate(values: Mapping[str, Any]) -> Config:
    """Check complete values; a :class:`ConfigError` lists every wrong key."""
    # An empty block ('slice:' with nothing below) means its defaults.
    given = {key: value for key, value in values.items() if value is not None}
    try:
        return Config.model_validate(given)
    except ValidationError as error:
        raise ConfigError(f"the configuration is not valid:\n{describe(error, Config)}", HINT) from error


def load_config(
    overrides: Mapping[str, Any] | None = None, file: Path | None = None, root: Path | None = None
) -> Config:
    """Configuration of a working folder, as a command outside the workflow engine needs it.

    Args:
        overrides: nested keys that come last, as from the command line.
        file: the user's file; default ``config/config.yaml`` where it exists.
        root: the working folder; default the current one.
    """
    return resolve(*_raw(overrides, file, root))


def load_voices(
    overrides: Mapping[str, Any] | None = None, file: Path | None = None, root: Path | None = None
) -> list[Config]:
    """The common configuration, then those of voices with a file of their own; see :func:`load_config`."""
    raw, presets = _raw(overrides, file, root)
    common = resolve(raw, presets)
    files = sorted(((root or Path.cwd()) / common.speakers_dir).glob(f"*/{VOICE_FILE}"))
    return [common, *(resolve_voice(raw, presets, path) for path in files)]


def load_voice(overrides: Mapping[str, Any], root: Path, name: str) -> Config:
    """The configuration of a voice: its own where its folder has one, else the common one; see :func:`load_config`."""
    raw, presets = _raw(overrides, None, root)
    common = resolve(raw, presets)
    own = root / common.speakers_dir / name / VOICE_FILE
    return resolve_voice(raw, presets, own) if own.is_file() else common


def _raw(overrides: Mapping[str, Any] | None, file: Path | None, root: Path | None) -> tuple[dict[str, Any], Path]:
    folder = (root or Path.cwd()) / "config"
    chosen = file or folder / "config.yaml"
    own = read_yaml(chosen) if file or chosen.is_file() else {}
    return merged(own, overrides or {}), folder / "presets"
