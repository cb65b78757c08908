"""Training of SoVITS: a conditional variational autoencoder against discriminators, on slices of the recordings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor

from voiceclone.assets import Asset
from voiceclone.errors import ConfigError
from voiceclone.listeners.eres2netv2 import vector_kind
from voiceclone.models.discriminators import DiscriminatorConfig, MultiPeriodDiscriminator
from voiceclone.models.losses import discriminator_loss, feature_matching_loss, generator_loss, kl_loss, mel_loss
from voiceclone.models.mel import mel_from_spectrogram, mel_spectrogram
from voiceclone.models.public_files import CODEBOOK, POSTERIOR, read_discriminator, read_sovits
from voiceclone.models.sovits import (
    SOURCE_FILTER,
    GatedStack,
    SoVITS,
    SoVITSConfig,
    TrainingOutput,
    random_starts,
    take_slices,
)  # fmt: skip
from voiceclone.models.vocoder import ConvNeXtBlock, ResidualBlock
from voiceclone.progress import announce
from voiceclone.stages.settings import RuntimeSettings
from voiceclone.stages.train_sovits import SoVITSSettings
from voiceclone.training.checkpoints import Stateful
from voiceclone.training.data import FeatureStore, Loader, Order, Utterance, epochs, pad_last, read_manifest, seed_step
from voiceclone.training.finetuning import WeightAverage, freeze_parts, load_weights, read_base
from voiceclone.training.loop import Result
from voiceclone.training.optimizers import adamw, generator_groups, set_rate, whole_group
from voiceclone.training.run import Finished, Job, OutputFiles, judged, run_training, write_untrained, write_weights
from voiceclone.training.staged import PITCH_INPUTS, StagedRecipe, WindowData, windows_order
from voiceclone.training.state import base_digests, base_fingerprint, tensor_digest, training_fingerprint
from voiceclone.training.step import Metrics, MicroBatch, OptimizerStep, StepResult

log = logging.getLogger(__name__)

VALIDATION_NOISE = 0.5
FULL_SCALE = 32768.0

Number = TypeVar("Number", float, Tensor)


class SoVITSData:
    """Content features, spectrograms, audio, phones and speaker vectors of the utterances.

    Args:
        features_dir: folder with ``manifest.tsv`` and the stores.
        segment_frames: shortest utterance that can be trained on, in frames of 20 ms.
        vectors: store of the speaker vectors, ``speaker`` or ``verification``; empty: none are read.

    Raises:
        ConfigError: the vectors that the network needs were never made.
    """

    def __init__(self, features_dir: Path, segment_frames: int, vectors: str = "speaker") -> None:
        if vectors == "verification" and not (features_dir / "verification.safetensors").is_file():
            raise ConfigError(
                f"{features_dir}/verification.safetensors: missing; v2Pro is conditioned on its vectors",
                "set features.verification_encoder to eres2netv2, or take the v2 base, which needs none",
            )
        self.vectors = vectors
        names = ("phones", "content", "spectrogram", "audio", *([vectors] if vectors else []))
        self.stores = {name: FeatureStore(features_dir / f"{name}.safetensors") for name in names}
        rows = read_manifest(features_dir)
        usable = [row for row in rows if row.frames >= segment_frames and self.stores["phones"].length(row.name)]
        for row in rows:
            if row not in usable:
                log.warning("%s has no phones or only %d frames, is left out", row.name, row.frames)
        self.train = [row for row in usable if row.split == "train"]
        self.heldout = [row for row in usable if row.split == "heldout"]

    def content_size(self) -> int:
        """Dimensions of the content features."""
        return int(self.stores["content"][self.train[0].name].shape[0])

    def speaker_size(self) -> int:
        """Dimensions of the speaker vectors; 0 if none are read."""
        return self.stores[self.vectors].length(self.train[0].name) if self.vectors else 0

    def digests(self) -> dict[str, list[str]]:
        """Utterance -> keys of the features that the training reads of it."""
        read = sorted({"audio_sha256", *(f"key_{name}" for name in self.stores)})
        return {row.name: [row.keys.get(key, "") for key in read] for row in [*self.train, *self.heldout]}

    def batch(self, rows: Sequence[Utterance], device: torch.device) -> dict[str, Tensor]:
        """Right-padded batch; audio float32 (B, 1, N) in [-1, 1], the rest as ``forward_train`` names it."""
        return self.convert({name: tensor.to(device) for name, tensor in self.read(rows).items()})

    def read(self, rows: Sequence[Utterance], like: Sequence[Utterance] = ()) -> dict[str, Tensor]:
        """Right-padded batch on the CPU, in the types of the stores.

        Args:
            rows: the utterances.
            like: utterances whose longest gives the padded length; ``rows`` if there are none.
        """

        def padded(name: str) -> Tensor:
            store = self.stores[name]
            longest = max(store.length(row.name) for row in like or rows)
            return pad_last([store[row.name] for row in rows], length=longest)

        batch = {name: padded(name) for name in ("content", "spectrogram", "phones", "audio")}
        batch["lengths"] = torch.tensor([row.frames for row in rows])
        batch["phone_lengths"] = torch.tensor([self.stores["phones"].length(row.name) for row in rows])
        if self.vectors:
            batch["speaker_vector"] = torch.stack([self.stores[self.vectors][row.name] for row in rows])
        return batch

    @staticmethod
    def convert(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A batch of :meth:`read` as the network takes it; done on the device, so that less is transferred."""
        audio, spectrogram = batch["audio"][:, None] / FULL_SCALE, batch["spectrogram"].float()
        return {**batch, "audio": audio, "spectrogram": spectrogram}


