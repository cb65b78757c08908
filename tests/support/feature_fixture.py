"""Small real models and corpora for the tests of the features."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from voiceclone.assets import Asset
from voiceclone.assets.asset import content_digest
from voiceclone.files import sha256_file, write_json, write_tsv
from voiceclone.listeners.campplus import WEIGHTS, CAMPlusPlus
from voiceclone.sound.io import write_flac

COLUMNS = ["utterance", "path", "sha256", "seconds", "language", "text", "split"]


def register(folder: Path, name: str) -> Asset:
    """Write the asset.json of a folder of files."""
    files = {
        path.relative_to(folder).as_posix(): {"sha256": sha256_file(path), "size": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "asset.json"
    }
    manifest = {"name": name, "kind": "test", "licence": "MIT", "files": files, "digest": content_digest(files)}
    write_json(folder / "asset.json", manifest)
    return Asset(name, "test", "MIT", folder, manifest["digest"], files)


def random_hubert(folder: Path, layers: int = 1) -> Asset:
    """A HuBERT of the published configuration (base) with random weights and few layers."""
    import torch
    from transformers import HubertConfig, HubertModel

    torch.manual_seed(0)
    HubertModel(HubertConfig(num_hidden_layers=layers)).save_pretrained(folder)
    return register(folder, "chinese-hubert-base")


def random_bert(folder: Path, characters: str) -> Asset:
    """A BERT of the width of the public one (1024) with random weights, four layers and a small vocabulary."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    folder.mkdir(parents=True)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(characters)]
    config = BertConfig(vocab_size=len(tokens), hidden_size=1024, num_hidden_layers=4, num_attention_heads=16,
                        intermediate_size=256)  # fmt: skip
    BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    return register(folder, "chinese-roberta-wwm-ext-large")


def random_campplus(folder: Path) -> Asset:
    """The speaker network with random weights."""
    import torch

    torch.manual_seed(0)
    folder.mkdir(parents=True)
    torch.save(CAMPlusPlus().state_dict(), folder / WEIGHTS)
    return register(folder, "campplus")


def corpus(results: Path, texts: Mapping[str, tuple[str, str]], seconds: float = 1.3) -> Path:
    """Write a corpus of noise; texts: utterance to (language, text). Audio that lies there already is kept."""
    random = np.random.default_rng(0)
    rows = []
    for number, (utterance, (language, text)) in enumerate(texts.items()):
        path = results / "slices" / f"{utterance}.flac"
        if not path.is_file():
            write_flac(
                path, 0.1 * random.standard_normal(int(32000 * seconds) + 700 * number).astype(np.float32), 32000
            )
        rows.append(
            {
                "utterance": utterance,
                "path": f"slices/{utterance}.flac",
                "sha256": sha256_file(path),
                "seconds": seconds,
                "language": language,
                "text": text,
                "split": "heldout" if number == 0 else "train",
            }
        )
    write_tsv(results / "corpus" / "corpus.tsv", COLUMNS, rows)
    return results / "corpus" / "corpus.tsv"
