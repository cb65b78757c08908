"""Training of the GPT: predict each semantic token from the phones and the tokens before it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from voiceclone.assets import Asset
from voiceclone.errors import ConfigError
from voiceclone.models.gpt import GPTConfig, Layer, TextToSemantic
from voiceclone.models.losses import pointer_hits, pointer_loss, token_loss, top_k_accuracy
from voiceclone.models.public_files import read_gpt
from voiceclone.progress import announce
from voiceclone.stages.settings import RuntimeSettings
from voiceclone.stages.train_gpt import GPTSettings
from voiceclone.training.checkpoints import Stateful
from voiceclone.training.data import (
    FeatureStore,
    Joining,
    Loader,
    Order,
    Utterance,
    WeightedOrder,
    derive_seed,
    epochs,
    pad_last,
    read_manifest,
    seed_step,
)
from voiceclone.training.finetuning import Adapters, WeightAverage, load_weights, read_base, train_last_layers
from voiceclone.training.loop import Result
from voiceclone.training.optimizers import ScaledAdam
from voiceclone.training.pointer import add_pointer
from voiceclone.training.run import Finished, Job, OutputFiles, chosen_weights, judged, run_training, write_untrained
from voiceclone.training.state import base_digests, base_fingerprint, tensor_digest, training_fingerprint
from voiceclone.training.step import Metrics, MicroBatch, OptimizerStep, StepResult

log = logging.getLogger(__name__)
BERT_SIZE = 1024
#: Losses by name, each a mean over predicted tokens, and their weights.
Lessons = dict[str, tuple[Tensor, float]]


class GPTData:
    """Phones, semantic tokens and, where there are any, BERT features and alignments of the utterances.

    Args:
        features_dir: folder with ``manifest.tsv``, ``phones``, ``semantic`` and, for Chinese, ``bert.safetensors``.
        aligned: also read ``align.safetensors``, the phone that each token speaks.
    """

    def __init__(self, features_dir: Path, aligned: bool = False) -> None:
        self.phones = FeatureStore(features_dir / "phones.safetensors")
        self.semantic = FeatureStore(features_dir / "semantic.safetensors")
        self.codes = int(self.semantic.metadata["codes"])
        bert = features_dir / "bert.safetensors"
        self.bert = FeatureStore(bert) if bert.is_file() else None
        self.align = FeatureStore(features_dir / "align.safetensors") if aligned else None
        rows = [row for row in read_manifest(features_dir) if "gpt" in row.use]
        usable = [row for row in rows if self.phones.length(row.name) and self.semantic.length(row.name)]
        for name in {row.name for row in rows} - {row.name for row in usable}:
            log.warning("%s has no phones or no tokens and is left out", name)
        self.train = [row for row in usable if row.split == "train"]
        self.heldout = [row for row in usable if row.split == "heldout"]

    def digests(self) -> dict[str, list[str]]:
        """Utterance -> digests of what the training reads of it."""
        stores = [store for store in (self.phones, self.semantic, self.bert, self.align) if store is not None]
        return {
            row.name: [tensor_digest(store[row.name]) for store in stores if row.name in store]
            for row in [*self.train, *self.heldout]
        }

    def batch(self, rows: Sequence[Utterance], device: torch.device) -> dict[str, Tensor]:
        """Right-padded batch of utterances, see :meth:`read`."""
        return {name: tensor.to(device) for name, tensor in self.read([[row] for row in rows]).items()}

    def read(self, items: Sequence[Sequence[Utterance]]) -> dict[str, Tensor]:
        """Right-padded batch on the CPU, named as :meth:`TextToSemantic.forward` names its arguments.

        Args:
            items: one or more utterances each, joined to one.

        Returns:
            With alignments also ``aligned`` int64 (B, Y), the index of each token's phone, -1 where it is not known.
        """
        phones = [torch.cat([self.phones[row.name] for row in item]) for item in items]
        tokens = [torch.cat([self.semantic[row.name] for row in item]) for item in items]
        batch = {
            "phones": pad_last(phones),
            "phone_lengths": torch.tensor([len(item) for item in phones]),
            "tokens": pad_last(tokens),
            "token_lengths": torch.tensor([len(item) for item in tokens]),
        }
        if self.align is not None:
            batch["aligned"] = pad_last([self._aligned(item) for item in items], value=-1)
        bert = self.bert
        if bert is not None and any(row.name in bert for item in items for row in item):
            features = [torch.cat([self._bert(row, bert) for row in item], dim=1) for item in items]
            batch["bert"] = pad_last(features, length=batch["phones"].shape[1]).float()
        return batch

    def _bert(self, row: Utterance, store: FeatureStore) -> Tensor:
        """BERT features (1024, X) of an utterance, zeros where it has none."""
        if row.name in store:
            return store[row.name]
        return torch.zeros(BERT_SIZE, self.phones.length(row.name), dtype=torch.float16)

    def _aligned(self, item: Sequence[Utterance]) -> Tensor:
        """Index (Y,) of each token's phone among the phones of all utterances of an item."""
        assert self.align is not None
        parts, before = [], 0
        for row in item:
            unknown = torch.full((self.semantic.length(row.name),), -1)
            parts.append(self.align[row.name].long() + before if row.name in self.align else unknown)
            before += self.phones.length(row.name)
        return torch.cat(parts)


