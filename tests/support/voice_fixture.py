"""A small voice with random weights, as the stages leave it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from voiceclone.base.pack import FILES, pack_tokenizer
from voiceclone.features.tokenizer import KEYS
from voiceclone.files import read_tsv, write_json, write_tsv
from voiceclone.models.discriminators import DiscriminatorConfig, MultiPeriodDiscriminator
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.packed import write_packed
from voiceclone.models.sovits import SoVITS, SoVITSConfig
from voiceclone.speaking.styles import TABLE, choose_references
from voiceclone.speaking.tokens import DecodingLoop, TokenRequest

CODES = 16  # of the packed base voice


def make_voice(root: Path, sovits: SoVITSConfig | None = None, gpt: GPTConfig | None = None) -> Path:
    """Write ``models`` (nano if left out, said to be of a base voice) and ``features`` below a folder; returns it."""
    sovits = sovits or SoVITSConfig.nano()
    torch.manual_seed(0)
    (root / "models").mkdir(parents=True)
    (root / "features").mkdir()
    for name, model in (("gpt", TextToSemantic(gpt or GPTConfig.nano())), ("sovits", SoVITS(sovits))):
        tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
        save_torch(tensors, root / "models" / f"{name}.safetensors")
        write_json(
            root / "models" / f"{name}.json",
            {
                "architecture": model.config.to_dict(),
                "fingerprint": f"{name}-test",
                "components": {"base": {"gpt": "a base voice"}},
            },
        )
    _write_features(root / "features")
    return root


def make_styles(root: Path, **names: object) -> Path:
    """Give a voice's recordings the styles calm, calm and loud, and none; returns its table of references."""
    files = ["calm/a.wav", "loud/b.wav", "calm/c.wav", "d.wav"]
    rows = read_tsv(root / "features" / "manifest.tsv")
    takes = [{"take": f"take-{index}", "file": file} for index, file in enumerate(files)]
    corpus = [{"utterance": row["utterance"], "take": take["take"]} for row, take in zip(rows, takes, strict=True)]
    (root / "corpus").mkdir(exist_ok=True)
    write_tsv(root / "takes.tsv", ["take", "file"], takes)
    write_tsv(root / "corpus" / "corpus.tsv", ["utterance", "take"], corpus)
    table = root / "features" / TABLE
    choose_references(root / "features", root / "corpus" / "corpus.tsv", root / "takes.tsv", table, **names)
    return table


def _write_features(folder: Path) -> None:
    rng = np.random.default_rng(0)
    rows, stores = [], {kind: {} for kind in ("phones", "semantic", "speaker", "spectrogram")}
    for index, seconds in enumerate([2.0, 4.0, 6.0, 3.2]):
        utterance, frames = f"take-{index:07d}-{index + 1:07d}", int(seconds * 50)
        vector = rng.standard_normal(192).astype(np.float32)
        stores["phones"][utterance] = rng.integers(0, 732, int(seconds * 10))
        stores["semantic"][utterance] = rng.integers(0, 256, frames // 2)
        stores["speaker"][utterance] = vector / np.linalg.norm(vector)
        stores["spectrogram"][utterance] = rng.random((1025, frames)).astype(np.float16)
        split = "heldout" if index == 3 else "train"
        rows.append({"utterance": utterance, "split": split, "seconds": seconds, "language": "en"})
    for kind, store in stores.items():
        save_file(store, folder / f"{kind}.safetensors")
    write_tsv(folder / "manifest.tsv", ["utterance", "split", "seconds", "language"], rows)


def random_gpt() -> TextToSemantic:
    """A small network whose biases are not zero either, as they would be after its initialisation."""
    torch.manual_seed(0)
    model = TextToSemantic(GPTConfig(dim=64, layers=2, heads=4, feed_forward=128, codes=32)).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def pack_base(folder: Path) -> None:
    """Write a base voice of small networks with random weights, packed as the committed one is."""
    torch.manual_seed(0)
    gpt = GPTConfig(
        dim=32, layers=2, heads=2, feed_forward=64, codes=CODES, dropout=0.0, pointer_layer=1, pointer_dim=8
    )
    sovits = SoVITS(SoVITSConfig.nano(32, CODES))
    write_packed(folder / FILES["base-gpt"], "gpt", gpt, TextToSemantic(gpt).state_dict())
    write_packed(folder / FILES["base-sovits-g"], "sovits", sovits.config, sovits.state_dict())
    judges = MultiPeriodDiscriminator(DiscriminatorConfig.nano()).state_dict()
    write_packed(folder / FILES["base-sovits-d"], "discriminator", DiscriminatorConfig.nano(), judges)
    save_torch({key: sovits.state_dict()[key] for key in KEYS}, folder / "fitted.safetensors")
    pack_tokenizer(folder / "fitted.safetensors", folder / FILES["base-tokenizer"])
    (folder / "fitted.safetensors").unlink()


def together(loop: DecodingLoop, draws: Iterable[TokenRequest]) -> list[list[int]]:
    """Tokens of all, drawn in the rows of a loop; a row that ends takes the next one."""
    waiting, row_of = list(enumerate(draws)), dict[int, int]()
    tokens: list[list[int]] = [[] for _ in waiting]
    while waiting or row_of:
        while loop.free and waiting:
            index, want = waiting.pop(0)
            row_of[loop.add(want)] = index
        for row, (new, ended) in loop.advance().items():
            tokens[row_of[row]] += new
            if ended:
                del row_of[row]
    return tokens