@dataclass(frozen=True)
class Generated:
    """Output of the generator for some utterances, and the same slices of the recordings: audio and log-mel."""

    out: TrainingOutput
    real: Tensor
    mel: Tensor


class SoVITSRecipe:
    """Generator and discriminators in turn, AdamW each, the losses of VITS with the weights of the public training.

    Args:
        data: the utterances.
        config: sizes of the generator.
        discriminator: sizes of the discriminators.
        settings: of the training.
        order: batches.
        device: where to train.
        optimizer_step: how losses become an update; None: whole batches, in this process alone.
    """

    metric = "mel_l1"

    def __init__(
        self,
        data: SoVITSData,
        config: SoVITSConfig,
        discriminator: DiscriminatorConfig,
        settings: SoVITSSettings,
        order: Order,
        device: torch.device,
        optimizer_step: OptimizerStep | None = None,
    ) -> None:
        seed_step(settings.seed, "weights")
        self.data, self.settings, self.order, self.device = data, settings, order, device
        self.model = SoVITS(config).to(device)
        freeze_parts(self.model, settings.freeze, "sovits.freeze")
        self.discriminator = MultiPeriodDiscriminator(discriminator).to(device)
        self.average = WeightAverage(self.model, settings.ema_decay) if settings.ema_decay else None
        self.optimizer_step = optimizer_step or OptimizerStep(settings, RuntimeSettings(), device)
        self.optimizer_step.compile(self.model.dec, *self.discriminator.discriminators)
        self.loader = Loader(self._read, device)
        self.optimizer = adamw(generator_groups(self.model, settings), settings, self.optimizer_step.fused)
        self.discriminator_optimizer = adamw(whole_group(self.discriminator), settings, self.optimizer_step.fused)
        self.state: dict[str, Stateful] = {
            "model": self.model,
            "discriminator": self.discriminator,
            "optimiser": self.optimizer,
            "discriminator_optimiser": self.discriminator_optimizer,
            **self.optimizer_step.state,
        }
        if self.average is not None:
            self.state["average"] = self.average

    def train_step(self, step: int) -> StepResult:
        """See :class:`voiceclone.training.loop.Recipe`."""
        settings = self.settings
        rate = settings.learning_rate * settings.learning_rate_decay ** (self.order.epoch(step) + 1)
        for optimizer in (self.optimizer, self.discriminator_optimizer):
            set_rate(optimizer, rate)
        batch, optimizer_step = self.order.batch(step), self.optimizer_step
        made: list[Generated] = []  # with its graph, for the generator's half; empty if there are several micro-batches
        with optimizer_step.running() as events:
            self.discriminator.requires_grad_(True)
            work = partial(self._discriminator_pass, step, made)
            judged = optimizer_step.gradients(batch, work, self.discriminator_optimizer)
            optimizer_step.apply(self.discriminator_optimizer, **judged)

            # Out of memory from here on repeats the generator's half alone: the discriminators have made their update.
            self.discriminator.requires_grad_(False)  # the generator's loss needs no gradients of its weights
            losses = optimizer_step.gradients(batch, partial(self._generator_pass, step, made), self.optimizer)
            optimizer_step.apply(self.optimizer, loss_total=self._total(losses))
        return StepResult({**judged, **losses, "learning_rate": rate}, events)

    def _total(self, losses: Mapping[str, Number]) -> Number:
        """The generator's loss."""
        total = losses["loss_gen"] + losses["loss_fm"]
        return total + self.settings.mel_weight * losses["loss_mel"] + self.settings.kl_weight * losses["loss_kl"]

    def _discriminator_pass(self, step: int, made: list[Generated], micro: MicroBatch) -> Metrics:
        """Forward and backward pass of the discriminators.

        A batch in one micro-batch leaves the generator's output in ``made``, for :meth:`_generator_pass`. Several do
        not: only one graph at a time is in memory, and the generator runs again.
        """
        made.clear()  # of an attempt that ran out of memory
        with torch.set_grad_enabled(micro.only):
            generated = self._generate(step, micro, second_pass=True)
        with self.optimizer_step.precision.autocast():
            real, fake = self.discriminator(generated.real), self.discriminator(generated.out.audio.detach())
        loss = discriminator_loss(real, fake) * micro.share
        self.optimizer_step.precision.backward(loss)
        if micro.only:
            made.append(generated)
        return {"loss_disc": loss.detach()}

    def _generator_pass(self, step: int, made: list[Generated], micro: MicroBatch) -> Metrics:
        """Forward and backward pass of the generator, against the discriminators as they are now."""
        generated = made.pop() if made else self._generate(step, micro)
        out = generated.out
        with self.optimizer_step.precision.autocast():
            with torch.no_grad():
                judged_real = self.discriminator(generated.real)
            judged = self.discriminator(out.audio)
        losses = {
            "loss_gen": generator_loss(judged) * micro.share,
            "loss_fm": feature_matching_loss(judged_real, judged) * micro.share,
            "loss_mel": mel_loss(generated.mel, mel_spectrogram(out.audio.float())) * micro.share,
            "loss_kl": kl_loss(out.z_p, out.logs_q, out.m_p, out.logs_p, out.mask)
            * (self._frames(micro.items) / self._frames(micro.batch)),
        }
        self.optimizer_step.precision.backward(self._total(losses))
        return {name: value.detach() for name, value in losses.items()}

    def _read(self, key: tuple[int, MicroBatch]) -> dict[str, Tensor]:
        """Micro-batch of a step, padded like the whole batch, so that it computes what the whole would."""
        whole = [self.data.train[item] for item in key[1].batch]
        return self.data.read(whole[key[1].rows], whole)

    def _generate(self, step: int, micro: MicroBatch, second_pass: bool = False) -> Generated:
        """Forward pass of the generator, the same whenever it is repeated.

        For micro-batches, slices and posterior noise are drawn for the whole batch: what they compute does not depend
        on how the batch is cut, but for dropout.
        """
        read = self.loader.get((step, micro), self.optimizer_step.to_prefetch(self.order, step, micro, second_pass))
        draws = {} if micro.whole else self._draws(step, micro)
        seed_step(self.settings.seed, step, micro.first)
        batch = self.data.convert(read)
        audio = batch.pop("audio")
        with self.optimizer_step.precision.autocast():
            out: TrainingOutput = self.model(**batch, **draws)
        frames, hop = self.model.config.segment_frames, self.model.config.hop
        real = take_slices(audio, out.slice_starts * hop, frames * hop)
        mel = mel_from_spectrogram(take_slices(batch["spectrogram"], out.slice_starts, frames))
        return Generated(out, real, mel)

    def _draws(self, step: int, micro: MicroBatch) -> dict[str, Tensor]:
        """Posterior noise and slices of a micro-batch, drawn for the whole batch."""
        seed_step(self.settings.seed, step)
        lengths = torch.tensor([self.data.train[item].frames for item in micro.batch], device=self.device)
        config = self.model.config
        noise = torch.randn(len(lengths), config.inter_channels, int(lengths.max()), device=self.device)
        return {"noise": noise[micro.rows], "slice_starts": random_starts(lengths, config.segment_frames)[micro.rows]}

    def _frames(self, items: Sequence[int]) -> int:
        return sum(self.data.train[item].frames for item in items)

    def validate(self) -> dict[str, float]:
        """Mean absolute log-mel difference of held-out recordings and their resynthesis from tokens."""
        rows = self.data.heldout[: self.settings.validation_utterances]
        distances = [self._resynthesise(row)[1] for row in rows]
        return {"mel_l1": sum(distances) / len(distances)} if distances else {}

    def _resynthesise(self, row: Utterance) -> tuple[Tensor, float]:
        """Waveform ``(N,)`` decoded from an utterance's own tokens, and its mean absolute log-mel difference."""
        batch = self.data.batch([row], self.device)
        with self.optimizer_step.precision.autocast():
            style = self.model.style(batch["spectrogram"], batch.get("speaker_vector"))
            codes = self.model.extract_codes(batch["content"])
            spoken = self.model.decode(codes, batch["phones"], style, noise_scale=VALIDATION_NOISE).float()
        real, fake = mel_from_spectrogram(batch["spectrogram"]), mel_spectrogram(spoken)
        frames = min(real.shape[-1], fake.shape[-1])
        return spoken.flatten(), mel_loss(real[..., :frames], fake[..., :frames]).item()

    def utterance_losses(self) -> Iterator[tuple[str, float]]:
        """Mean absolute log-mel difference of training recordings and their resynthesis."""
        for row in judged(self.data.train, self.settings.judged_utterances):
            yield row.name, self._resynthesise(row)[1]

    def sample(self) -> tuple[Tensor, int] | None:
        """The first held-out utterance, resynthesised."""
        rows = self.data.heldout[:1]
        return (self._resynthesise(rows[0])[0], self.model.config.sample_rate) if rows else None