BETAS = (0.9, 0.95)
PUBLIC_RATES = (0.01, 0.002)  # of the public training: first step, all later ones; its configuration is not in force
VALIDATION_BATCH = 16


def training_order(data: GPTData, settings: GPTSettings) -> Order:
    """Epochs over the utterances; for small they are drawn by weight, some with another one of the speaker's."""
    tokens = [data.semantic.length(row.name) for row in data.train]
    if settings.architecture != "small":
        return epochs(data.train, tokens, settings.batch_size, settings.seed)
    small = settings.small
    return WeightedOrder(
        [data.phones.length(row.name) + count for row, count in zip(data.train, tokens, strict=True)],
        [row.weight for row in data.train],
        [row.source for row in data.train],
        settings.batch_size,
        settings.seed,
        budget=small.batch_tokens,
        joining=Joining([row.speaker for row in data.train], small.joined, small.longest_joined),
    )


def replaced_tokens(tokens: Tensor, max_share: float, codes: int, seed: int) -> Tensor:
    """Tokens int64 (Y,) of which a share, drawn between 0 and ``max_share``, are others, drawn from all ``codes``."""
    random = np.random.default_rng(seed)
    share = max_share * random.random()
    wrong = torch.from_numpy(random.random(len(tokens)) < share)
    return torch.where(wrong, torch.from_numpy(random.integers(0, codes, len(tokens))), tokens)


