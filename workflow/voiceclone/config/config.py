"""The whole configuration: one block per stage, and what all of them share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, create_model, model_validator

from voiceclone.files import canonical_json
from voiceclone.stages import STAGES
from voiceclone.stages.distill import DistillGPTSettings, DistillSoVITSSettings, JointFinetuneSettings, StudentSettings
from voiceclone.stages.export import ReferencesSettings
from voiceclone.stages.features import SPEAKER_ENCODER
from voiceclone.stages.settings import Block, RuntimeSettings
from voiceclone.stages.teacher_speech import TeacherSettings


def _language(code: str) -> str:
    if code != "auto" and not (code.isascii() and code.isalpha() and code.islower() and len(code) in (2, 3)):
        raise ValueError(f"{code!r} is not allowed; expected auto or an ISO code such as en, zh, ja, ko, yue, de")
    return code


class Shared(Block):
    """Keys that no stage owns."""

    if TYPE_CHECKING:

        def __getattr__(self, block: str) -> Any:
            """The blocks of the stages are not known before the stages are."""

    preset: Literal[
        "demo", "small", "zero-shot-small", "nano", "zero-shot", "few-shot", "few-shot-plus", "full", "base"
    ] = Field(
        "small",
        description="Values that the other keys start from. No GPU, no hub, English: demo (minutes, on a made "
        "speaker), small (the base voice that comes with the program, fine-tuned on half a minute and more), "
        "zero-shot-small (the same without training, after one clip of 3 to 10 s), nano (models from scratch, for "
        "experiments). With the public v2Pro models from the hub: zero-shot (one clip), few-shot (fine-tunes on half a "
        "minute to three hours; GPU), few-shot-plus (the same of v2ProPlus, whose vocoder is wider), full (v2Pro on "
        "more; GPU). base: training of a base voice on many people's speech, by "
        "the target base_voice.",
    )
    speakers_dir: str = Field(
        "resources/speakers", min_length=1, description="Folder with one subfolder of recordings per speaker."
    )
    speakers: tuple[str, ...] = Field((), description="Speakers to work on; empty: all in speakers_dir.")
    language: Annotated[str, AfterValidator(_language)] = Field(
        "auto", description="Language of all recordings as ISO code (en, zh, ja ...), or auto: detected per take."
    )
    lexicon: str = Field(
        "", description="Folder of pronunciation tables, LANGUAGE.tsv, that count beside and before config/lexicon."
    )
    group: tuple[str, ...] = Field(
        (),
        description="In voice.yaml: speakers whose recordings train this voice together, each a style of it.",
    )
    reference: str | tuple[str, ...] = Field(
        "",
        description="Utterance, take or recording to speak like, in place of the one that ranks best. Of several the "
        "first is the voice's own reference, and each is that of its style.",
    )
    seed: int | None = Field(
        None, ge=0, lt=2**31, description="Seed of every stage that has one and does not set its own; null: theirs."
    )
    offline: bool = Field(False, description="Never touch the network: use models that are on this machine.")
    models_dir: str = Field(
        "", description="Folder with your own copies of models, MODEL/FILE; looked into before any download."
    )


_blocks: dict[str, Any] = {
    stage.block: (stage.settings, Field(stage.settings(), description=stage.about))
    for stage in STAGES.values()
    if stage.block
}
Blocks: Any = create_model("Blocks", __base__=Shared, **_blocks)


class Config(Blocks, Shared):
    """The configuration of a run."""

    teachers: tuple[TeacherSettings, ...] = Field(
        (), description="Packaged voices that speak texts as many people, to train on: see section Teachers."
    )
    student: StudentSettings = Field(StudentSettings(), description="Small students of voices: NAME-student of NAME.")
    runtime: RuntimeSettings = Field(
        RuntimeSettings(), description="How and where stages run; a change never makes a result out of date."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        if self.corpus.min_utterance_seconds > self.slice.max_seconds:
            raise ValueError("corpus.min_utterance_seconds must not exceed slice.max_seconds")
        if self.language != "auto" and self.transcribe.languages not in ((), (self.language,)):
            raise ValueError(
                f"language is {self.language!r} but transcribe.languages lists {list(self.transcribe.languages)}; "
                "set one of the two"
            )
        if self.language not in ("auto", "en") and self.models.asr.endswith(".en"):
            raise ValueError(f"models.asr {self.models.asr!r} knows only English, but language is {self.language!r}")
        names = [teacher.name for teacher in self.teachers]
        if double := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"teachers: the names {double} come twice")
        if self.sovits.architecture in ("v2Pro", "v2ProPlus") and not self.features.verification_encoder:
            raise ValueError(
                f"sovits.architecture {self.sovits.architecture} needs features.verification_encoder eres2netv2"
            )
        if self.sovits.architecture == "small" and not self.features.pitch:
            raise ValueError("sovits.architecture small needs features.pitch praat")
        if self.preset != "base" and not self.features.spectrogram:
            raise ValueError("features.spectrogram false is for preset base alone: a voice's reference needs it")
        return self

    def settings(self, stage: str) -> str:
        """Canonical JSON of what changes the results of a stage: a parameter of its rule."""
        student, block = self.student, STAGES[stage].block
        references = [self.reference] if isinstance(self.reference, str) else self.reference
        without_block: dict[str, Block] = {
            "choose_references": ReferencesSettings(reference=tuple(filter(None, references))),
            "distill_texts": student.speech,
            "distill_gpt": DistillGPTSettings(training=self.gpt, student=student.gpt),
            "distill_sovits": DistillSoVITSSettings(training=self.sovits, student=student.sovits),
            "joint_finetune": JointFinetuneSettings(training=self.sovits, student=student.sovits, joint=student.joint),
        }
        values = (getattr(self, block) if block else without_block.get(stage, Block())).model_dump(mode="json")
        if stage == "transcribe" and self.language != "auto":
            values["languages"] = [self.language]
        return canonical_json(values)

    def assets(self, stage: str) -> list[str]:
        """Names of the pretrained models that a stage needs under this configuration."""
        return [name for name in dict.fromkeys(STAGES[stage].models(self)) if name]

    @property
    def needs_alignment(self) -> bool:
        """True if a training reads which phone each token speaks."""
        return self.gpt.pointer_steps > 0 or any(
            block.train and block.architecture == "small" for block in (self.gpt, self.sovits)
        )

    def encoders(self) -> list[str]:
        """Names of the exported encoders that voices need for new clips and for Chinese text."""
        if not self.export.encoders:
            return []
        speaker = {
            "nano": SPEAKER_ENCODER,
            "small": SPEAKER_ENCODER,
            "v2Pro": self.features.verification_encoder,
            "v2ProPlus": self.features.verification_encoder,
        }
        content = self.features.content if self.gpt.base and self.gpt.architecture != "small" else ""  # for prompts
        others = (speaker.get(self.sovits.architecture, ""), self.features.bert)
        ending = f"-{self.export.encoders}" if isinstance(self.export.encoders, str) else ""
        return [*filter(None, [content]), *(name + ending for name in others if name)]  # in 8 bits, content hears worse

    def all_assets(self) -> list[str]:
        """Names of all models of a run, in the order of the stages."""
        stages = [stage for stage in STAGES.values() if stage.preset in ("", self.preset)]
        return list(dict.fromkeys(name for stage in stages for name in self.assets(stage.name)))

    def chosen_models(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Models that the user can name: key to the name given and the kinds that fit; empty names left out."""
        chosen: dict[str, tuple[str, tuple[str, ...]]] = {
            "models.asr": (self.models.asr, ("asr",)),
            "models.asr_evaluation": (self.models.asr_evaluation, ("asr",)),
            "tokenizer.base": (self.tokenizer.base, ("tokenizer", "sovits-generator")),
            "gpt.base": (self.gpt.base, ("gpt",)),
            "sovits.base": (self.sovits.base, ("sovits-generator",)),
            "sovits.base_discriminator": (self.sovits.base_discriminator, ("sovits-discriminator",)),
        }
        for number, source in enumerate(self.corpora.sources):
            chosen[f"corpora.sources.{number}.asset"] = (source.asset, ("data",))
        for number, teacher in enumerate(self.teachers):
            chosen[f"teachers.{number}.asset"] = (teacher.model, ("tts",))
            for place, name in enumerate(teacher.text_assets()):
                chosen[f"teachers.{number}.texts.{place}"] = (name, ("texts",))
        for place, name in enumerate(self.separate.chain):
            chosen[f"separate.chain.{place}"] = ("" if name == "spleeter" else name, ("audio-separator",))
        return {key: value for key, value in chosen.items() if value[0]}
