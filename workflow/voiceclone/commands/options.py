"""Options of the speaking commands: a group is a frozen dataclass, and :func:`with_groups` makes options of its fields.

How a text is spoken is declared in :mod:`voiceclone.speaking.options`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from voiceclone.speaking.options import Options, callers_options
from voiceclone.speaking.runtimes import Engine

VOICE, CLIP, SPEECH, MACHINE = "Voice", "Reference clip", "Speech", "Machine"
TextOption = Annotated[str, typer.Option(help="Text to speak.")]
TextFileOption = Annotated[
    Path | None,
    typer.Option(help="Text file to speak, in UTF-8 or another common encoding; -: standard input."),
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
    typer.Option("--features", help="Features with the voice's own clip; default: beside the models.",
                 rich_help_panel=VOICE),
]  # fmt: skip
LanguageOption = Annotated[
    str,
    typer.Option(
        "--language", help="ISO code of the text's language, or auto for mixed text; default: the voice's own."
    ),
]
ReferenceOption = Annotated[
    Path | None,
    typer.Option(help="Clip to speak like, 3 to 10 s; default: the voice's own.", rich_help_panel=CLIP),
]
ReferenceTextOption = Annotated[
    str,
    typer.Option(help="Words of the clip; default: only its sound is used.", rich_help_panel=CLIP),
]
ReferenceLanguageOption = Annotated[
    str, typer.Option(help="Language of the clip's words; default: auto.", rich_help_panel=CLIP)
]
StyleOption = Annotated[
    str,
    typer.Option("--style", help="Style of the voice to speak in, a folder of its recordings; default: its own clip.",
                 rich_help_panel=CLIP),
]  # fmt: skip
StylesOption = Annotated[
    list[Path] | None,
    typer.Option(help="Further clips whose sound is averaged with the first; repeatable.", rich_help_panel=CLIP),
]
AnyLengthOption = Annotated[
    bool, typer.Option("--any-length", help="Accept clips outside 3 to 10 s.", rich_help_panel=CLIP)
]
EncodersOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder of a bundle's encoders, needed for clips and Chinese text; default: encoders/ in the bundle or "
        "beside it, or resources/encoders.",
        rich_help_panel=VOICE,
    ),
]
SeedOption = Annotated[int, typer.Option(min=0, help="The same seed gives the same speech.", rich_help_panel=SPEECH)]
CheckOption = Annotated[
    Literal["tokens", "asr"],
    typer.Option(help="Judge sentences by tokens and lengths, or by a recogniser too.", rich_help_panel=SPEECH),
]
DetectorOption = Annotated[
    list[str] | None,
    typer.Option(help="KEY=VALUE, a limit of the detector, for example loop_share=0.9.", rich_help_panel=SPEECH),
]
NoticeOption = Annotated[
    Literal["auto", "none", "tone", "spoken"],
    typer.Option(help="What is heard first: words that say it is AI-generated, AI in Morse code, or nothing; auto: the "
                 "tone where the consent is for serve or release.",
                 rich_help_panel=SPEECH),
]  # fmt: skip
TimestampsOption = Annotated[
    Path | None,
    typer.Option(help="File to write too: words with their times (.json), or subtitles (.srt, .vtt).",
                 rich_help_panel=SPEECH),
]  # fmt: skip
LoudnessOption = Annotated[
    float,
    typer.Option(min=-40, max=0, help="Loudness of the whole in LUFS, peaks limited to -1 dBTP; 0: as it is.",
                 rich_help_panel=SPEECH),
]  # fmt: skip
TrimOption = Annotated[
    bool, typer.Option("--trim", help="Take silence from the beginning and the end.", rich_help_panel=SPEECH)
]
ThreadsOption = Annotated[int, typer.Option(min=0, help="CPU threads; 0: automatic.", rich_help_panel=MACHINE)]
EngineOption = Annotated[
    Engine,
    typer.Option(help="For --bundle; auto: TensorRT for its targets, kernels given a C compiler, else onnxruntime.",
                 rich_help_panel=MACHINE),
]  # fmt: skip
DeviceOption = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option(help="auto: the GPU, if there is one, for --models and trt bundles.", rich_help_panel=MACHINE),
]
PrecisionOption = Annotated[
    Literal["fp32", "fp16", "bf16"],
    typer.Option(help="For --models on a GPU; half precision is faster and may draw other tokens.",
                 rich_help_panel=MACHINE),
]  # fmt: skip
CompileOption = Annotated[
    bool,
    typer.Option("--compile", help="Compile --models with torch.compile first, for long runs.",
                 rich_help_panel=MACHINE),
]  # fmt: skip
BatchSizeOption = Annotated[
    int, typer.Option(min=1, max=256, help="Rows decoded together, with --models.", rich_help_panel=MACHINE)
]
RootOption = Annotated[Path, typer.Option(help="Working folder with config/ and resources/.", rich_help_panel=MACHINE)]


@dataclass(frozen=True)
class TextOptions:
    """The text."""

    text: TextOption = ""
    text_file: TextFileOption = None


@dataclass(frozen=True)
class VoiceOptions:
    """The voice."""

    bundle: BundleOption = None
    models: ModelsOption = None
    features: FeaturesOption = None
    encoders: EncodersOption = None


@dataclass(frozen=True)
class ClipOptions:
    """The reference clip."""

    reference: ReferenceOption = None
    reference_text: ReferenceTextOption = ""
    reference_language: ReferenceLanguageOption = ""
    style: StyleOption = ""


@dataclass(frozen=True)
class StyleOptions:
    """More clips, and clips of any length."""

    style_reference: StylesOption = None
    any_length: AnyLengthOption = False


@dataclass(frozen=True)
class MachineOptions:
    """The machine that it runs on."""

    threads: ThreadsOption = 0
    engine: EngineOption = "auto"
    device: DeviceOption = "auto"
    precision: PrecisionOption = "fp32"
    compile: CompileOption = False
    root: RootOption = Path()


def with_groups(command: Callable[..., None], **only: Sequence[str]) -> Callable[..., None]:
    """The command as typer sees it: in place of each parameter that is a group, an option for each of its fields.

    Args:
        command: takes groups by keyword.
        only: fields of a group to offer, by the name of its parameter; the others keep their defaults.
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if isinstance(kind, type) and is_dataclass(kind)}
    parameters: list[inspect.Parameter] = []
    offered: dict[str, list[str]] = {}
    for parameter in inspect.signature(command).parameters.values():
        kind = hints[parameter.name]
        if parameter.name not in groups:
            parameters.append(_parameter(parameter.name, kind, parameter.default))
            continue
        entries = _entries(kind)
        offered[parameter.name] = [name for name in entries if name in only.get(parameter.name, entries)]
        parameters += [_parameter(name, *entries[name]) for name in offered[parameter.name]]

    @functools.wraps(command)
    def grouped(**values: Any) -> None:
        for name, kind in groups.items():
            values[name] = kind(**{field: values.pop(field) for field in offered[name]})
        command(**values)

    grouped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    grouped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return grouped


def _entries(group: Any) -> dict[str, tuple[Any, Any]]:
    """Type with typer's annotation, and default, of each field of a group; of speech options from their metadata."""
    hints = get_type_hints(group, include_extras=True)
    if not issubclass(group, Options):
        return {entry.name: (hints[entry.name], entry.default) for entry in fields(group)}
    entries = {}
    for name, (entry, _) in callers_options(group).items():
        limits = dict(zip(("min", "max"), entry.metadata["limits"] or (), strict=False))
        shown = typer.Option(help=entry.metadata["help"], rich_help_panel=SPEECH, **limits)
        entries[name] = Annotated[hints[name], shown], entry.default
    return entries


def _parameter(name: str, kind: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