def pointer_weight(settings: GPTSettings, step: int, steps: int) -> float:
    """Weight of the pointer's loss in a step, counted from 0: it falls over the last quarter."""
    fallen = min(1.0, max(0.0, 4 * step / max(1, steps) - 3))
    return settings.small.pointer_weight * (1 - fallen) + settings.small.pointer_final_weight * fallen


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
    """AdamW or ScaledAdam on the mean cross-entropy per token; for small also on that of the phones pointed to.

    Args:
        data: the utterances; with alignments for small.
        config: sizes of the network.
        settings: of the training.
        order: batches.
        steps: optimiser steps in all.
        device: where to train.
        load_base: gives the network the weights of its base.
        optimizer_step: how losses become an update; None: whole batches, in this process alone.
    """

    metric = "cross_entropy"

    def __init__(
        self,
        data: GPTData,
        config: GPTConfig,
        settings: GPTSettings,
        order: Order,
        steps: int,
        device: torch.device,
        load_base: Callable[[nn.Module], None] | None = None,
        optimizer_step: OptimizerStep | None = None,
    ) -> None:
        seed_step(settings.seed, "weights")
        self.data, self.settings, self.order, self.steps, self.device = data, settings, order, steps, device
        self.small = settings.small if settings.architecture == "small" else None
        self._lengths = [data.semantic.length(row.name) for row in data.train]
        self.model = TextToSemantic(config).to(device)
        if load_base is not None:
            load_base(self.model)
        train_last_layers(self.model, settings.train_last_layers)
        self.adapters = Adapters(self.model, settings.lora) if settings.lora.rank else None
        self.average = WeightAverage(self.model, settings.ema_decay) if settings.ema_decay else None
        self.optimizer_step = optimizer_step or OptimizerStep(settings, RuntimeSettings(), device)
        self.optimizer_step.compile(*self.model.h.layers, dynamic=True)
        self.loader = Loader(self._read, device)
        self.optimizer = self._optimizer()
        self.state: dict[str, Stateful] = {
            "model": self.adapters or self.model,
            "optimiser": self.optimizer,
            **self.optimizer_step.state,
        }
        if self.average is not None:
            self.state["average"] = self.average

    def _optimizer(self) -> torch.optim.Optimizer:
        settings = self.settings
        parameters = self._trained()
        if settings.optimizer == "scaled_adam":
            return ScaledAdam(parameters, lr=settings.learning_rate, betas=BETAS)
        return torch.optim.AdamW(
            parameters, lr=settings.learning_rate, betas=BETAS, weight_decay=settings.weight_decay,
            fused=self.optimizer_step.fused or None,
        )  # fmt: skip

    def _trained(self) -> list[nn.Parameter]:
        """What the optimiser updates."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def train_step(self, step: int) -> StepResult:
        """See :class:`voiceclone.training.loop.Recipe`."""
        rate = learning_rate(self.settings, step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        max_norm = math.inf if self.settings.optimizer == "scaled_adam" else self.settings.gradient_clip
        batch, optimizer_step = self.order.batch(step), self.optimizer_step
        with optimizer_step.running() as events:
            metrics = optimizer_step.gradients(batch, partial(self._pass, step), self.optimizer, max_norm)
            optimizer_step.apply(self.optimizer, cross_entropy=metrics["cross_entropy"])
        return StepResult({**metrics, "learning_rate": rate}, events)

    def _read(self, key: tuple[int, MicroBatch]) -> dict[str, Tensor]:
        """Micro-batch of a step; for small with ``inputs``, the tokens as they are read, some of them wrong."""
        step, micro = key
        batch = self.data.read(
            [[self.data.train[index] for index in item if index >= 0] for item in self._items(step, micro.rows)]
        )
        if self.small is not None and self.small.token_noise:
            batch["inputs"] = batch["tokens"].clone()
            for row, length in enumerate(batch["token_lengths"].tolist()):
                seed = derive_seed("token noise", self.settings.seed, step, micro.first + row)  # however it is cut
                part_of = batch["inputs"][row, :length]
                part_of.copy_(replaced_tokens(part_of, self.small.token_noise, self.data.codes, seed))
        return batch

    def _items(self, step: int, rows: slice) -> list[tuple[int, int]]:
        """Partner, or -1, and utterance of some items of a step."""
        return list(zip(self.order.partners(step), self.order.batch(step), strict=True))[rows]

    @staticmethod
    def _inputs(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the network reads of a batch."""
        inputs = {name: item for name, item in batch.items() if name not in ("aligned", "inputs")}
        return inputs | {"tokens": batch.get("inputs", batch["tokens"])}

    def _forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """Logits and, with an alignment, the pointer's scores of a batch."""
        inputs = self._inputs(batch)
        with self.optimizer_step.precision.autocast():
            if "aligned" in batch:
                return self.model.forward_aligned(**inputs)
            return self.model(**inputs), None

    def _taught(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None, Lessons]:
        """:meth:`_forward` in training, with what else is learnt from the batch: nothing here."""
        return *self._forward(batch), {}

    def _pass(self, step: int, micro: MicroBatch) -> Metrics:
        """Forward and backward pass of a micro-batch."""
        batch = self.loader.get((step, micro), self.optimizer_step.to_prefetch(self.order, step, micro))
        seed_step(self.settings.seed, step, micro.first)
        codes, tokens = self._codes(step, micro.rows), self._codes(step, slice(None))
        logits, scores, lessons = self._taught(batch)
        smoothing = self.small.label_smoothing if self.small is not None else 0.0
        loss = token_loss(logits, batch["tokens"], batch["token_lengths"], smoothing=smoothing)
        share = (codes + len(micro.items)) / (tokens + len(micro.batch))  # each item has an end token too
        loss = loss * share
        metrics = {"cross_entropy": loss.detach()}
        total = loss
        for name, (value, weight) in lessons.items():
            total = total + weight * share * value
            metrics[name] = value.detach() * share
        if scores is not None:
            pointer = pointer_loss(scores, batch["aligned"]) / tokens
            total = total + pointer_weight(self.settings, step, self.steps) * pointer
            hits = pointer_hits(scores.detach(), batch["aligned"])
            metrics |= {"pointer": pointer.detach(), "pointer_accuracy": hits / tokens}
        self.optimizer_step.precision.backward(total)
        accuracy = top_k_accuracy(logits.detach(), batch["tokens"], batch["token_lengths"])
        return {**metrics, "top3_accuracy": accuracy * (codes / tokens)}

    def _codes(self, step: int, rows: slice) -> int:
        """Semantic tokens of some items of a step."""
        return sum(self._lengths[index] for item in self._items(step, rows) for index in item if index >= 0)

    def validate(self) -> dict[str, float]:
        """Cross-entropy per token and top-3 accuracy over all held-out tokens.

        With several sources, and for people of whom nothing is trained on, also of each, with the pointer's accuracy.
        """
        rows = sorted(self.data.heldout, key=lambda row: (self.data.semantic.length(row.name), row.name))
        entropy = hits = tokens = codes = 0.0
        groups = self._groups(rows)
        sums = {name: np.zeros(4) for name in sorted(set(groups.values()))}
        size = self.optimizer_step.accumulator.at_most(VALIDATION_BATCH)
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            batch = self.data.batch(some, self.device)
            logits, scores = self._forward(batch)
            count = int(batch["token_lengths"].sum())
            entropy += token_loss(logits, batch["tokens"], batch["token_lengths"], reduction="sum").item()
            hits += top_k_accuracy(logits, batch["tokens"], batch["token_lengths"]).item() * count
            tokens, codes = tokens + count + len(batch["token_lengths"]), codes + count
            for index, row in enumerate(some if groups else []):
                one = slice(index, index + 1)
                length = batch["token_lengths"][one]
                loss = token_loss(logits[one], batch["tokens"][one], length, reduction="sum").item()
                pointed = 0.0 if scores is None else pointer_hits(scores[one], batch["aligned"][one]).item()
                sums[groups[row.name]] += (loss, pointed, int(length), 1)
        if not rows:
            return {}
        metrics = {"cross_entropy": entropy / tokens, "top3_accuracy": hits / codes}
        return metrics | group_metrics(sums, self.data.align is not None)

    def _groups(self, rows: Sequence[Utterance]) -> dict[str, str]:
        """Utterance -> its source, or its speaker where that one is in no training; empty if all are alike."""
        known = {row.speaker for row in self.data.train}
        groups = {row.name: row.source if row.speaker in known else row.speaker for row in rows}
        return groups if len(set(groups.values())) > 1 or self.data.align is not None else {}

    def utterance_losses(self) -> Iterator[tuple[str, float]]:
        """Cross-entropy per token of training utterances."""
        chosen = judged(self.data.train, self.settings.judged_utterances)
        rows = sorted(chosen, key=lambda row: (self.data.semantic.length(row.name), row.name))
        size = self.optimizer_step.accumulator.at_most(VALIDATION_BATCH)
        for start in range(0, len(rows), size):
            batch = self.data.batch(rows[start : start + size], self.device)
            logits, _ = self._forward(batch)
            for index, row in enumerate(rows[start : start + size]):
                one = slice(index, index + 1)
                yield row.name, token_loss(logits[one], batch["tokens"][one], batch["token_lengths"][one]).item()

    def sample(self) -> None:
        """None: tokens make no sound without a SoVITS."""


