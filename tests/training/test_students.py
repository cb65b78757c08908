"""Students: they see what their teacher does, learn it, and every killed training goes on to the same bits."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.support.small_training import Speaker, die_at, small_gpt, small_sovits, tensors
from tests.support.training_toy import in_child

from voiceclone.errors import ConfigError
from voiceclone.files import read_json, read_jsonl, read_tsv, write_json, write_tsv
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.sovits import SoVITS, SoVITSConfig
from voiceclone.models.vocoder import SourceFilterDecoder
from voiceclone.models.voice import load_gpt, load_sovits, takes_prompt
from voiceclone.stages.distill import (
    SPOKEN,
    DistillGPTSettings,
    DistillSoVITSSettings,
    JointFinetuneSettings,
    StudentGPTSettings,
    StudentSoVITSSettings,
)
from voiceclone.stages.settings import RuntimeSettings
from voiceclone.training import distill
from voiceclone.training.run import OutputFiles

pytestmark = pytest.mark.usefixtures("small_networks")
CODES, SIZE = 32, 16  # of the tests' tokenizer
POINTER = {"pointer_layer": 3, "pointer_dim": 8}


def gpt_of(**sizes: Any) -> TextToSemantic:
    torch.manual_seed(1)
    return TextToSemantic(replace(small_gpt(CODES), layers=4, heads=4, dropout=0.0, **sizes)).eval()


def batch(model: TextToSemantic) -> dict[str, torch.Tensor]:
    """Two sentences, the second padded."""
    torch.manual_seed(2)
    return {
        "phones": torch.randint(0, model.config.phones, (2, 7)), "phone_lengths": torch.tensor([7, 4]),
        "tokens": torch.randint(0, CODES, (2, 9)), "token_lengths": torch.tensor([9, 5]),
    }  # fmt: skip


@pytest.mark.parametrize("sizes", [{}, POINTER], ids=["plain", "pointer"])
def test_an_observed_pass_is_the_pass_bit_for_bit(sizes: dict[str, int]) -> None:
    model = gpt_of(**sizes)
    inputs = batch(model)
    seen = model.observe([1, 2, 3, 4], **inputs)
    assert torch.equal(seen.logits, model(**inputs))
    if sizes:
        logits, scores = model.forward_aligned(**inputs)
        assert seen.scores is not None and torch.equal(seen.scores, scores) and torch.equal(seen.logits, logits)
    states = model.hidden_after([1, 2, 3, 4], **inputs)
    assert all(torch.equal(one, other) for one, other in zip(seen.hidden, states, strict=True))


def test_attention_weights_are_those_that_the_pass_used() -> None:
    model = gpt_of()
    inputs = batch(model)
    seen, layer = model.observe([1], **inputs), model.h.layers[0].self_attn
    x, allowed = model._teach(bert=None, **inputs)
    (weights,) = seen.attention
    value = layer._split(x)[2]
    mixed = layer.out_proj((weights @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(mixed, layer(x, allowed)[0], rtol=1e-4, atol=1e-5)
    assert weights[1, :, :, 4:7].abs().max() == 0 and weights[0, :, 8, 9:].abs().max() == 0  # padding; what comes later


def test_a_pass_that_nobody_observes_forms_no_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    model = gpt_of(**POINTER)
    inputs = batch(model)

    def never(*args: object) -> None:
        raise AssertionError("attention weights were formed")

    monkeypatch.setattr(type(model.h.layers[0].self_attn), "weights", never)
    model(**inputs)
    model.forward_aligned(**inputs)
    model.prefill(inputs["phones"], inputs["tokens"])
    with pytest.raises(AssertionError, match="formed"):
        model.observe([1], **inputs)


# -- sizes and losses ------------------------------------------------------------------------------------------------


def test_sizes_of_students_of_public_and_own_networks() -> None:
    public, mapped = distill.student_gpt(GPTConfig(), StudentGPTSettings())
    assert (public.layers, public.dim, public.heads, public.codes) == (6, 240, 5, 1024)
    assert mapped == [4, 8, 12, 16, 20, 24] and not public.pointer_layer
    base = GPTConfig(codes=512, dim=288, layers=6, heads=6, pointer_layer=4)
    own, mapped = distill.student_gpt(base, StudentGPTSettings(layers=3, width=192, heads=4))
    assert (own.layers, own.dim, own.pointer_layer, mapped) == (3, 192, 2, [2, 4, 6])
    with pytest.raises(ConfigError, match="the teacher has 6"):
        distill.student_gpt(replace(GPTConfig(), layers=6), StudentGPTSettings(layers=8))
    narrow = distill.student_sovits(SoVITSConfig.v2(), StudentSoVITSSettings(), 192)
    assert narrow.decoder == "source_filter" and (narrow.codes, narrow.ssl_dim) == (1024, 768)
    SoVITS(narrow)
    hifigan = distill.student_sovits(SoVITSConfig.v2(), StudentSoVITSSettings(decoder="hifigan"), 192)
    assert hifigan.decoder == "hifigan" and hifigan.decoder_channels == 128
    SoVITS(hifigan)


def test_a_student_of_the_same_sizes_starts_as_its_teacher_and_differs_in_nothing() -> None:
    teacher = gpt_of(**POINTER)
    config, layers = distill.student_gpt(
        teacher.config, StudentGPTSettings(layers=4, width=0, heads=0, feed_forward=64)
    )
    student = TextToSemantic(config).eval()
    student.load_state_dict(distill.inherited(student.state_dict(), teacher.state_dict(), layers))
    inputs = batch(teacher)
    lesson = distill.Lesson(teacher, config, layers, StudentGPTSettings())
    found = lesson.losses(inputs, student.observe(lesson.own_layers, **inputs))
    assert {name: round(float(value.detach()), 6) for name, (value, _) in found.items()} == dict.fromkeys(found, 0.0)


def test_a_shallow_student_starts_from_the_layers_that_it_imitates() -> None:
    teacher = gpt_of()
    config, layers = distill.student_gpt(
        teacher.config, StudentGPTSettings(layers=2, width=0, heads=0, feed_forward=64)
    )
    state = distill.inherited(TextToSemantic(config).state_dict(), teacher.state_dict(), layers)
    assert layers == [2, 4]
    for own, other in ((0, 1), (1, 3)):
        for part in ("self_attn.in_proj_weight", "linear1.weight"):
            assert torch.equal(state[f"h.layers.{own}.{part}"], teacher.state_dict()[f"h.layers.{other}.{part}"])


def test_losses_are_known_for_known_distributions() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, 2.0]])
    other = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    p = torch.softmax(torch.tensor([1.0, 0.0]), 0)
    expected = 4 * float((p * (p.log() - torch.tensor(0.5).log())).sum()) / 2
    assert float(distill.logits_loss(logits, other, 2.0)) == pytest.approx(expected, rel=1e-5)
    # Two heads of the teacher for one of the student: their mean is imitated.
    teacher = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    student = torch.tensor([[[[0.5, 0.5]]]])
    real = torch.ones(1, 1, dtype=torch.bool)
    assert float(distill.attention_loss(student, teacher, real)) == pytest.approx(0, abs=1e-6)
    assert float(distill.attention_loss(student, teacher[:, :1], real)) == pytest.approx(0.6931, abs=1e-3)
    twice = distill.hidden_loss(torch.zeros(3, 4), 2 * torch.ones(3, 4))
    assert float(twice) == pytest.approx(3.0)  # three positions, each as far as the teacher is from zero


# -- trainings -------------------------------------------------------------------------------------------------------


class Student(Speaker):
    """A speaker's features, and a teacher with random weights in ``teacher``."""

    def __init__(self, folder: Path, pointer: bool = True, decoder: dict[str, Any] | None = None) -> None:
        super().__init__(folder)
        (folder / "teacher").mkdir()
        sizes = POINTER if pointer else {}
        sovits = replace(small_sovits(SIZE, CODES), **(decoder or {}))
        for name, model in (("gpt", gpt_of(**sizes)), ("sovits", SoVITS(sovits))):
            state = {key: value.contiguous() for key, value in model.state_dict().items()}
            save_file(state, folder / "teacher" / f"{name}.safetensors")
            write_json(folder / "teacher" / f"{name}.json", {"architecture": model.config.to_dict()})
        path = folder / "features" / "manifest.tsv"
        rows = read_tsv(path)
        for index, row in enumerate(rows):
            row |= {"source": SPOKEN if index > 6 else "recordings", "speaker": "anna", "weight": "1",
                    "use": "gpt sovits", "bandwidth": "0", "key_pitch": "p"}  # fmt: skip
        write_tsv(path, list(rows[0]), rows)
        audio = load_file(folder / "features" / "audio.safetensors")
        pitch = {name: torch.full((len(wave) // 320,), 120.0) for name, wave in audio.items()}
        save_file(pitch, folder / "features" / "pitch.safetensors")

    def files(self, kind: str, folder: str = "models") -> OutputFiles:
        place = self.folder / folder
        return OutputFiles(*(place / f"{kind}{end}" for end in (".safetensors", ".json", ".history.jsonl")))

    def gpt(self, micro_batch: int = 0, steps: int = 6, weights: dict[str, Any] | None = None, **training: Any) -> None:
        student = {"layers": 2, "width": 24, "heads": 2, **(weights or {})}
        values = {"batch_size": 3, "log_every": 1, "validate_every": 3, "steps": steps, "learning_rate": 1e-2,
                  "warmup_steps": 1, "small": {"batch_tokens": 120, "longest_joined": 100}, **training}  # fmt: skip
        distill.distill_gpt(
            self.folder / "features", self.folder / "teacher", self.folder / "state" / "gpt", self.files("gpt"),
            DistillGPTSettings.model_validate({"training": values, "student": student}),
            RuntimeSettings(save_every_steps=2, device="cpu", micro_batch=micro_batch),
        )  # fmt: skip

    @property
    def sovits_settings(self) -> dict[str, Any]:
        small = {"window_frames": 32, "warmup_steps": 1, "prior_every": 2}
        training = {"batch_size": 2, "log_every": 1, "validate_every": 3, "steps": 4, "segment_frames": 16,
                    "adversarial_from": 2, "small": small}  # fmt: skip
        student = {
            "inter_channels": 8, "hidden_channels": 8, "filter_channels": 8, "layers": 2, "gin_channels": 8,
            "style_hidden": 8, "mrte_channels": 8, "posterior_layers": 1, "flow_layers": 1, "flow_couplings": 2,
            "trunk_width": 16, "trunk_hidden": 16, "trunk_blocks": 1, "decoder_channels": 32,
        }  # fmt: skip
        return {"training": training, "student": student}

    def sovits(self, **student: Any) -> None:
        values = self.sovits_settings
        values["student"] |= student
        distill.distill_sovits(
            self.folder / "features", self.folder / "models" / "tokenizer.safetensors", self.folder / "teacher",
            self.folder / "state" / "distill", self.files("sovits", "distilled"),
            DistillSoVITSSettings.model_validate(values), RuntimeSettings(save_every_steps=2, device="cpu"),
        )  # fmt: skip

    def joint(self) -> None:
        values = self.sovits_settings | {"joint": {"steps": 3, "own_tokens": 0.5}}
        distill.joint_finetune(
            self.folder / "features", self.folder / "models" / "tokenizer.safetensors",
            self.folder / "distilled" / "sovits.safetensors", self.folder / "models" / "gpt.safetensors",
            self.folder / "state" / "sovits", self.files("sovits"), JointFinetuneSettings.model_validate(values),
            RuntimeSettings(save_every_steps=1, device="cpu"),
        )  # fmt: skip


def killed(recipe: type, step: int, work: Callable[[], None]) -> None:
    """Do the work in a process that is killed in the middle of a step."""

    def attempt() -> None:
        die_at(recipe, step, signal.SIGKILL)
        work()

    assert in_child(attempt) == -signal.SIGKILL


@pytest.mark.parametrize("pointer", [True, False], ids=["own", "public"])
def test_a_killed_student_gpt_resumes_to_the_same_bits(tmp_path: Path, pointer: bool) -> None:
    whole, broken = Student(tmp_path / "whole", pointer), Student(tmp_path / "broken", pointer)
    whole.gpt(ema_decay=0.9)
    killed(distill.StudentRecipe, 5, lambda: broken.gpt(ema_decay=0.9))
    broken.gpt(ema_decay=0.9)
    assert broken.report("gpt")["resumes"] and broken.weights("gpt") == whole.weights("gpt")
    assert tensors(broken, "gpt") == tensors(whole, "gpt") and broken.losses("gpt") == whole.losses("gpt")
    assert "projections.safetensors" in tensors(whole, "gpt")
    models = whole.folder / "models"
    assert load_gpt(models).config.layers == 2
    assert takes_prompt(models) is not pointer  # as its teacher: a public one goes on after a prompt


def test_a_student_becomes_like_its_teacher(tmp_path: Path) -> None:
    student = Student(tmp_path)
    student.gpt(steps=30, weights={"logits_weight": 30})  # the tests' tokens are random, and teach something else
    rows = [row for row in student.losses("gpt") if row["split"] == "train"]
    for loss in ("logits", "hidden", "attention"):
        assert rows[-1][loss] < 0.8 * rows[0][loss], loss


def test_a_batch_cut_in_parts_teaches_the_same(tmp_path: Path) -> None:
    whole, parts = Student(tmp_path / "whole", pointer=False), Student(tmp_path / "parts", pointer=False)
    whole.gpt(steps=2, weight_decay=0.0)
    parts.gpt(steps=2, weight_decay=0.0, micro_batch=1)
    for one, other in zip(whole.losses("gpt"), parts.losses("gpt"), strict=True):
        assert one.pop("split") == other.pop("split")
        assert one == pytest.approx(other, rel=1e-3)


def test_another_teacher_or_other_weights_of_losses_are_another_training(tmp_path: Path) -> None:
    student = Student(tmp_path)
    keys = []
    for weights in ({}, {"temperature": 1.0}):
        student.gpt(steps=1, weights=weights)
        keys.append(student.report("gpt")["fingerprint"])
    state = load_file(tmp_path / "teacher" / "gpt.safetensors")
    save_file({name: value + 0.01 if "norm" in name else value for name, value in state.items()},
              tmp_path / "teacher" / "gpt.safetensors")  # fmt: skip
    student.gpt(steps=1)
    keys.append(student.report("gpt")["fingerprint"])
    assert len(set(keys)) == 3


@pytest.mark.parametrize("decoder", ["source_filter", "hifigan"])
def test_a_killed_student_sovits_resumes_to_the_same_bits_and_is_finished_on_recordings(
    tmp_path: Path, decoder: str
) -> None:
    whole, broken = Student(tmp_path / "whole"), Student(tmp_path / "broken")
    whole.sovits(decoder=decoder)
    killed(distill.StagedRecipe, 3, lambda: broken.sovits(decoder=decoder))
    broken.sovits(decoder=decoder)
    for name in ("sovits.safetensors", "discriminator.safetensors"):
        assert (broken.folder / "distilled" / name).read_bytes() == (whole.folder / "distilled" / name).read_bytes()
    rows = [row for row in read_jsonl(whole.folder / "distilled" / "sovits.history.jsonl") if "loss_mel" in row]
    assert ["loss_fm" in row for row in rows] == [False, False, True, True] and "loss_stft" in rows[0]
    whole.gpt(steps=1)
    broken.gpt(steps=1)
    whole.joint()
    killed(distill.JointRecipe, 2, broken.joint)
    broken.joint()
    assert broken.weights("sovits") == whole.weights("sovits")
    made = load_sovits(whole.folder / "models")
    assert made.config.hidden_channels == 8 and made.config.speaker_vector_size == 192
    assert set(read_json(whole.folder / "models" / "sovits.json")["components"]["utterances"]) == {
        row["utterance"] for row in read_tsv(whole.folder / "features" / "manifest.tsv") if row["source"] != SPOKEN
    }


def test_shared_parts_start_as_the_teachers(tmp_path: Path) -> None:
    student = Student(tmp_path, decoder={"decoder": "source_filter", "trunk_width": 32})
    shared = dict.fromkeys(
        ("inter_channels", "hidden_channels", "filter_channels", "layers", "gin_channels", "style_hidden",
         "mrte_channels", "mrte_heads", "posterior_layers", "flow_layers", "flow_couplings"), 0,
    )  # fmt: skip
    teacher = load_sovits(student.folder / "teacher")
    config = distill.student_sovits(teacher.config, StudentSoVITSSettings(trunk_width=16, **shared), 192)
    state = distill.inherited(SoVITS(config).state_dict(), teacher.state_dict())
    for name, value in teacher.state_dict().items():
        assert name.startswith("dec.") or torch.equal(state[name], value), name
    assert state["dec.norm.weight"].shape == (16,)


def trunk(width: int, hidden: int, blocks: int, seed: int = 0) -> SourceFilterDecoder:
    torch.manual_seed(seed)
    made = SourceFilterDecoder(8, 4, width, hidden, blocks, hop=640, sample_rate=32000)
    for name, value in made.named_parameters():
        if name.endswith(".g"):
            torch.nn.init.uniform_(value, 0.5, 1.0)
    return made


@torch.inference_mode()
def test_a_narrower_trunk_starts_from_the_channels_that_are_read() -> None:
    latent, style, teacher = torch.randn(2, 8, 12), torch.randn(2, 4, 1), trunk(32, 64, 4)
    wanted = teacher.frames(latent, style)
    same = trunk(32, 64, 4, seed=1)
    distill.inherit_trunk(same, teacher)
    for own, its in zip(same.frames(latent, style), wanted, strict=True):
        torch.testing.assert_close(own, its)
    teacher.shape.weight[:, 8:24] = 0  # half of the channels are not read, half of the units lead nowhere
    teacher.pitch[0].weight[:, 8:24] = 0
    for block in teacher.blocks:
        block.b.weight[:, ::2] = 0
    small, other = trunk(16, 32, 4, seed=1), trunk(16, 32, 4, seed=1)
    distill.inherit_trunk(small, teacher)
    kept = [*range(8), *range(24, 32)]
    torch.testing.assert_close(small.blocks[1].dw.weight, teacher.blocks[1].dw.weight[kept])
    torch.testing.assert_close(small.pre.weight[16:], teacher.pre.weight[32:][kept])
    torch.testing.assert_close(small.cond.weight[16:32], teacher.cond.weight[32:64][kept])
    torch.testing.assert_close(small.blocks[0].a.weight, teacher.blocks[0].a.weight[1::2][:, kept] * 2**0.5)
    wider = trunk(16, 96, 4, seed=1)
    before = {name: value.clone() for name, value in wider.state_dict().items()}
    distill.inherit_trunk(wider, teacher)
    assert all(value.equal(before[name]) for name, value in wider.state_dict().items())
    shallow = trunk(16, 32, 2, seed=1)
    distill.inherit_trunk(shallow, teacher)
    torch.testing.assert_close(shallow.blocks[1].n.weight, small.blocks[3].n.weight)

    def distance(one: SourceFilterDecoder) -> float:
        return float((one.frames(latent, style).harmonic - teacher.frames(latent, style).harmonic).abs().mean())

    assert distance(small) < 0.5 * distance(other)


def test_the_students_own_tokens_are_what_its_gpt_finds_most_likely(tmp_path: Path) -> None:
    student, model = Student(tmp_path, pointer=False), gpt_of()
    data = distill.GPTData(student.folder / "features")
    said = distill.said_tokens(model, data, data.train)
    row = data.train[3]
    alone = data.batch([row], torch.device("cpu"))
    with torch.no_grad():
        logits = model(**alone)[0, :-1, :-1]
    assert torch.equal(said[row.name], logits.argmax(-1)) and len(said[row.name]) == data.semantic.length(row.name)
