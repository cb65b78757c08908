"""The two models of a voice, from wherever they lie.

As the training stages and ``voiceclone import`` leave them: safetensors beside a JSON that names the architecture.
Or as the public program shares them: a ``.ckpt`` and a ``.pth``, in one folder or as the assets of a base voice. Or as
our own base voice is packed: safetensors that carry their sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from voiceclone.assets import Asset
from voiceclone.errors import ConfigError, DataError
from voiceclone.files import digest, read_json, sha256_file
from voiceclone.marks.watermark import number_of
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.packed import SUFFIX
from voiceclone.models.public_files import POSTERIOR, read_gpt, read_sovits
from voiceclone.models.sovits import SoVITS, SoVITSConfig

Network = TypeVar("Network", bound=nn.Module)

#: Endings of the names of a base voice's two models in the registry.
BASE_PARTS = ("-gpt", "-sovits-g")
#: Name of our own base voice.
OWN_BASE = "base"


@dataclass(frozen=True)
class VoiceModels:
    """The models of a voice, in evaluation mode on the CPU.

    Attributes:
        gpt: text to semantic tokens.
        sovits: semantic tokens to waveform.
        prompt: the GPT continues after a prompt, as all that come from a public base do.
        public: whether these are public weights as they are, imported or not.
        fingerprint: digest of the weights.
        number: that the watermark of the voice carries.
    """

    gpt: TextToSemantic
    sovits: SoVITS
    prompt: bool
    public: bool
    fingerprint: str
    number: int = 0


def load_voice(models: Path, find_asset: Callable[[str], Asset] | None = None) -> VoiceModels:
    """The models of a voice.

    Args:
        models: folder of a training, an import or a packed base, or with one ``.ckpt`` and one ``.pth``; where there is
            none of this name, a base voice: ``gpt-sovits-v2pro`` means the assets with ``-gpt`` and ``-sovits-g``,
            ``base`` our own.
        find_asset: opens a fetched model by name; None: base voices are not looked for.

    Raises:
        ConfigError: there are no models there.
        DataError: they cannot be loaded.
        AssetError: a base voice is not there, or a file is not what it should be.
    """
    if find_asset is not None and not models.exists() and str(models).startswith("gpt-sovits-"):
        pair = [find_asset(str(models) + part) for part in BASE_PARTS]
        return _public(*(_only(asset.folder, ending) for asset, ending in zip(pair, (".ckpt", ".pth"), strict=True)))
    if find_asset is not None and not models.exists() and str(models) == OWN_BASE:
        assets = [find_asset(f"{OWN_BASE}-{part}") for part in ("gpt", "sovits-g", "tokenizer")]
        return _packed(*(_only(asset.folder, SUFFIX) for asset in assets))
    if not models.is_dir():
        raise ConfigError(f"--models {models}: no such folder", "name results/NAME/models, or a base voice")
    if (models / "gpt.json").is_file() and (models / "sovits.json").is_file():
        files = [models / f"{kind}.safetensors" for kind in ("gpt", "sovits")]
        public = "imported" in read_json(models / "gpt.json")
        gpt, sovits = load_gpt(models), load_sovits(models)
        fingerprint, number = digest([sha256_file(file) for file in files]), trained_number(models)
        return VoiceModels(gpt, sovits, takes_prompt(models), public, fingerprint, number)
    packed = [models / f"{kind}{SUFFIX}" for kind in ("gpt", "sovits", "tokenizer")]
    if all(path.is_file() for path in packed):
        return _packed(*packed)
    return _public(_only(models, ".ckpt"), _only(models, ".pth"))


def trained_number(models: Path) -> int:
    """The number of a voice with ``gpt.json`` and ``sovits.json``, as its bundles have it."""
    return number_of(*(str(read_json(models / f"{kind}.json")["fingerprint"]) for kind in ("gpt", "sovits")))


def _only(folder: Path, ending: str) -> Path:
    found = sorted(folder.glob(f"*{ending}"))
    if len(found) != 1:
        raise ConfigError(
            f"{folder}: {len(found)} files end in {ending}, expected one; nor are gpt.json and sovits.json there",
            "name the folder that a training or 'voiceclone import' wrote, or one with a single .ckpt and .pth",
        )
    return found[0]


def _packed(gpt: Path, sovits: Path, tokenizer: Path) -> VoiceModels:
    """Models of a packed base, whose quantiser is in its tokenizer."""
    quantizer = {name: value.float() for name, value in load_file(str(tokenizer)).items()}
    return replace(_public(gpt, sovits, quantizer=quantizer), public=False)


def _public(gpt_file: Path, sovits_file: Path, *, quantizer: Mapping[str, Tensor] | None = None) -> VoiceModels:
    """Models of public or packed files; ``quantiser`` is the SoVITS's where its file has none."""
    text_config, text = read_gpt(gpt_file)
    speech_config, speech = read_sovits(sovits_file)
    if text_config.codes != speech_config.codes:
        raise DataError(f"{gpt_file}: a GPT of {text_config.codes} codes; {sovits_file} has {speech_config.codes}")
    gpt, sovits = TextToSemantic(text_config), _with_posterior_of(SoVITS(speech_config), speech)
    gpt.load_state_dict(text)
    sovits.load_state_dict({**speech, **(quantizer or {})})
    fingerprint = digest([sha256_file(path) for path in (gpt_file, sovits_file)])
    return VoiceModels(gpt.eval(), sovits.eval(), _goes_on(text_config), True, fingerprint, number_of(fingerprint))