def group_metrics(sums: Mapping[str, npt.NDArray[np.float64]], pointer: bool) -> dict[str, float]:
    """Metrics of each of several groups of held-out utterances, and of the pointer over all; prints them too.

    Args:
        sums: group -> loss, tokens pointed right, tokens, utterances.
        pointer: whether there is one.
    """
    metrics, line = {}, []
    if pointer:
        metrics["pointer_accuracy"] = sum(item[1] for item in sums.values()) / sum(item[2] for item in sums.values())
    for name, (loss, pointed, tokens, count) in sums.items() if len(sums) > 1 else ():
        metrics[f"cross_entropy_{name}"] = loss / (tokens + count)
        line.append(f"{name} {metrics[f'cross_entropy_{name}']:.3f}")
        if pointer:
            metrics[f"pointer_accuracy_{name}"] = pointed / tokens
            line[-1] += f" {pointed / tokens:.1%}"
    if line:
        announce(f"held-out cross-entropy{' and pointer within one phone' * pointer}: {' | '.join(line)}")
    return metrics


def choose_config(
    settings: GPTSettings, data: GPTData, base: Asset | None
) -> tuple[GPTConfig, dict[str, Tensor] | None]:
    """Sizes of the network, and the weights that it starts from.

    Raises:
        ConfigError: base, tokenizer and settings do not belong together.
    """
    made = {"nano": GPTConfig.nano, "small": GPTConfig.small}.get(settings.architecture)
    config, weights = GPTConfig() if made is None else made(codes=data.codes), None
    if base is not None:
        config, weights = read_base(base, read_gpt)
    if config.codes != data.codes:
        raise ConfigError(
            f"the GPT has {config.codes} semantic tokens, the tokenizer of the features has {data.codes}",
            "take tokenizer and GPT from the same base voice, or train a nano GPT from scratch",
        )
    if settings.train and settings.architecture == "small" and not config.pointer_layer:
        raise ConfigError(
            f"gpt.base: {settings.base} has no pointer, but gpt.architecture is small", "choose v2 or nano"
        )
    return config, weights


