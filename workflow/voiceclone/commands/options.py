"""Options that the speaking commands share: each group is a frozen dataclass, and :func:`with_groups` gives a command
the fields of its groups as options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from voiceclone.speaking.runtimes import Engine

VOICE, CLIP, MANNER, MACHINE = "Voice", "Reference clip", "Manner", "Machine"
TextOption = Annotated[str, typer.Option(help="What to say.")]
TextFileOption = Annotated[
    Path | None,
    typer.Option(help="Text file with what to say, UTF-8 or another usual encoding; - reads standard input."),
]
BundleOption = Annotated[
    Path | None, typer.Option("--bundle", help="Folder of an exported bundle.", rich_help_panel=VOICE)
]
ModelsOption = Annotated[
    Path | None,
    typer.Option(
        "--models",
        help="results/NAME/models, a folder of 'voiceclone import', one with a .ckpt and a .pth, or a base voice "
        "such as gpt-sovits-v2pro.",
        rich_help_panel=VOICE,
    ),
]
FeaturesOption = Annotated[
    Path | None,
    typer.Option("--features", help="Where the voice's own clip lies; left out: beside the models.",
                 rich_help_panel=VOICE),
]  # fmt: skip
LanguageOption = Annotated[
    str,
    typer.Option(
        "--language", help="ISO code of the text's language, or auto for mixed text; left out: the voice's own."
    ),
]
ReferenceOption = Annotated[
    Path | None,
    typer.Option(help="Clip to speak like, 3 to 10 s; left out: the voice's own.", rich_help_panel=CLIP),
]
ReferenceTextOption = Annotated[
    str,
    typer.Option(help="What is said in the clip; left out: only its sound is taken on.", rich_help_panel=CLIP),
]
ReferenceLanguageOption = Annotated[
    str, typer.Option(help="Language of the clip's text; left out: auto.", rich_help_panel=CLIP)
]
StylesOption = Annotated[
    list[Path] | None,
    typer.Option(help="More clips whose sound is averaged with the first; repeatable.", rich_help_panel=CLIP),
]
AnyLengthOption = Annotated[
    bool, typer.Option("--any-length", help="Take a clip outside 3 to 10 s.", rich_help_panel=CLIP)
]
EncodersOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder of a bundle's encoders, which clips and Chinese text need; left out: encoders/ in the bundle or "
        "beside it, or resources/encoders.",
        rich_help_panel=VOICE,
    ),
]
SeedOption = Annotated[int, typer.Option(min=0, help="The same seed gives the same speech.", rich_help_panel=MANNER)]
TopKOption = Annotated[
    int, typer.Option(min=0, help="Most likely tokens to draw from; 0: all.", rich_help_panel=MANNER)
]
TopPOption = Annotated[
    float, typer.Option(min=0.01, max=1.0, help="Share of probability to draw from.", rich_help_panel=MANNER)
]
TemperatureOption = Annotated[
    float, typer.Option(min=0.0, max=5.0, help="Above 1 livelier, 0 always the most likely.", rich_help_panel=MANNER)
]
PenaltyOption = Annotated[
    float, typer.Option(min=1.0, max=5.0, help="Of tokens that were used before.", rich_help_panel=MANNER)
]
SpeedOption = Annotated[float, typer.Option(min=0.25, max=4.0, help="Above 1 faster.", rich_help_panel=MANNER)]
NoiseOption = Annotated[float, typer.Option(min=0.0, max=2.0, help="Liveliness of the sound.", rich_help_panel=MANNER)]
PitchOption = Annotated[
    float,
    typer.Option(min=-24.0, max=24.0, help="Semitones higher; of voices of the architecture small.",
                 rich_help_panel=MANNER),
]  # fmt: skip
PitchRangeOption = Annotated[
    float,
    typer.Option(min=0.0, max=4.0, help="Above 1 more melody, 0 none; of voices of the architecture small.",
                 rich_help_panel=MANNER),
]  # fmt: skip
PauseOption = Annotated[float, typer.Option(min=0.0, max=60.0, help="Silence between pieces.", rich_help_panel=MANNER)]
SplitOption = Annotated[
    str,
    typer.Option(
        help="How the text is cut: auto (sentences), or as the public program: none, four-sentences, "
        "fifty-characters, chinese-period, english-period, punctuation (cut0 to cut5).",
        rich_help_panel=MANNER,
    ),
]
GuidanceOption = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=10.0,
        help="Weight of the tokens that each phone usually has, where the voice has a pointer; 0: off.",
        rich_help_panel=MANNER,
    ),
]
AttemptsOption = Annotated[
    int,
    typer.Option(min=1, max=100, help="Speak a suspicious piece anew, up to so often in all.", rich_help_panel=MANNER),
]
CheckOption = Annotated[
    Literal["tokens", "asr"],
    typer.Option(help="What is suspected: by tokens and lengths, or also by a recogniser.", rich_help_panel=MANNER),
]
DetectorOption = Annotated[
    list[str] | None,
    typer.Option(help="KEY=VALUE, a limit of the detector, for example loop_share=0.9.", rich_help_panel=MANNER),
]
ThreadsOption = Annotated[int, typer.Option(min=0, help="CPU threads; 0: chosen by itself.", rich_help_panel=MACHINE)]
EngineOption = Annotated[
    Engine,
    typer.Option(help="Of --bundle; auto: TensorRT for its targets, kernels where a C compiler is, else onnxruntime.",
                 rich_help_panel=MACHINE),
]  # fmt: skip
DeviceOption = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option(help="auto: the GPU for --models, where there is one, and for trt bundles.", rich_help_panel=MACHINE),
]
PrecisionOption = Annotated[
    Literal["fp32", "fp16", "bf16"],
    typer.Option(help="Of --models on a GPU; half precision is faster, and may draw other tokens.",
                 rich_help_panel=MACHINE),
]  # fmt: skip
CompileOption = Annotated[
    bool,
    typer.Option("--compile", help="Compile --models with torch.compile first: for long runs.",
                 rich_help_panel=MACHINE),
]  # fmt: skip
BatchSizeOption = Annotated[
    int, typer.Option(min=1, max=256, help="Rows spoken together, of --models.", rich_help_panel=MACHINE)
]
RootOption = Annotated[Path, typer.Option(help="Working folder with config/ and resources/.", rich_help_panel=MACHINE)]


@dataclass(frozen=True)
class TextOptions:
    """What is said."""

    text: TextOption = ""
    text_file: TextFileOption = None


@dataclass(frozen=True)
class VoiceOptions:
    """Which voice speaks."""

    bundle: BundleOption = None
    models: ModelsOption = None
    features: FeaturesOption = None
    encoders: EncodersOption = None


@dataclass(frozen=True)
class ClipOptions:
    """The clip to speak like."""

    reference: ReferenceOption = None
    reference_text: ReferenceTextOption = ""
    reference_language: ReferenceLanguageOption = ""


@dataclass(frozen=True)
class StyleOptions:
    """More clips, and clips of any length."""

    style_reference: StylesOption = None
    any_length: AnyLengthOption = False


@dataclass(frozen=True)
class PitchOptions:
    """How high a voice speaks."""

    pitch: PitchOption = 0.0
    pitch_range: PitchRangeOption = 1.0


@dataclass(frozen=True)
class MannerOptions(PitchOptions):
    """How a text is spoken."""

    top_k: TopKOption = 15
    top_p: TopPOption = 1.0
    temperature: TemperatureOption = 1.0
    repetition_penalty: PenaltyOption = 1.35
    speed: SpeedOption = 1.0
    noise_scale: NoiseOption = 0.5
    pause_seconds: PauseOption = 0.3
    split: SplitOption = "auto"
    attempts: AttemptsOption = 3
    guidance: GuidanceOption = None
    check: CheckOption = "tokens"
    detector: DetectorOption = None


@dataclass(frozen=True)
class MachineOptions:
    """Where it runs."""

    threads: ThreadsOption = 0
    engine: EngineOption = "auto"
    device: DeviceOption = "auto"
    precision: PrecisionOption = "fp32"
    compile: CompileOption = False
    root: RootOption = Path()


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer sees it: in place of each parameter that is a group, the fields of the group."""
    hints = get_type_hints(command, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if isinstance(kind, type) and is_dataclass(kind)}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        kind = hints[parameter.name]
        if parameter.name not in groups:
            parameters.append(_option(parameter.name, kind, parameter.default))
            continue
        types = get_type_hints(kind, include_extras=True)
        parameters += [_option(entry.name, types[entry.name], entry.default) for entry in fields(kind)]

    @functools.wraps(command)
    def grouped(**values: Any) -> None:
        for name, kind in groups.items():
            values[name] = kind(**{entry.name: values.pop(entry.name) for entry in fields(kind)})
        command(**values)

    grouped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    grouped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return grouped


def _option(name: str, kind: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
