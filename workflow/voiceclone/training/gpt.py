"""Training of the GPT: predict each semantic token from the phones and the tokens before it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from voiceclone.assets import Asset
from voiceclone.config.gpt import GPTSettings
from voiceclone.config.runtime import RuntimeSettings
from voiceclone.errors import ConfigError
from voiceclone.models.checkpoints import read_gpt
from voiceclone.models.gpt import GPTConfig, Layer, TextToSemantic
from voiceclone.models.losses import token_loss, top_k_accuracy
from voiceclone.progress import announce
from voiceclone.training.accumulation import Figures, Part
from voiceclone.training.arguments import OutputFiles
from voiceclone.training.base import load_weights, read_base
from voiceclone.training.data import BatchOrder, FeatureStore, Utterance, pad_last, read_manifest, seed_step
from voiceclone.training.distributed import World
from voiceclone.training.ema import WeightAverage
from voiceclone.training.engine import Trainer
from voiceclone.training.fingerprint import base_digests, base_fingerprint, tensor_digest, training_fingerprint
from voiceclone.training.freeze import train_last_layers, trained_parameters
from voiceclone.training.loading import Loader
from voiceclone.training.lora import Adapters
from voiceclone.training.machine import prepare_device
from voiceclone.training.memory import recompute_activations
from voiceclone.training.outputs import judge_utterances, write_outputs, write_untrained
from voiceclone.training.parts import Stateful
from voiceclone.training.recipe import Plan
from voiceclone.training.scaled_adam import ScaledAdam
from voiceclone.training.state import StateFolder
from voiceclone.training.updates import Updates

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
        return {name: tensor.to(device) for name, tensor in self.read(rows).items()}

    def read(self, rows: Sequence[Utterance]) -> dict[str, Tensor]:
        """Right-padded batch on the CPU."""
        phones = [self.phones[row.name] for row in rows]
        tokens = [self.semantic[row.name] for row in rows]
        batch = {
            "phones": pad_last(phones),
            "phone_lengths": torch.tensor([len(item) for item in phones]),
            "tokens": pad_last(tokens),
            "token_lengths": torch.tensor([len(item) for item in tokens]),
        }
        bert = self.bert
        if bert is not None and any(row.name in bert for row in rows):
            without = torch.zeros(BERT_SIZE, 1, dtype=torch.float16)
            features = [bert[row.name] if row.name in bert else without for row in rows]  # noqa: SIM401 (no mapping)
            batch["bert"] = pad_last(features, length=batch["phones"].shape[1]).float()
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
        load_base: gives the network the weights of its base.
        updates: how the losses become updates; None: whole batches, in this process alone.
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
        load_base: Callable[[nn.Module], None] | None = None,
        updates: Updates | None = None,
    ) -> None:
        seed_step(settings.seed, "weights")
        self.data, self.settings, self.order, self.steps, self.device = data, settings, order, steps, device
        self.model = TextToSemantic(config).to(device)
        if load_base is not None:
            load_base(self.model)
        train_last_layers(self.model, settings.train_last_layers)
        self.adapters = Adapters(self.model, settings.lora) if settings.lora.rank else None
        self.average = WeightAverage(self.model, settings.ema_decay) if settings.ema_decay else None
        self.updates = updates or Updates(settings, RuntimeSettings(), device)
        self.updates.compile(*self.model.h.layers, dynamic=True)
        self.loader = Loader(self._read, device)
        self.optimiser = self._optimiser()
        self.parts: dict[str, Stateful] = {
            "model": self.adapters or self.model,
            "optimiser": self.optimiser,
            **self.updates.parts,
        }
        if self.average is not None:
            self.parts["average"] = self.average

    def _optimiser(self) -> torch.optim.Optimizer:
        settings = self.settings
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        if settings.optimizer == "scaled_adam":
            return ScaledAdam(parameters, lr=settings.learning_rate, betas=BETAS)
        return torch.optim.AdamW(
            parameters, lr=settings.learning_rate, betas=BETAS, weight_decay=settings.weight_decay,
            fused=self.updates.fused or None,
        )  # fmt: skip

    def train_step(self, step: int) -> dict[str, float]:
        """See :class:`voiceclone.training.recipe.Recipe`."""
        rate = learning_rate(self.settings, step, self.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        most = math.inf if self.settings.optimizer == "scaled_adam" else self.settings.gradient_clip
        with self.updates.step():
            figures = self.updates.gradients(self.order.batch(step), partial(self._pass, step), self.optimiser, most)
            self.updates.apply(self.optimiser, cross_entropy=figures["cross_entropy"])
        return {**figures, "learning_rate": rate}

    def _read(self, key: tuple[int, Part]) -> dict[str, Tensor]:
        """Batch of a part of a step."""
        return self.data.read([self.data.train[item] for item in key[1].items])

    def _pass(self, step: int, part: Part) -> Figures:
        """Forward and backward pass of a part of a step's batch."""
        batch = self.loader.get((step, part), self.updates.following(self.order, step, part))
        seed_step(self.settings.seed, step, part.first)
        codes, tokens = self._codes(part.items), self._codes(part.batch)  # each utterance has an end token too
        with self.updates.precision.autocast():
            logits = self.model(**batch)
        loss = token_loss(logits, batch["tokens"], batch["token_lengths"])
        loss = loss * ((codes + len(part.items)) / (tokens + len(part.batch)))
        self.updates.precision.backward(loss)
        accuracy = top_k_accuracy(logits.detach(), batch["tokens"], batch["token_lengths"])
        return {"cross_entropy": loss.detach(), "top3_accuracy": accuracy * (codes / tokens)}

    def _codes(self, items: Sequence[int]) -> int:
        """Semantic tokens of some utterances."""
        return sum(self.order.lengths[items].tolist())

    def validate(self) -> dict[str, float]:
        """Cross-entropy per token and top-3 accuracy over all held-out tokens."""
        rows = sorted(self.data.heldout, key=lambda row: (self.data.semantic.length(row.name), row.name))
        entropy = hits = tokens = codes = 0.0
        size = self.updates.accumulator.at_most(VALIDATION_BATCH)
        for start in range(0, len(rows), size):
            batch = self.data.batch(rows[start : start + size], self.device)
            with self.updates.precision.autocast():
                logits = self.model(**batch)
            count = int(batch["token_lengths"].sum())
            entropy += token_loss(logits, batch["tokens"], batch["token_lengths"], reduction="sum").item()
            hits += top_k_accuracy(logits, batch["tokens"], batch["token_lengths"]).item() * count
            tokens, codes = tokens + count + len(batch["token_lengths"]), codes + count
        return {"cross_entropy": entropy / tokens, "top3_accuracy": hits / codes} if rows else {}

    def utterance_losses(self) -> Iterator[tuple[str, float]]:
        """Cross-entropy per token of every training utterance."""
        rows = sorted(self.data.train, key=lambda row: (self.data.semantic.length(row.name), row.name))
        size = self.updates.accumulator.at_most(VALIDATION_BATCH)
        for start in range(0, len(rows), size):
            batch = self.data.batch(rows[start : start + size], self.device)
            with self.updates.precision.autocast():
                logits = self.model(**batch)
            for index, row in enumerate(rows[start : start + size]):
                one = slice(index, index + 1)
                yield row.name, token_loss(logits[one], batch["tokens"][one], batch["token_lengths"][one]).item()

    def sample(self) -> None:
        """None: tokens make no sound without a SoVITS."""