def _with_posterior_of(network: SoVITS, keys: Any) -> SoVITS:
    """The network, without a posterior encoder where the weights of these keys have none."""
    if not any(key.startswith(POSTERIOR) for key in keys):
        del network.enc_q
    return network


def load_base(gpt: Asset, sovits: Asset, tokenizer: Path) -> VoiceModels:
    """The base voice that a training starts from, public or packed; ``tokenizer`` is that of the voice's features.

    Raises:
        AssetError: a file is not what it should be.
    """
    endings = (".ckpt", ".pth", SUFFIX)
    first, second = (
        asset.file(next(name for name in asset.files if name.endswith(endings))) for asset in (gpt, sovits)
    )
    return replace(_packed(first, second, tokenizer), public=True)


def load_gpt(models_dir: Path) -> TextToSemantic:
    """The trained text-to-semantic model of a voice, in evaluation mode on the CPU."""
    config = GPTConfig.from_dict(read_json(models_dir / "gpt.json")["architecture"])
    return _load(TextToSemantic(config), models_dir / "gpt.safetensors")


def load_sovits(models_dir: Path) -> SoVITS:
    """The trained SoVITS generator of a voice, in evaluation mode on the CPU.

    One that was imported for inference alone has no posterior encoder: there is then none in the module either.
    """
    config = SoVITSConfig.from_dict(read_json(models_dir / "sovits.json")["architecture"])
    weights = models_dir / "sovits.safetensors"
    return _load(_with_posterior_of(SoVITS(config), _keys(weights)), weights)


def takes_prompt(models_dir: Path) -> bool:
    """True if the text-to-semantic model continues after the words of a clip.

    One that was trained from scratch ends there. Our base voice misses the beginning of the sentence then: 38 % word
    errors instead of 14 (docs/base_voice.md).
    """
    report = read_json(models_dir / "gpt.json")
    return bool(report["components"]["base"]) and _goes_on(GPTConfig.from_dict(report["architecture"]))


def _goes_on(config: GPTConfig) -> bool:
    """True: a network of the public family, whose pointer, if it has one, was added to it."""
    return not config.pointer_layer or config.pointer_added


def _keys(weights: Path) -> list[str]:
    try:
        with safe_open(str(weights), framework="pt") as file:
            return list(file.keys())
    except (SafetensorError, OSError) as error:
        raise _unloadable(weights, error) from error


def _load(model: Network, weights: Path) -> Network:
    try:
        model.load_state_dict(load_file(str(weights)), strict=True)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise _unloadable(weights, error) from error
    return model.eval()


def _unloadable(weights: Path, error: Exception) -> DataError:
    return DataError(f"{weights}: cannot be loaded ({error})", "delete the file and run the training again")
