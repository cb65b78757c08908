"""Students: GPT and SoVITS of other sizes that learn from a voice, its teacher.

The GPT learns from the teacher's distribution of the next token (Hinton et al. 2015), from its hidden states through
learned projections and from where it attends to (TinyBERT: Jiao et al. 2020), and from the tokens themselves, of the
recordings and of what the teacher spoke. SoVITS learns from the teacher's waveforms, by the losses of
:mod:`voiceclone.training.staged`, and in the end from recordings, by the path that speech takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from voiceclone.assets import Asset
from voiceclone.errors import ConfigError
from voiceclone.files import read_json, sha256_file
from voiceclone.models.discriminators import DiscriminatorConfig
from voiceclone.models.gpt import GPTConfig, Layer, Observed, TextToSemantic
from voiceclone.models.losses import token_targets
from voiceclone.models.public_files import read_discriminator
from voiceclone.models.sovits import FRAMES_PER_TOKEN, SoVITS, SoVITSConfig
from voiceclone.models.vocoder import UPSAMPLING, ConvNeXtBlock, SourceFilterDecoder
from voiceclone.models.voice import load_gpt, load_sovits
from voiceclone.stages.distill import (
    SPOKEN,
    DistillGPTSettings,
    DistillSoVITSSettings,
    JointFinetuneSettings,
    StudentGPTSettings,
    StudentSoVITSSettings,
)
from voiceclone.stages.settings import RuntimeSettings
from voiceclone.stages.train_sovits import SoVITSSettings
from voiceclone.training.data import Utterance, derive_seed, seed_step
from voiceclone.training.finetuning import read_base
from voiceclone.training.gpt import VALIDATION_BATCH, GPTData, GPTRecipe, Lessons, pointed, training_order
from voiceclone.training.loop import Result
from voiceclone.training.run import Finished, Job, OutputFiles, chosen_weights, run_training
from voiceclone.training.sovits import check_fit, run_networks
from voiceclone.training.staged import StagedRecipe, WindowData, windows_order
from voiceclone.training.state import training_fingerprint
from voiceclone.training.step import MicroBatch

State = dict[str, Tensor]
SMALLEST = 1e-9  # probability below which attention is not told apart


def student_gpt(teacher: GPTConfig, settings: StudentGPTSettings) -> tuple[GPTConfig, list[int]]:
    """Sizes of a student, and for each of its layers the teacher's, counted from 1, that it imitates.

    Raises:
        ConfigError: the teacher has fewer layers.
    """
    chosen = list(settings.layer_map)
    if settings.layers > teacher.layers or any(not 1 <= layer <= teacher.layers for layer in chosen):
        raise ConfigError(
            f"student.gpt: {settings.layers} layers {chosen or ''}, the teacher has {teacher.layers}",
            "set student.gpt.layers to fewer, and layer_map to some of the teacher's",
        )
    dim = min(settings.width, teacher.dim) or teacher.dim
    heads = settings.heads if settings.heads and dim % settings.heads == 0 else teacher.heads
    mapped = chosen or [round(index * teacher.layers / settings.layers) for index in range(1, settings.layers + 1)]
    pointer = max(1, round(teacher.pointer_layer * settings.layers / teacher.layers)) if teacher.pointer_layer else 0
    config = replace(
        teacher, dim=dim, layers=settings.layers, heads=heads, feed_forward=settings.feed_forward or 4 * dim,
        pointer_layer=pointer,
    )  # fmt: skip
    return config, mapped


def student_sovits(teacher: SoVITSConfig, settings: StudentSoVITSSettings, speaker_vector: int) -> SoVITSConfig:
    """Sizes of a student; it is conditioned on speaker vectors of that size, whatever its teacher is."""
    small = SoVITSConfig.small(teacher.ssl_dim, teacher.codes)
    sizes = {name: value for name, value in settings.model_dump().items() if value}
    return replace(
        teacher, speaker_vector_size=speaker_vector, dropout=0.0,
        resblock_kernels=small.resblock_kernels, resblock_dilations=small.resblock_dilations, **sizes,
    )  # fmt: skip


def inherited(student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], layers: Sequence[int] = ()) -> State:
    """Weights of a student: the teacher's where a tensor has the same size, else its own.

    Args:
        student: its state dict.
        teacher: the teacher's.
        layers: for each layer of a student's GPT the teacher's, counted from 1.
    """
    found = {}
    for name, own in student.items():
        parts = name.split(".")
        if layers and name.startswith("h.layers."):
            parts[2] = str(layers[int(parts[2])] - 1)
        other = teacher.get(".".join(parts))
        found[name] = other.clone() if other is not None and other.shape == own.shape else own.clone()
    return found


@torch.no_grad()
def inherit_trunk(student: SourceFilterDecoder, teacher: SourceFilterDecoder) -> None:
    """Start a narrower trunk from the channels and inner units of the teacher's that count most.

    A channel counts by the weights that read it at the end, an inner unit by those that lead to it and from it. Sums
    over fewer of them are multiplied by the root of the ratio, which keeps their variance. Fewer blocks are taken
    evenly from the teacher's. A trunk that is wider or deeper in anything is left as it is.
    """
    if any(own > its for own, its in zip(_trunk_sizes(student), _trunk_sizes(teacher), strict=True)):
        return
    width, blocks = teacher.width, len(teacher.blocks)
    read = teacher.shape.weight.norm(dim=0) * teacher.norm.weight.abs()
    kept = read.topk(student.width).indices.sort().values
    places = torch.linspace(0, blocks - 1, len(student.blocks)).round().long()
    wider = (width / student.width) ** 0.5

    def narrow(tensor: Tensor, parts: int, chosen: Tensor | slice = slice(None)) -> Tensor:
        """The kept channels of each of the chosen parts that a first dimension has."""
        return tensor.view(parts, width, *tensor.shape[1:])[chosen][:, kept].flatten(0, 1)

    for name in ("weight", "bias"):
        getattr(student.pre, name).copy_(narrow(getattr(teacher.pre, name), UPSAMPLING))
        getattr(student.cond, name).copy_(narrow(getattr(teacher.cond, name), blocks, places))
    for own, place in zip(student.blocks, places.tolist(), strict=True):
        _inherit_block(cast(ConvNeXtBlock, own), cast(ConvNeXtBlock, teacher.blocks[place]), kept, wider)
    for name in ("weight", "bias"):
        getattr(student.norm, name).copy_(getattr(teacher.norm, name)[kept])
    for own, other, rows in (
        (student.shape, teacher.shape, None), (student.pitch[0], teacher.pitch[0], kept),
        (student.pitch[2], teacher.pitch[2], None),
    ):  # fmt: skip
        _copy_layer(own, other, rows, kept, wider)


def _trunk_sizes(decoder: SourceFilterDecoder) -> tuple[int, int, int]:
    """Width, inner width and number of blocks."""
    return decoder.width, cast(ConvNeXtBlock, decoder.blocks[0]).a.out_features, len(decoder.blocks)


def _inherit_block(student: ConvNeXtBlock, teacher: ConvNeXtBlock, kept: Tensor, wider: float) -> None:
    """The same for one block: ``kept`` channels, those inner units that count most."""
    strength = teacher.a.weight.norm(dim=1) * teacher.b.weight.norm(dim=0)
    units = strength.topk(student.a.out_features).indices.sort().values
    for layer in ("dw", "n"):
        for name in ("weight", "bias"):
            getattr(getattr(student, layer), name).copy_(getattr(getattr(teacher, layer), name)[kept])
    student.g.copy_(teacher.g[kept])
    _copy_layer(student.a, teacher.a, units, kept, wider)
    _copy_layer(student.b, teacher.b, kept, units, (teacher.a.out_features / len(units)) ** 0.5)


def _copy_layer(student: nn.Module, teacher: nn.Module, rows: Tensor | None, columns: Tensor, factor: float) -> None:
    """Some outputs (None: all) and inputs of a linear layer or a convolution, the weights multiplied by a factor."""
    weight, bias = cast(Tensor, teacher.weight)[:, columns] * factor, cast(Tensor, teacher.bias)
    cast(Tensor, student.weight).copy_(weight if rows is None else weight[rows])
    cast(Tensor, student.bias).copy_(bias if rows is None else bias[rows])


class Lesson:
    """What a student's GPT learns of its teacher beside the tokens.

    Args:
        teacher: is not trained.
        student: sizes of the student.
        layers: the teacher's layer of each of the student's, counted from 1.
        settings: weights, temperature.

    Attributes:
        projections: of the student's hidden states to the teacher's, one for each layer; the identity at the start
            where both have one width.
    """

    def __init__(
        self, teacher: TextToSemantic, student: GPTConfig, layers: Sequence[int], settings: StudentGPTSettings
    ) -> None:
        self.teacher, self.layers, self.settings = teacher.eval().requires_grad_(False), list(layers), settings
        self.own_layers = range(1, student.layers + 1)
        widths = student.dim, teacher.config.dim
        self.projections = nn.ModuleList(nn.Linear(*widths) for _ in layers).to(next(teacher.parameters()).device)
        for projection in self.projections if widths[0] == widths[1] else ():
            nn.init.eye_(projection.weight)  # type: ignore[arg-type]
            nn.init.zeros_(projection.bias)  # type: ignore[arg-type]

    def losses(self, inputs: Mapping[str, Tensor], student: Observed) -> Lessons:
        """Losses of what the student did of a batch; sums over positions for each predicted token.

        Args:
            inputs: arguments of :meth:`TextToSemantic.forward`.
            student: its pass of the same.
        """
        with torch.no_grad():
            teacher = self.teacher.observe(self.layers, **inputs)
        _, valid = token_targets(inputs["tokens"], inputs["token_lengths"], student.logits.shape[-1] - 1)
        count, settings, real = valid.sum(), self.settings, student.real
        places = [sorted(set(self.layers)).index(layer) for layer in self.layers]  # one may be imitated twice
        hidden = [
            hidden_loss(projection(own[real]), teacher.hidden[place][real])
            for projection, own, place in zip(self.projections, student.hidden, places, strict=True)
        ]
        attention = [
            attention_loss(own, teacher.attention[place], real)
            for own, place in zip(student.attention, places, strict=True)
        ]
        logits = logits_loss(student.logits[valid], teacher.logits[valid], settings.temperature)
        return {
            "logits": (logits, settings.logits_weight),
            "hidden": (torch.stack(hidden).mean() / count, settings.hidden_weight),
            "attention": (torch.stack(attention).mean() / count, settings.attention_weight),
        }


def logits_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL divergence of the student's distribution from the teacher's, both at a temperature, times its square.

    Args:
        student: logits (N, V).
        teacher: logits (N, V).
        temperature: gradients keep their size whatever it is (Hinton et al. 2015).
    """
    own, other = (F.log_softmax(logits.float() / temperature, -1) for logits in (student, teacher))
    return F.kl_div(own, other, reduction="batchmean", log_target=True) * temperature**2


