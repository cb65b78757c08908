"""The fingerprint of a training, from its features, base weights, architecture and settings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from voiceclone.assets import Asset
from voiceclone.config.training import TrainingSettings
from voiceclone.files import digest
from voiceclone.lineage.fingerprint import Fingerprint
from voiceclone.lineage.revisions import REVISIONS
from voiceclone.training.data import Utterance


def tensor_digest(tensor: torch.Tensor) -> str:
    """First 16 hexadecimal digits of the sha256 of dtype, shape and content."""
    header = f"{tensor.dtype}{tuple(tensor.shape)}".encode()
    content = tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
    return hashlib.sha256(header + content).hexdigest()[:16]


def base_digests(**assets: Asset | None) -> dict[str, str]:
    """Role -> content digest of the models that a training starts from."""
    return {role: asset.digest for role, asset in assets.items() if asset is not None}


def base_fingerprint(stage: str, architecture: Mapping[str, Any], base: Mapping[str, str]) -> Fingerprint:
    """What an untrained base model is made from: the same for every voice that uses it."""
    components = {"stage": stage, "revision": REVISIONS[stage], "settings": {"train": False}}
    return Fingerprint({}, {**components, "architecture": dict(architecture), "base": dict(base)})


def training_fingerprint(
    stage: str,
    settings: TrainingSettings,
    architecture: Mapping[str, Any],
    base: Mapping[str, str],
    utterances: Sequence[Utterance],
    features: Mapping[str, Sequence[str]],
) -> Fingerprint:
    """Everything that decides what a training computes.

    Args:
        stage: name of the stage; its revision counts.
        settings: of the training; those that only continue it are left out.
        architecture: the network's full configuration.
        base: role -> digest of the weights that it starts from and of the tokenizer.
        utterances: of the training and the held-out split.
        features: utterance -> digests of the features that this training reads.
    """
    rows = {
        item.name: f"{digest([item.split, item.language, item.text, *item.drawn_by()], 8)}"
        f"-{digest(list(features[item.name]), 8)}"
        for item in utterances
    }
    components = {
        "stage": stage,
        "revision": REVISIONS[stage],
        "settings": settings.fingerprint(),
        "architecture": dict(architecture),
        "base": dict(base),
    }
    return Fingerprint(rows, components)