def networks(
    settings: SoVITSSettings,
    tokenizer: dict[str, Tensor],
    base: Asset | None = None,
    base_discriminator: Asset | None = None,
) -> tuple[SoVITSConfig, DiscriminatorConfig, dict[str, dict[str, Tensor]]]:
    """Sizes of generator and discriminators, and the weights that they start from, by network.

    Sizes are those of the base, or those that the settings name.
    """
    codes, size = tokenizer[CODEBOOK].shape
    config, discriminator = {
        "nano": (SoVITSConfig.nano(ssl_dim=size, codes=codes), DiscriminatorConfig.nano()),
        "small": (SoVITSConfig.small(ssl_dim=size, codes=codes), DiscriminatorConfig.nano()),
        "v2": (SoVITSConfig.v2(), DiscriminatorConfig.v2()),
        "v2Pro": (SoVITSConfig.v2pro(), DiscriminatorConfig.v2pro()),
        "v2ProPlus": (SoVITSConfig.v2proplus(), DiscriminatorConfig.v2pro()),
    }[settings.architecture]
    weights = {}
    if base is not None:
        config, weights["model"] = read_base(base, read_sovits)
    if base_discriminator is not None:
        discriminator, weights["discriminator"] = read_base(base_discriminator, read_discriminator)
    if (config.decoder == SOURCE_FILTER) != (settings.architecture == "small"):
        raise ConfigError(
            f"the base {settings.base} has another decoder than sovits.architecture {settings.architecture}",
            "set architecture: small for a base with a source-filter decoder, and only for one",
        )
    if settings.architecture == "small" and settings.small.posterior_pitch:
        config = replace(config, posterior_pitch=PITCH_INPUTS)
        if base is not None:  # one that learnt without it
            shape = config.hidden_channels, PITCH_INPUTS, 1
            weights["model"] = {"enc_q.pitch.weight": torch.zeros(shape), **weights["model"]}
    return replace(config, segment_frames=settings.segment_frames), discriminator, weights