def hidden_loss(projected: Tensor, teacher: Tensor) -> Tensor:
    """Sum over positions of the mean square difference (N, D), in units of the teacher's mean square."""
    difference = (projected.float() - teacher.float()).square().mean(-1).sum()
    return difference / teacher.float().square().mean().clamp(min=SMALLEST)


def attention_loss(student: Tensor, teacher: Tensor, real: Tensor) -> Tensor:
    """Sum over real positions of the mean over the student's heads of the KL divergence from the teacher's attention.

    Args:
        student: weights (B, heads, S, S).
        teacher: weights (B, heads, S, S); where it has more heads, each of the student's imitates the mean of several.
        real: bool (B, S).
    """
    own, others = student.shape[1], teacher.shape[1]
    edges = [(head * others // own, max(head * others // own + 1, (head + 1) * others // own)) for head in range(own)]
    wanted = torch.stack([teacher[:, low:high].mean(1) for low, high in edges], 1)
    divergence = wanted * (wanted.clamp(min=SMALLEST).log() - student.clamp(min=SMALLEST).log())
    return divergence.sum(-1).mean(1)[real].sum()


class StudentRecipe(GPTRecipe):
    """:class:`GPTRecipe` with a teacher."""

    def __init__(self, lesson: Lesson, *args: Any, **kwargs: Any) -> None:
        self.lesson = lesson
        super().__init__(*args, **kwargs)
        self.state["projections"] = lesson.projections

    def _trained(self) -> list[nn.Parameter]:
        return [*super()._trained(), *self.lesson.projections.parameters()]

    def _taught(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None, Lessons]:
        inputs = self._inputs(batch)
        with self.optimizer_step.precision.autocast():
            observed = self.model.observe(self.lesson.own_layers, **inputs)
            lessons = self.lesson.losses(inputs, observed)
        return observed.logits, observed.scores if "aligned" in batch else None, lessons


def distill_gpt(
    features_dir: Path,
    teacher_dir: Path,
    state_dir: Path,
    files: OutputFiles,
    settings: DistillGPTSettings,
    runtime: RuntimeSettings,
    threads: int = 0,
    label: str = "student GPT",
    alignment: Path | None = None,
) -> None:
    """Train a student of a voice's GPT, or continue to; arguments as of :func:`voiceclone.training.gpt.train_gpt`.

    A teacher with a pointer has a student with one, which is trained as those of architecture small.

    Raises:
        Interrupted: stopped by a signal or the time budget, saved.
        DataError, ConfigError: see the message.
    """
    teacher = load_gpt(teacher_dir)
    training = settings.training.model_copy(update={"architecture": "small" if teacher.config.pointer_layer else "v2"})
    job = Job.start(training, runtime, state_dir, files, label, threads)
    teacher = teacher.to(job.device)
    config, layers = student_gpt(teacher.config, settings.student)
    data = GPTData(features_dir, aligned=training.architecture == "small")
    if teacher.config.codes != data.codes:
        raise ConfigError(f"the teacher has {teacher.config.codes} tokens, those of the features are {data.codes}")
    order = training_order(data, training)
    steps = training.total_steps(len(data.train), order.steps_per_epoch)
    fingerprint = training_fingerprint(
        "distill_gpt",
        training,
        {**config.to_dict(), "student": settings.student.model_dump(mode="json")},
        {"teacher": sha256_file(teacher_dir / "gpt.safetensors")},
        [*data.train, *data.heldout],
        data.digests(),
    )
    optimizer_step = job.optimizer_step(data.train)
    seed_step(training.seed, "projections")
    lesson = Lesson(teacher, config, layers, settings.student)

    def start(model: nn.Module) -> None:
        model.load_state_dict(inherited(model.state_dict(), teacher.state_dict(), layers))

    recipe = StudentRecipe(lesson, data, config, training, order, steps, job.device, start, optimizer_step)
    if alignment is not None and config.pointer_layer:
        recipe.model.pointer.emission.copy_(load_file(alignment)["emission"])

    def finish(result: Result) -> Finished:
        sizes, weights, notes = pointed(config, chosen_weights(result), features_dir, alignment, training, label)
        return Finished(sizes.to_dict(), {**notes, "layer_map": layers}, weights, dict if sizes == config else None)

    run_training(job, recipe, optimizer_step, data.train, data.heldout, fingerprint, (Layer,), finish)


def _training(settings: SoVITSSettings, **changes: Any) -> SoVITSSettings:
    """Settings of a student's training: as of architecture small, whatever its teacher's was."""
    return settings.model_copy(update={"architecture": "small", "keep_discriminator": True, **changes})


def distill_sovits(
    features_dir: Path,
    tokenizer: Path,
    teacher_dir: Path,
    state_dir: Path,
    files: OutputFiles,
    settings: DistillSoVITSSettings,
    runtime: RuntimeSettings,
    base_discriminator: Asset | None = None,
    threads: int = 0,
    label: str = "student SoVITS",
) -> None:
    """Train a student of a voice's SoVITS, or continue to; see :func:`voiceclone.training.sovits.train_sovits`.

    Its features are those of recordings and of what the teacher spoke, whose waveforms it is held against.

    Raises:
        Interrupted: stopped by a signal or the time budget, saved.
        DataError, ConfigError: see the message.
    """
    training = _training(settings.training)
    data = WindowData(features_dir, training.small.window_frames, training.segment_frames)
    teacher = load_sovits(teacher_dir)
    config = student_sovits(teacher.config, settings.student, data.speaker_size())
    config = replace(config, segment_frames=training.segment_frames)
    seed_step(training.seed, "weights")
    student = SoVITS(config)
    student.load_state_dict(inherited(student.state_dict(), teacher.state_dict()))
    if isinstance(student.dec, SourceFilterDecoder) and isinstance(teacher.dec, SourceFilterDecoder):
        inherit_trunk(student.dec, teacher.dec)
    weights = {"model": student.state_dict()}
    discriminator = DiscriminatorConfig.nano()
    if base_discriminator is not None:
        discriminator, weights["discriminator"] = read_base(base_discriminator, read_discriminator)
    base = {"teacher": sha256_file(teacher_dir / "sovits.safetensors")}
    job = Job.start(training, runtime, state_dir, files, label, threads)
    _run(job, "distill_sovits", data, config, discriminator, weights, tokenizer, base)


class JointRecipe(StagedRecipe):
    """:class:`StagedRecipe` on tokens of which a share are those that the student's GPT says, by utterance."""

    def __init__(self, own_tokens: Mapping[str, Tensor], share: float, *args: Any) -> None:
        self.own_tokens, self.share = own_tokens, share
        super().__init__(*args)

    def _read(self, key: tuple[int, MicroBatch]) -> dict[str, Tensor]:
        batch = super()._read(key)
        step, micro = key
        for row, window in enumerate(self._windows(step, micro.batch)[micro.rows]):
            first, count = window.start // FRAMES_PER_TOKEN, window.frames // FRAMES_PER_TOKEN
            seed = derive_seed("own tokens", self.settings.seed, step, micro.first + row)  # however it is cut
            said = torch.from_numpy(np.random.default_rng(seed).random(count) < self.share)
            own, part_of = self.own_tokens[window.row.name][first : first + count], batch["semantic"][row, :count]
            part_of.copy_(torch.where(said, own, part_of))
        return batch


@torch.no_grad()
def said_tokens(gpt: TextToSemantic, data: GPTData, rows: Sequence[Utterance]) -> dict[str, Tensor]:
    """Most likely tokens int64 (Y,) of utterances, each after the recording's before it."""
    found: dict[str, Tensor] = {}
    for start in range(0, len(rows), VALIDATION_BATCH):
        some = rows[start : start + VALIDATION_BATCH]
        batch = data.batch(some, next(gpt.parameters()).device)
        best = gpt(**{name: item for name, item in batch.items() if name != "aligned"})[:, :-1, :-1].argmax(-1).cpu()
        found |= {row.name: best[index, : data.semantic.length(row.name)] for index, row in enumerate(some)}
    return found


def joint_finetune(
    features_dir: Path,
    tokenizer: Path,
    distilled: Path,
    gpt: Path,
    state_dir: Path,
    files: OutputFiles,
    settings: JointFinetuneSettings,
    runtime: RuntimeSettings,
    threads: int = 0,
    label: str = "student, joint",
) -> None:
    """Train a student's SoVITS on recordings alone, from samples of the prior and on tokens of its GPT.

    The GPT stays as it is: between both are tokens, through which no gradient goes.

    Args:
        distilled: the student's SoVITS, with its report and discriminators beside it.
        gpt: its GPT, with its report beside it.
        features_dir: and the others, see :func:`voiceclone.training.sovits.train_sovits`.

    Raises:
        Interrupted: stopped by a signal or the time budget, saved.
        DataError, ConfigError: see the message.
    """
    joint = settings.joint
    report = read_json(distilled.with_suffix(".json"))
    config = SoVITSConfig.from_dict(report["architecture"])
    small = settings.training.small.model_copy(update={"prior_every": 1, "prior_weight": joint.prior_weight})
    training = _training(
        settings.training, steps=joint.steps, learning_rate=joint.learning_rate, adversarial_from=0, small=small
    )
    data = WindowData(features_dir, training.small.window_frames, training.segment_frames)
    data.train = [row for row in data.train if row.source != SPOKEN]
    model = TextToSemantic(GPTConfig.from_dict(read_json(gpt.with_suffix(".json"))["architecture"]))
    model.load_state_dict(load_file(gpt))
    own = said_tokens(model.eval(), GPTData(features_dir), data.train) if joint.own_tokens else {}

    judge = DiscriminatorConfig.from_dict(report["discriminator"])
    weights = {
        "model": load_file(distilled),
        "discriminator": load_file(distilled.with_name("discriminator.safetensors")),
    }
    base = {"distilled": sha256_file(distilled), "gpt": sha256_file(gpt)}
    recipe = partial(JointRecipe, own, joint.own_tokens) if own else StagedRecipe
    job = Job.start(training, runtime, state_dir, files, label, threads)
    notes = {"own_tokens": joint.own_tokens}
    _run(job, "joint_finetune", data, config, judge, weights, tokenizer, base, recipe, notes)


def _run(
    job: Job[SoVITSSettings],
    stage: str,
    data: WindowData,
    config: SoVITSConfig,
    discriminator: DiscriminatorConfig,
    weights: Mapping[str, State],
    tokenizer: Path,
    base: Mapping[str, str],
    recipe: Callable[..., StagedRecipe] = StagedRecipe,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Train a student's SoVITS; see :func:`voiceclone.training.sovits.run_networks`."""
    frozen = load_file(tokenizer)
    check_fit(config, frozen, data)
    order = windows_order(data, job.settings)
    run_networks(job, stage, data, order, config, discriminator, weights, frozen, base, windows=recipe, notes=notes)
