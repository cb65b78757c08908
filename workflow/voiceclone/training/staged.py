"""Training of a SoVITS with a source-filter decoder, or of a student: spectral losses, then discriminators as well.

It reads stretches of recordings, cut from the stores. Each item is held against its recording only up to the bandwidth
of its source: a corpus of telephone, 16 kHz and studio sound would otherwise teach a dull voice. Every few steps a
sample of the prior, which is what speaking starts from, goes back through the flow and is decoded too. F0 and voicing
of the source are the recording's in training; the decoder learns to predict them beside.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from voiceclone.errors import ConfigError, DataError
from voiceclone.models.discriminators import DiscriminatorConfig, MultiPeriodDiscriminator
from voiceclone.models.losses import (
    banded_mel_loss,
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
    kl_loss,
    low_pass,
    pitch_loss,
    stft_loss,
)  # fmt: skip
from voiceclone.models.mel import spectrogram, training_mel
from voiceclone.models.sovits import FRAMES_PER_TOKEN, SoVITS, SoVITSConfig, random_starts, take_slices
from voiceclone.models.vocoder import SourceFilterDecoder
from voiceclone.sound.spectra import LOG_F0_RANGE, UPSAMPLING
from voiceclone.stages.settings import RuntimeSettings
from voiceclone.stages.train_sovits import SoVITSSettings
from voiceclone.training.checkpoints import Stateful
from voiceclone.training.data import (
    FeatureStore,
    Loader,
    Order,
    Utterance,
    WeightedOrder,
    derive_seed,
    pad_last,
    read_manifest,
    seed_step,
)
from voiceclone.training.finetuning import WeightAverage, freeze_parts
from voiceclone.training.optimizers import adamw, generator_groups, set_rate, warm_cosine, whole_group
from voiceclone.training.state import tensor_digest
from voiceclone.training.step import Metrics, MicroBatch, OptimizerStep, StepResult

log = logging.getLogger(__name__)
HOP = 640
FULL_SCALE = 32768.0
MARGIN = 0.03  # share of the text by which a proportional cut is widened on either side
UNVOICED = 5.0  # log F0 where a window has no voiced frame; nothing is learnt from it


@dataclass(frozen=True)
class Window:
    """A stretch of an utterance: first frame and number of frames of 20 ms, both even."""

    row: Utterance
    start: int
    frames: int


class WindowData:
    """Audio, semantic tokens, phones, speaker vectors and F0 of stretches of the utterances.

    Args:
        features_dir: folder with ``manifest.tsv`` and the stores; ``align`` may be missing.
        window_frames: longest stretch, in frames of 20 ms.
        segment_frames: shortest utterance that can be trained on.

    Raises:
        ConfigError: pitch was never measured.
        DataError: no utterance is left to train on.
    """

    def __init__(self, features_dir: Path, window_frames: int, segment_frames: int) -> None:
        if not (features_dir / "pitch.safetensors").is_file():
            raise ConfigError(
                f"{features_dir}/pitch.safetensors: missing; a source-filter decoder is trained on measured F0",
                "set features.pitch to praat",
            )
        names = ["audio", "semantic", "phones", "speaker", "pitch"]
        names += ["align"] if (features_dir / "align.safetensors").is_file() else []
        self.stores = {name: FeatureStore(features_dir / f"{name}.safetensors") for name in names}
        self.longest = window_frames // 2 * 2
        rows = [row for row in read_manifest(features_dir) if "sovits" in row.use]
        usable = [row for row in rows if self.frames(row) >= segment_frames and self.stores["phones"].length(row.name)]
        if len(usable) < len(rows):
            log.warning("%d utterances have no phones or fewer than %d frames", len(rows) - len(usable), segment_frames)
        self.train = [row for row in usable if row.split == "train"]
        self.heldout = [row for row in usable if row.split == "heldout"]
        if not self.train:
            raise DataError("there is not one utterance to train on", "look at corpus/rejected.tsv of the speaker")

    def frames(self, row: Utterance) -> int:
        """Usable frames of an utterance, even: those that have both a token and sound."""
        return min(FRAMES_PER_TOKEN * self.stores["semantic"].length(row.name), row.frames) // 2 * 2

    def speaker_size(self) -> int:
        """Dimensions of the speaker vectors."""
        return self.stores["speaker"].length(self.train[0].name)

    def codes(self) -> int:
        """Size of the codebook that the tokens are of."""
        return int(self.stores["semantic"].metadata["codes"])

    def digests(self) -> dict[str, list[str]]:
        """Utterance -> digests of the features that the training reads of it: keys, or of the content without one."""
        keyed = ("audio_sha256", "key_phones", "key_speaker", "key_pitch")
        made = [name for name in ("semantic", "align") if name in self.stores]
        return {
            row.name: [row.keys.get(key, "") for key in keyed]
            + [tensor_digest(self.stores[name][row.name]) for name in made if row.name in self.stores[name]]
            for row in [*self.train, *self.heldout]
        }

    def draw(self, rows: Sequence[Utterance], seed: int, step: int) -> list[Window]:
        """A stretch of each utterance of a step, where it is longer than a window at random."""
        random = np.random.default_rng(derive_seed("windows", seed, step))
        windows = []
        for row in rows:
            frames = self.frames(row)
            size = min(frames, self.longest)
            windows.append(Window(row, 2 * int(random.integers((frames - size) // 2 + 1)), size))
        return windows

    def middle(self, row: Utterance, max_frames: int = 0) -> Window:
        """The middle of an utterance, at most ``max_frames`` of it or as long as a window."""
        frames = self.frames(row)
        size = min(frames, max_frames or self.longest) // 2 * 2
        return Window(row, (frames - size) // 4 * 2, size)

    def read(self, windows: Sequence[Window], like: Sequence[Window] = ()) -> dict[str, Tensor]:
        """Right-padded batch on the CPU.

        Args:
            windows: the stretches.
            like: stretches whose longest gives the padded length; ``windows`` if there are none.

        Returns:
            audio int16 (B, N); semantic int64 (B, T / 2); phones int64 (B, L); log_f0 and voiced float32 (B, 2 T);
            speaker_vector (B, S); lengths, phone_lengths int64 (B,); bandwidth float32 (B,).
        """
        longest = max(window.frames for window in like or windows)
        phones = [self._phones(window) for window in windows]
        pitches = [self._pitch(window) for window in windows]
        return {
            "audio": pad_last([self._cut("audio", window, HOP) for window in windows], length=longest * HOP),
            "semantic": pad_last(
                [self._tokens("semantic", window) for window in windows], length=longest // FRAMES_PER_TOKEN
            ).long(),
            "phones": pad_last(phones),
            "log_f0": pad_last([log_f0 for log_f0, _ in pitches], UNVOICED, longest * UPSAMPLING),
            "voiced": pad_last([voiced for _, voiced in pitches], length=longest * UPSAMPLING),
            "speaker_vector": torch.stack([self.stores["speaker"][window.row.name] for window in windows]),
            "lengths": torch.tensor([window.frames for window in windows]),
            "phone_lengths": torch.tensor([len(item) for item in phones]),
            "bandwidth": torch.tensor([window.row.bandwidth for window in windows]),
        }

    @staticmethod
    def convert(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A batch of :meth:`read` with audio as float32 (B, 1, N) and its spectrogram; done on the device."""
        audio = batch["audio"][:, None] / FULL_SCALE
        return {**batch, "audio": audio, "spectrogram": spectrogram(audio)}

    def _cut(self, name: str, window: Window, per_frame: int) -> Tensor:
        """A store's values of a window, ``per_frame`` of each frame; what it lacks at the end is filled with zeros."""
        start, end = window.start * per_frame, (window.start + window.frames) * per_frame
        return pad_last([self.stores[name].stretch(window.row.name, start, end)], length=end - start)[0]

    def _tokens(self, name: str, window: Window) -> Tensor:
        """A store's values of the tokens of a window."""
        first = window.start // FRAMES_PER_TOKEN
        return self.stores[name].stretch(window.row.name, first, first + window.frames // FRAMES_PER_TOKEN)

    def _phones(self, window: Window) -> Tensor:
        """Phones that are spoken in a window, by the alignment, or without one by its share of the utterance."""
        phones = self.stores["phones"][window.row.name]
        if "align" in self.stores and window.row.name in self.stores["align"]:
            spoken = self._tokens("align", window)
            first, last = int(spoken.min()), int(spoken.max())
        else:
            total = self.frames(window.row)
            first = int(len(phones) * (window.start / total - MARGIN))
            last = int(len(phones) * ((window.start + window.frames) / total + MARGIN))
        return phones[min(max(0, first), len(phones) - 1) : last + 1]

    def _pitch(self, window: Window) -> tuple[Tensor, Tensor]:
        """Log F0 (2 T,), interpolated where unvoiced, and voicing (2 T,) of a window of T frames."""
        hertz = self._cut("pitch", window, UPSAMPLING).numpy()
        voiced = hertz > 0
        filled = np.full(len(hertz), UNVOICED)
        if voiced.any():
            places = np.arange(len(hertz))
            filled = np.log(np.interp(places, places[voiced], hertz[voiced]))
        return torch.from_numpy(filled.astype(np.float32)), torch.from_numpy(voiced.astype(np.float32))


PRIOR_NOISE = 0.5  # deviations of the prior's samples, in training and in validation
PITCH_INPUTS = 2 * UPSAMPLING  # of the posterior in each frame, see pitch_inputs
JUDGED_FRAMES = 600  # max. frames of an utterance that a validation decodes
Number = TypeVar("Number", float, Tensor)


class Decoded(NamedTuple):
    """Decoded slices: waveform (B, 1, N), and what was predicted of F0 (B, 2 T) and of voicing, as logits (B, 2 T); a
    HiFi-GAN predicts neither."""

    audio: Tensor
    log_f0: Tensor | None = None
    voicing: Tensor | None = None


@dataclass(frozen=True)
class Slices:
    """Slices of the recordings, to which decoded ones are compared.

    Attributes:
        audio: (B, 1, N).
        mel: log-mel bands (B, bands, T).
        log_f0: (B, 2 T), interpolated where unvoiced.
        voiced: (B, 2 T).
        bandwidth: in Hz (B,); 0: full.
    """

    audio: Tensor
    mel: Tensor
    log_f0: Tensor
    voiced: Tensor
    bandwidth: Tensor


@dataclass(frozen=True)
class Generated:
    """Output of the generator for some windows: from the posterior, and on some steps from the prior.

    ``kl`` is their part of the batch's KL divergence per frame.
    """

    real: Slices
    out: Decoded
    from_prior: Decoded | None
    kl: Tensor


def windows_order(data: WindowData, settings: SoVITSSettings) -> WeightedOrder:
    """Utterances drawn by weight; people have at least their share of each batch, beside synthetic speech."""
    small = settings.small
    groups = ["synthetic" if row.source.startswith(small.synthetic) else "real" for row in data.train]
    lengths = [min(data.frames(row), data.longest) for row in data.train]
    weights = [row.weight for row in data.train]
    min_shares = {"real": small.real_share}
    return WeightedOrder(lengths, weights, groups, settings.batch_size, settings.seed, min_shares=min_shares)


class StagedRecipe:
    """Generator alone, then generator and discriminators in turn; AdamW each. See :class:`Recipe`.

    Args:
        data: the utterances.
        config: sizes of the generator.
        discriminator: sizes of the discriminators.
        settings: of the training.
        order: batches.
        steps: in all, over which the learning rate falls.
        device: where to train.
        optimizer_step: how losses become an update; None: whole batches, in this process alone.
    """

    metric = "mel_l1"

    def __init__(
        self,
        data: WindowData,
        config: SoVITSConfig,
        discriminator: DiscriminatorConfig,
        settings: SoVITSSettings,
        order: Order,
        steps: int,
        device: torch.device,
        optimizer_step: OptimizerStep | None = None,
    ) -> None:
        seed_step(settings.seed, "weights")
        self.data, self.settings, self.order, self.steps, self.device = data, settings, order, steps, device
        self.model = SoVITS(config).to(device)
        freeze_parts(self.model, settings.freeze, "sovits.freeze")
        self.discriminator = MultiPeriodDiscriminator(discriminator).to(device)
        self.average = WeightAverage(self.model, settings.ema_decay) if settings.ema_decay else None
        self.optimizer_step = optimizer_step or OptimizerStep(settings, RuntimeSettings(), device)
        self.optimizer_step.compile(self.model.dec, *self.discriminator.discriminators)
        self.loader = Loader(self._read, device)
        self.optimizer = adamw(generator_groups(self.model, settings), settings, fused=True)
        self.discriminator_optimizer = adamw(whole_group(self.discriminator), settings, fused=True)
        self.state: dict[str, Stateful] = {
            "model": self.model,
            "discriminator": self.discriminator,
            "optimiser": self.optimizer,
            "discriminator_optimiser": self.discriminator_optimizer,
            **self.optimizer_step.state,
        }
        if self.average is not None:
            self.state["average"] = self.average

    # -- one step ----------------------------------------------------------------------------------------------------

    def train_step(self, step: int) -> StepResult:
        """See :class:`voiceclone.training.loop.Recipe`."""
        settings, small, optimizer_step = self.settings, self.settings.small, self.optimizer_step
        rate = settings.learning_rate * warm_cosine(step, self.steps, small.warmup_steps, small.final_learning_rate)
        set_rate(self.optimizer, rate)
        batch, judged = self.order.batch(step), {}
        made: list[Generated] = []  # with its graph, for the generator's half; empty if there are several micro-batches
        with optimizer_step.running() as events:
            if self.adversarial(step):
                first = step - (settings.adversarial_from or 0)
                set_rate(self.discriminator_optimizer, rate * min(1.0, (first + 1) / max(1, small.warmup_steps)))
                self.discriminator.requires_grad_(True)
                work = partial(self._discriminator_pass, step, made)
                judged = optimizer_step.gradients(batch, work, self.discriminator_optimizer, small.gradient_clip)
                judged.pop("gradient_norm", None)
                optimizer_step.apply(self.discriminator_optimizer, **judged)
                self.discriminator.requires_grad_(False)  # the generator's loss needs no gradients of its weights
            work = partial(self._generator_pass, step, made)
            losses = optimizer_step.gradients(batch, work, self.optimizer, small.gradient_clip)
            optimizer_step.apply(self.optimizer, loss_total=self._total(losses, step))
        return StepResult({**judged, **losses, "learning_rate": rate}, events)

    def adversarial(self, step: int) -> bool:
        """True if discriminators take part in this step, counted from 0."""
        start = self.settings.adversarial_from
        return start is not None and 0 <= start <= step

    def _total(self, losses: Mapping[str, Number], step: int) -> Number:
        """The generator's loss."""
        settings, small = self.settings, self.settings.small
        risen = min(1.0, step / small.kl_warmup_steps) if small.kl_warmup_steps else 1.0
        weights = {
            "loss_mel": settings.mel_weight,
            "loss_stft": small.stft_weight,
            "loss_pitch": small.pitch_weight,
            "loss_voicing": small.voicing_weight,
            "loss_prior_mel": small.prior_weight,
            "loss_prior_pitch": small.pitch_weight,
            "loss_prior_voicing": small.voicing_weight,
            "loss_gen": small.adversarial_weight,
            "loss_fm": small.adversarial_weight,
        }
        total = settings.kl_weight * (small.kl_start + (1 - small.kl_start) * risen) * losses["loss_kl"]
        for name, weight in weights.items():
            if name in losses:
                total = total + weight * losses[name]
        return total

    def _discriminator_pass(self, step: int, made: list[Generated], micro: MicroBatch) -> Metrics:
        """Forward and backward pass of the discriminators; a batch in one micro-batch leaves its graph in ``made``."""
        made.clear()  # of an attempt that ran out of memory
        with torch.set_grad_enabled(micro.only):
            generated = self._generate(step, micro, second_pass=True)
        real, fake = self._judged_waves(step, generated)
        with self.optimizer_step.precision.autocast():
            judged = self.discriminator(real), self.discriminator(fake.detach())
        loss = discriminator_loss(*judged) * micro.share
        self.optimizer_step.precision.backward(loss)
        if micro.only:
            made.append(generated)
        return {"loss_disc": loss.detach()}

    def _generator_pass(self, step: int, made: list[Generated], micro: MicroBatch) -> Metrics:
        generated = made.pop() if made else self._generate(step, micro)
        losses = self._compare(generated.out, generated.real)
        if generated.from_prior is not None:
            prior = self._compare(generated.from_prior, generated.real, spectra=False)
            losses |= {name.replace("loss_", "loss_prior_"): value for name, value in prior.items()}
        if self.adversarial(step):
            losses |= self._judge(step, generated)
        losses = {name: value * micro.share for name, value in losses.items()} | {"loss_kl": generated.kl}
        self.optimizer_step.precision.backward(self._total(losses, step))
        return {name: value.detach() for name, value in losses.items()}

    def _compare(self, decoded: Decoded, real: Slices, spectra: bool = True) -> dict[str, Tensor]:
        """Losses of decoded slices, not weighted; each is a mean over items, so that micro-batches add up."""
        audio = decoded.audio.float()
        losses = {"loss_mel": banded_mel_loss(real.mel, training_mel(audio), real.bandwidth)}
        if decoded.log_f0 is not None and decoded.voicing is not None:
            pitch, voicing = pitch_loss(decoded.log_f0.float(), decoded.voicing.float(), real.log_f0, real.voiced)
            losses |= {"loss_pitch": pitch, "loss_voicing": voicing}
        if spectra:
            losses["loss_stft"] = stft_loss(real.audio[:, 0], audio[:, 0], real.bandwidth)
        return losses

    def _judge(self, step: int, made: Generated) -> dict[str, Tensor]:
        """Losses against the discriminators as they are now."""
        real, fake = self._judged_waves(step, made)
        with self.optimizer_step.precision.autocast():
            with torch.no_grad():
                judged_real = self.discriminator(real)
            judged = self.discriminator(fake)
        return {"loss_gen": generator_loss(judged), "loss_fm": feature_matching_loss(judged_real, judged)}

    def _judged_waves(self, step: int, made: Generated) -> tuple[Tensor, Tensor]:
        """Halves of recorded and decoded slices (B, 1, N / 2), both without what lies above the bandwidth."""
        waves = (low_pass(wave.float(), made.real.bandwidth) for wave in (made.real.audio, made.out.audio))
        half = made.real.audio.shape[-1] // 2
        start = int(np.random.default_rng(derive_seed("halves", self.settings.seed, step)).integers(half + 1))
        real, fake = (wave[..., start : start + half] for wave in waves)
        return real, fake

    # -- forward pass ------------------------------------------------------------------------------------------------

    def _windows(self, step: int, batch: Sequence[int]) -> list[Window]:
        return self.data.draw([self.data.train[item] for item in batch], self.settings.seed, step)

    def _read(self, key: tuple[int, MicroBatch]) -> dict[str, Tensor]:
        """Micro-batch of a step, padded like the whole batch."""
        whole = self._windows(key[0], key[1].batch)
        return self.data.read(whole[key[1].rows], whole)

    def _generate(self, step: int, micro: MicroBatch, second_pass: bool = False) -> Generated:
        """Forward pass of the generator, the same whenever it is repeated.

        Noise of the latents and slices are drawn for the whole batch, so that they do not depend on how it is cut.
        """
        read = self.loader.get((step, micro), self.optimizer_step.to_prefetch(self.order, step, micro, second_pass))
        noise, prior_noise, starts = self._draws(step, micro)
        seed_step(self.settings.seed, step, micro.first)
        batch, model = self.data.convert(read), self.model
        real = self._slices(batch, starts)
        with self.optimizer_step.precision.autocast():
            style = model.style(batch["spectrogram"], batch["speaker_vector"], batch["lengths"])
            _, mean, log_deviation, mask = model.prior(
                batch["semantic"][:, None], batch["phones"], style, None, batch["lengths"], batch["phone_lengths"]
            )
            pitch = pitch_inputs(batch["log_f0"], batch["voiced"]) if model.config.posterior_pitch else None
            latent, _, logs_q = model.enc_q(batch["spectrogram"], mask, style, noise, pitch)
            z_p = model.flow(latent, mask, style)
            out = self._decode(latent, style, starts, real)
            from_prior = None
            if self._decodes_prior(step):
                sample = mean + PRIOR_NOISE * prior_noise * log_deviation.exp()
                from_prior = self._decode(model.flow_reverse(sample * mask, mask, style) * mask, style, starts, real)
        share = batch["lengths"].sum() / sum(window.frames for window in self._windows(step, micro.batch))
        return Generated(real, out, from_prior, kl_loss(z_p, logs_q, mean, log_deviation, mask) * share)

    def _decode(self, latent: Tensor, style: Tensor, starts: Tensor, real: Slices) -> Decoded:
        """Decode slices of a latent, a source-filter decoder with the F0 of the recordings."""
        slices = take_slices(latent, starts, self.model.config.segment_frames)
        if not isinstance(self.model.dec, SourceFilterDecoder):
            return Decoded(self.model.dec(slices, style))
        return Decoded(*self.model.dec(slices, style, real.log_f0, real.voiced))

    def _decodes_prior(self, step: int) -> bool:
        every = self.settings.small.prior_every
        return every > 0 and step % every == 0

    def _slices(self, batch: dict[str, Tensor], starts: Tensor) -> Slices:
        """Slices of the recordings, with what decoded ones are compared to."""
        config = self.model.config
        frames = config.segment_frames
        audio = take_slices(batch["audio"], starts * config.hop, frames * config.hop)
        log_f0, voiced = (
            take_slices(batch[name][:, None], starts * UPSAMPLING, frames * UPSAMPLING)[:, 0]
            for name in ("log_f0", "voiced")
        )
        return Slices(audio, training_mel(audio), log_f0, voiced, batch["bandwidth"])

    def _draws(self, step: int, micro: MicroBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Noise of posterior and prior (B, C, T) and first frames of the slices (B,) of a micro-batch."""
        seed_step(self.settings.seed, step)
        windows, config = self._windows(step, micro.batch), self.model.config
        lengths = torch.tensor([window.frames for window in windows], device=self.device)
        shape = (len(windows), config.inter_channels, max(window.frames for window in windows))
        noise, prior_noise = (torch.randn(shape, device=self.device)[micro.rows] for _ in range(2))
        return noise, prior_noise, random_starts(lengths, config.segment_frames)[micro.rows]

    # -- validation --------------------------------------------------------------------------------------------------

    def validate(self) -> dict[str, float]:
        """Mean log-mel difference, within the bandwidth, and difference of log F0 of held-out recordings and what their
        own tokens are decoded to; of utterances that are spread over the held-out ones."""
        rows = spread(self.data.heldout, self.settings.validation_utterances)
        found = [self._resynthesise(self.data.middle(row, JUDGED_FRAMES))[1] for row in rows]
        return {name: float(np.mean([item[name] for item in found])) for name in found[0]} if found else {}

    def _resynthesise(self, window: Window) -> tuple[Tensor, dict[str, float]]:
        """Waveform ``(N,)`` decoded from a window's own tokens, and its distances from the recording."""
        read = self.data.read([window])
        batch = self.data.convert({name: tensor.to(self.device) for name, tensor in read.items()})
        model, decoder = self.model, self.model.dec
        with self.optimizer_step.precision.autocast():
            style = model.style(batch["spectrogram"], batch["speaker_vector"])
            noise = PRIOR_NOISE * torch.randn(1, model.config.inter_channels, window.frames, device=self.device)
            latent = model.latent(batch["semantic"][:, None], batch["phones"], style, noise)
            if not isinstance(decoder, SourceFilterDecoder):
                spoken = decoder(latent, style).float()
                return spoken.flatten(), {"mel_l1": _mel_distance(batch, spoken)}
            frames = decoder.frames(latent, style)
        spoken = decoder.synthesise(frames, frames.log_f0.clamp(*LOG_F0_RANGE), (frames.voicing > 0).float())
        pitch, _ = pitch_loss(frames.log_f0, frames.voicing, batch["log_f0"], batch["voiced"])
        unlike = ((frames.voicing > 0) != (batch["voiced"] > 0)).float().mean()
        distances = {"mel_l1": _mel_distance(batch, spoken), "log_f0_l1": pitch.item(), "voicing_error": unlike.item()}
        return spoken.flatten(), distances

    def utterance_losses(self) -> Iterator[tuple[str, float]]:
        """Mean log-mel difference of the middle of every training recording and its resynthesis."""
        for row in self.data.train:
            yield row.name, self._resynthesise(self.data.middle(row))[1]["mel_l1"]

    def sample(self) -> tuple[Tensor, int] | None:
        """The first held-out utterance, resynthesised."""
        rows = self.data.heldout[:1]
        return (self._resynthesise(self.data.middle(rows[0], JUDGED_FRAMES))[0], 32000) if rows else None


def _mel_distance(batch: Mapping[str, Tensor], spoken: Tensor) -> float:
    """Mean log-mel difference, within the bandwidth, of recordings and the same as decoded (B, 1, N)."""
    return banded_mel_loss(training_mel(batch["audio"]), training_mel(spoken), batch["bandwidth"]).item()


def pitch_inputs(log_f0: Tensor, voiced: Tensor) -> Tensor:
    """Input of the posterior (B, 4, T) from log F0 and voicing (B, 2 T), twice a frame."""
    values = torch.stack([(log_f0 - UNVOICED) * voiced, voiced], 1)
    return values.unflatten(-1, (-1, UPSAMPLING)).transpose(2, 3).flatten(1, 2)


def spread(rows: Sequence[Utterance], max_count: int) -> list[Utterance]:
    """At most ``max_count`` rows at equal distances, so that a corpus of many speakers is represented by all."""
    count = min(max_count, len(rows))
    return [rows[index * len(rows) // count] for index in range(count)]