def train_gpt(
    features_dir: Path,
    state_dir: Path,
    files: OutputFiles,
    settings: GPTSettings,
    runtime: RuntimeSettings,
    base: Asset | None = None,
    threads: int = 0,
    label: str = "GPT",
    alignment: Path | None = None,
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
        alignment: table of the phones' tokens, as :func:`voiceclone.features.alignment.align_features` writes it, which
            small takes into its weights; None: it keeps its base's.

    Raises:
        Interrupted: stopped by a signal or the time budget, saved.
        DataError, ConfigError: see the message.
    """
    job = Job.start(settings, runtime, state_dir, files, label, threads)
    data = GPTData(features_dir, aligned=settings.train and settings.architecture == "small")
    order = training_order(data, settings)
    steps = settings.total_steps(len(data.train), order.steps_per_epoch)
    config, weights = choose_config(settings, data, base)
    load_base = partial(load_weights, weights=weights, asset=base) if base is not None and weights is not None else None
    if load_base is not None and weights is not None and not settings.train:
        load_base(TextToSemantic(config))
        made_from = base_fingerprint("train_gpt", config.to_dict(), base_digests(gpt=base))
        config, all_weights, _ = pointed(config, weights, features_dir, alignment, settings, label)
        write_untrained(files, all_weights, GPTRecipe.metric, made_from, config.to_dict())
        announce(f"{label}  {settings.base} is used as it is")
        return
    rows = [*data.train, *data.heldout]
    fingerprint = training_fingerprint(
        "train_gpt", settings, config.to_dict(), base_digests(gpt=base), rows, data.digests()
    )
    optimizer_step = job.optimizer_step(data.train)
    recipe = GPTRecipe(data, config, settings, order, steps, job.device, load_base, optimizer_step)
    if alignment is not None and config.pointer_layer:
        recipe.model.pointer.emission.copy_(load_file(alignment)["emission"])

    def finish(result: Result) -> Finished:
        merged = dict if recipe.adapters is None else recipe.adapters.merged
        sizes, weights, notes = pointed(
            config, merged(chosen_weights(result)), features_dir, alignment, settings, label
        )
        # A pointer is fitted to the exported weights alone.
        return Finished(sizes.to_dict(), notes, weights, merged if sizes == config else None)

    run_training(job, recipe, optimizer_step, data.train, data.heldout, fingerprint, (Layer,), finish)


def pointed(
    config: GPTConfig,
    weights: Mapping[str, Tensor],
    features_dir: Path,
    alignment: Path | None,
    settings: GPTSettings,
    label: str,
) -> tuple[GPTConfig, Mapping[str, Tensor], dict[str, Any]]:
    """Sizes and weights with the pointer that the settings ask for, and what the report says of it."""
    if not settings.pointer_steps or config.pointer_layer or alignment is None:
        return config, weights, {}
    data = GPTData(features_dir, aligned=True)
    return add_pointer(config, weights, data, alignment, settings.pointer_steps, settings.seed, label)