def train_gpt(
    features_dir: Path,
    state_dir: Path,
    files: OutputFiles,
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
        files: to write.
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
    world = World.join(device, runtime.process_timeout)
    data = GPTData(features_dir)
    order = BatchOrder([data.semantic.length(row.name) for row in data.train], settings.batch_size, settings.seed)
    steps = settings.total_steps(len(data.train), order.steps_per_epoch)
    weights = None
    config = GPTConfig.nano(codes=data.codes) if settings.architecture == "nano" else GPTConfig()
    if base is not None:
        config, weights = read_base(base, read_gpt)
    if config.codes != data.codes:
        raise ConfigError(
            f"the GPT has {config.codes} semantic tokens, the tokenizer of the features has {data.codes}",
            "take tokenizer and GPT from the same base voice, or train a nano GPT from scratch",
        )
    load_base = partial(load_weights, weights=weights, asset=base) if base is not None and weights is not None else None
    if load_base is not None and not settings.train:
        model = TextToSemantic(config)
        load_base(model)
        made_from = base_fingerprint("train_gpt", config.to_dict(), base_digests(gpt=base))
        write_untrained(files, model.state_dict(), GPTRecipe.metric, made_from, config.to_dict())
        announce(f"{label}  {settings.base} is used as it is")
        return
    rows = [*data.train, *data.heldout]
    fingerprint = training_fingerprint(
        "train_gpt", settings, config.to_dict(), base_digests(gpt=base), rows, data.digests()
    )
    updates = Updates(settings, runtime, device, world, lambda item: data.train[item].describe())
    recipe = GPTRecipe(data, config, settings, order, steps, device, load_base, updates)
    if runtime.gradient_checkpointing:
        recompute_activations(recipe.model, Layer)
    log.info(
        "%d training and %d held-out utterances, %d steps per epoch, %d steps, %.1f %% padding, %d parameters, %d of "
        "them trained, %s",
        len(data.train), len(data.heldout), order.steps_per_epoch, steps, 100 * order.padding_share(),
        sum(parameter.numel() for parameter in recipe.model.parameters()),
        trained_parameters(recipe.model), device,
    )  # fmt: skip
    state = StateFolder(state_dir, fingerprint)
    plan, warm = Plan.of(settings, steps), settings.warm_start == "previous"
    result = Trainer(recipe, plan, state, runtime, label, warm, world).run()
    notes = {
        "padding_share": round(order.padding_share(), 4),
        "trained_parameters": trained_parameters(recipe.model),
    }
    complete = recipe.adapters.merged if recipe.adapters is not None else None
    if world.leads:
        notes |= judge_utterances(result, recipe.metric, data.train, files.suspects)
        write_outputs(files, result, settings.select, fingerprint, config.to_dict(), notes, complete)
    world.leave()
