"""Training of the GPT: predict each semantic token from the phones and the tokens before it."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from voiceclone.assets import Asset
from voiceclone.config.gpt import GPTSettings
from voiceclone.config.runtime import RuntimeSettings
from voiceclone.errors import ConfigError
from voiceclone.models.checkpoints import read_gpt
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.losses import token_loss, top_k_accuracy
from voiceclone.training.base import load_weights, read_base
from voiceclone.training.data import BatchOrder, FeatureStore, Utterance, pad_last, read_manifest, seed_step
from voiceclone.training.engine import Plan, Stateful, Trainer, finite, prepare_device
from voiceclone.training.fingerprint import base_digests, tensor_digest, training_fingerprint
from voiceclone.training.outputs import write_outputs
from voiceclone.training.scaled_adam import ScaledAdam
from voiceclone.training.state import StateFolder

log = logging.getLogger(__name__)

BETAS = (0.9, 0.95)
PUBLIC_RATES = (0.01, 0.002)  # of the public training: first step, all later ones; its configuration is not in force
VALIDATION_BATCH = 16
BERT_SIZE = 1024


class GPTData:
    """Phones, semantic tokens and, where there are any, BERT features of the utterances.

    Args:
        features_dir: folder with ``manifest.tsv``, ``phones``, ``semantic`` and, for Chinese, ``bert.safetensors``.
    """

    def __init__(self, features_dir: Path) -> None:
        self.phones = FeatureStore(features_dir / "phones.safetensors")
        self.semantic = FeatureStore(features_dir / "semantic.safetensors")
        self.codes = int(self.semantic.metadata["codes"])
        bert = features_dir / "bert.safetensors"
        self.bert = FeatureStore(bert) if bert.is_file() else None
        rows = read_manifest(features_dir)
        usable = [row for row in rows if self.phones.length(row.name) and self.semantic.length(row.name)]
        for row in rows:
            if row not in usable:
                log.warning("%s has no phones or no tokens and is left out", row.name)
        self.train = [row for row in usable if row.split == "train"]
        self.heldout = [row for row in usable if row.split == "heldout"]

    def digests(self) -> dict[str, list[str]]:
        """Utterance -> digests of what the training reads of it."""
        stores = [self.phones, self.semantic, *([self.bert] if self.bert else [])]
        return {
            row.name: [tensor_digest(store[row.name]) for store in stores if row.name in store]
            for row in [*self.train, *self.heldout]
        }

    def batch(self, rows: Sequence[Utterance], device: torch.device) -> dict[str, Tensor]:
        """Right-padded batch, named as :meth:`TextToSemantic.forward` names its arguments."""
        phones = [self.phones[row.name] for row in rows]
        tokens = [self.semantic[row.name] for row in rows]
        batch = {
            "phones": pad_last(phones).to(device),
            "phone_lengths": torch.tensor([len(item) for item in phones], device=device),
            "tokens": pad_last(tokens).to(device),
            "token_lengths": torch.tensor([len(item) for item in tokens], device=device),
        }
        bert = self.bert
        if bert is not None and any(row.name in bert for row in rows):
            without = torch.zeros(BERT_SIZE, 1, dtype=torch.float16)
            features = [bert[row.name] if row.name in bert else without for row in rows]  # noqa: SIM401 (no mapping)
            batch["bert"] = pad_last(features, length=batch["phones"].shape[1]).to(device, torch.float32)
        return batch


def learning_rate(settings: GPTSettings, step: int, steps: int) -> float:
    """Learning rate of a step, counted from 0, of a training of ``steps``."""
    if settings.schedule == "public":
        return PUBLIC_RATES[min(step, 1)]
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    position = min(1.0, (step - settings.warmup_steps) / max(1, steps - settings.warmup_steps))
    low = settings.final_learning_rate
    return settings.learning_rate * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * position)))


class GPTRecipe:
    """AdamW or ScaledAdam on the mean cross-entropy per token.

    Args:
        data: the utterances.
        config: sizes of the network.
        settings: of the training.
        order: batches.
        steps: optimiser steps in all.
        device: where to train.
    """

    metric = "cross_entropy"

    def __init__(
        self,
        data: GPTData,
        config: GPTConfig,
        settings: GPTSettings,
        order: BatchOrder,
        steps: int,
        device: torch.device,
    ) -> None:
        seed_step(settings.seed, "weights")
        self.data, self.settings, self.order, self.steps, self.device = data, settings, order, steps, device
        self.model = TextToSemantic(config).to(device)
        self.optimiser = self._optimiser()
        self.parts: dict[str, Stateful] = {"model": self.model, "optimiser": self.optimiser}

    def _optimiser(self) -> torch.optim.Optimizer:
        settings, parameters = self.settings, self.model.parameters()
        if settings.optimizer == "scaled_adam":
            return ScaledAdam(parameters, lr=settings.learning_rate, betas=BETAS)
        return torch.optim.AdamW(parameters, lr=settings.learning_rate, betas=BETAS, weight_decay=settings.weight_decay)

    def train_step(self, step: int) -> dict[str, float]:
        """See :class:`voiceclone.training.engine.Recipe`."""
        batch = self.data.batch([self.data.train[index] for index in self.order.batch(step)], self.device)
        rate = learning_rate(self.settings, step, self.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        logits = self.model(**batch)
        loss = token_loss(logits, batch["tokens"], batch["token_lengths"])
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        most = math.inf if self.settings.optimizer == "scaled_adam" else self.settings.gradient_clip
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), most)
        finite(cross_entropy=loss, gradient=norm)
        self.optimiser.step()
        accuracy = top_k_accuracy(logits.detach(), batch["tokens"], batch["token_lengths"])
        return {
            "cross_entropy": loss.item(),
            "top3_accuracy": accuracy.item(),
            "gradient_norm": norm.item(),
            "learning_rate": rate,
        }

    def validate(self) -> dict[str, float]:
        """Cross-entropy per token and top-3 accuracy over all held-out tokens."""
        rows = sorted(self.data.heldout, key=lambda row: (self.data.semantic.length(row.name), row.name))
        entropy = hits = tokens = codes = 0.0
        for start in range(0, len(rows), VALIDATION_BATCH):
            batch = self.data.batch(rows[start : start + VALIDATION_BATCH], self.device)
            logits = self.model(**batch)
            count = int(batch["token_lengths"].sum())
            entropy += token_loss(logits, batch["tokens"], batch["token_lengths"], reduction="sum").item()
            hits += top_k_accuracy(logits, batch["tokens"], batch["token_lengths"]).item() * count
            tokens, codes = tokens + count + len(batch["token_lengths"]), codes + count
        return {"cross_entropy": entropy / tokens, "top3_accuracy": hits / codes} if rows else {}


def train_gpt(
    features_dir: Path,
    state_dir: Path,
    output: Path,
    report: Path,
    history: Path,
    settings: GPTSettings,
    runtime: RuntimeSettings,
    base: Asset | None = None,
    threads: int = 0,
    label: str = "GPT",
) -> None:
    """Train, or continue to train, and write model, report and history.

    Args:
        features_dir: folder of the feature stores.
        state_dir: folder of the states of this kind, one folder per fingerprint.
        output: weights, ``.safetensors`` with the public keys.
        report: JSON.
        history: JSON lines.
        settings: of the training.
        runtime: save intervals, device, time budget.
        base: model to fine-tune.
        threads: CPU threads; 0: what torch chooses.
        label: for the progress lines.

    Raises:
        Interrupted: stopped by a signal or the time budget, saved.
        DataError, ConfigError: see the message.
    """
    device = prepare_device(runtime, threads)
    data = GPTData(features_dir)
    order = BatchOrder([data.semantic.length(row.name) for row in data.train], settings.batch_size, settings.seed)
    steps = settings.steps or settings.epochs * order.steps_per_epoch
    weights = None
    config = GPTConfig.nano(codes=data.codes) if settings.architecture == "nano" else GPTConfig()
    if base is not None:
        config, weights = read_base(base, read_gpt)
    if config.codes != data.codes:
        raise ConfigError(
            f"the GPT has {config.codes} semantic tokens, the tokenizer of the features has {data.codes}",
            "take tokenizer and GPT from the same base voice, or train a nano GPT from scratch",
        )
    rows = [*data.train, *data.heldout]
    fingerprint = training_fingerprint(
        "train_gpt", settings, config.to_dict(), base_digests(gpt=base), rows, data.digests()
    )
    recipe = GPTRecipe(data, config, settings, order, steps, device)
    if base is not None and weights is not None:
        load_weights(recipe.model, weights, base)
    log.info(
        "%d training and %d held-out utterances, %d steps per epoch, %d steps, %.1f %% padding, %d parameters, %s",
        len(data.train), len(data.heldout), order.steps_per_epoch, steps, 100 * order.padding_share(),
        sum(parameter.numel() for parameter in recipe.model.parameters()), device,
    )  # fmt: skip
    state = StateFolder(state_dir, fingerprint)
    result = Trainer(recipe, Plan.of(settings, steps), state, runtime, label, settings.warm_start == "previous").run()
    notes: dict[str, Any] = {"padding_share": round(order.padding_share(), 4)}
    write_outputs(result, settings.select, fingerprint, config.to_dict(), output, report, history, notes)