def open_data(
    features_dir: Path, config: SoVITSConfig, settings: SoVITSSettings
) -> tuple[SoVITSData | WindowData, Order]:
    """The utterances, as the network's recipe reads them, and the order of its batches."""
    if config.decoder == SOURCE_FILTER:
        windows = WindowData(features_dir, settings.small.window_frames, settings.segment_frames)
        return windows, windows_order(windows, settings)
    data = SoVITSData(features_dir, settings.segment_frames, vector_kind(config.speaker_vector_size))
    return data, epochs(data.train, [row.frames for row in data.train], settings.batch_size, settings.seed)


def check_fit(config: SoVITSConfig, tokenizer: dict[str, Tensor], data: SoVITSData | WindowData) -> None:
    """Raise a :class:`ConfigError` if tokenizer or features do not fit the network."""
    codes, size = tokenizer[CODEBOOK].shape
    if isinstance(data, WindowData):
        if codes != data.codes():
            raise ConfigError(
                f"the tokenizer has {codes} tokens, those of the features are of {data.codes()}", "run tokenize again"
            )
    elif size != data.content_size():
        raise ConfigError(
            f"the tokenizer takes content features of {size} dimensions, these have {data.content_size()}",
            "use the tokenizer that belongs to the same content model",
        )
    if (config.codes, config.ssl_dim) != (codes, size):
        raise ConfigError(
            f"SoVITS takes {config.codes} tokens of {config.ssl_dim} dimensions, the tokenizer has {codes} of {size}",
            "take content model and tokenizer of the base voice, or train a nano SoVITS from scratch",
        )
    if config.speaker_vector_size != data.speaker_size():
        raise ConfigError(
            f"SoVITS takes speaker vectors of {config.speaker_vector_size} dimensions, the features have "
            f"{data.speaker_size()}",
            "take the v2 base, which needs none",
        )


def train_sovits(
    features_dir: Path,
    tokenizer: Path,
    state_dir: Path,
    files: OutputFiles,
    settings: SoVITSSettings,
    runtime: RuntimeSettings,
    base: Asset | None = None,
    base_discriminator: Asset | None = None,
    threads: int = 0,
    label: str = "SoVITS",
) -> None:
    """Train, or continue to train, and write model, report and history.

    Args:
        features_dir: folder of the feature stores.
        tokenizer: ``.safetensors`` with projection and codebook under the public keys.
        state_dir: folder of the states of this kind, one folder per fingerprint.
        files: to write.
        settings: of the training.
        runtime: save intervals, device, time budget.
        base: generator to fine-tune.
        base_discriminator: discriminators that belong to it.
        threads: CPU threads; 0: what torch chooses.
        label: for the progress lines.

    Raises:
        Interrupted: stopped by a signal or the time budget, saved.
        DataError, ConfigError: see the message.
    """
    job = Job.start(settings, runtime, state_dir, files, label, threads)
    frozen = load_file(tokenizer)
    config, discriminator, weights = networks(settings, frozen, base, base_discriminator)
    data, order = open_data(features_dir, config, settings)
    check_fit(config, frozen, data)
    digests = base_digests(generator=base, discriminator=base_discriminator)
    digests["tokenizer"] = tensor_digest(torch.cat([value.float().flatten() for _, value in sorted(frozen.items())]))
    architecture = config.to_dict()
    if base is not None and not settings.train:
        model = SoVITS(config)
        if not any(key.startswith(POSTERIOR) for key in weights["model"]):
            del model.enc_q  # weights for speaking alone, as GPT-SoVITS shares them
        load_weights(model, weights["model"], base)
        model.load_state_dict({**model.state_dict(), **frozen})
        made_from = base_fingerprint("train_sovits", architecture, digests)
        write_untrained(files, model.state_dict(), SoVITSRecipe.metric, made_from, architecture)
        announce(f"{label}  {settings.base} is used as it is")
        return
    assets = {"model": base, "discriminator": base_discriminator}
    run_networks(job, "train_sovits", data, order, config, discriminator, weights, frozen, digests, assets)


def run_networks(
    job: Job[SoVITSSettings],
    stage: str,
    data: SoVITSData | WindowData,
    order: Order,
    config: SoVITSConfig,
    discriminator: DiscriminatorConfig,
    weights: Mapping[str, dict[str, Tensor]],
    frozen: Mapping[str, Tensor],
    digests: Mapping[str, str],
    assets: Mapping[str, Asset | None] | None = None,
    windows: Callable[..., StagedRecipe] = StagedRecipe,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Train a generator and its discriminators, or continue to, and write model, report and history.

    Args:
        job: the training.
        stage: whose revision counts.
        data: the utterances.
        order: of the batches.
        config: sizes of the generator.
        discriminator: sizes of the discriminators.
        weights: that ``model`` and ``discriminator`` start from; what is missing is drawn.
        frozen: tensors of the tokenizer.
        digests: role -> digest of what the training starts from.
        assets: where weights are from, for messages.
        windows: makes the recipe for windows.
        notes: what else decides the training, for the fingerprint.
    """
    settings, device, architecture = job.settings, job.device, config.to_dict()
    fingerprint = training_fingerprint(
        stage,
        settings,
        {**architecture, "discriminator": discriminator.to_dict(), **(notes or {})},
        digests,
        [*data.train, *data.heldout],
        data.digests(),
    )
    steps, optimizer_step = settings.total_steps(len(data.train), order.steps_per_epoch), job.optimizer_step(data.train)
    recipe = (
        windows(data, config, discriminator, settings, order, steps, device, optimizer_step)
        if isinstance(data, WindowData)
        else SoVITSRecipe(data, config, discriminator, settings, order, device, optimizer_step)
    )
    for name, network in (("model", recipe.model), ("discriminator", recipe.discriminator)):
        asset = (assets or {}).get(name)
        if name in weights and asset is not None:
            load_weights(network, weights[name], asset)
        elif name in weights:
            network.load_state_dict(weights[name])
    recipe.model.load_state_dict({**recipe.model.state_dict(), **frozen})

    def finish(result: Result) -> Finished:
        if settings.keep_discriminator:
            write_weights(job.files.weights.with_name("discriminator.safetensors"), recipe.discriminator.state_dict())
        return Finished(architecture, {"discriminator": discriminator.to_dict()})

    recomputed = ResidualBlock, ConvNeXtBlock, GatedStack
    run_training(job, recipe, optimizer_step, data.train, data.heldout, fingerprint, recomputed, finish)
