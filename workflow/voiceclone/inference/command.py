"""Commands: ``voiceclone say``, ``voiceclone batch`` and ``voiceclone bundle verify``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from voiceclone.errors import EXIT_FAILURE, ConfigError, DataError

if TYPE_CHECKING:
    from voiceclone.inference.synthesizer import Listener, Speech
    from voiceclone.inference.voices import Clip, Voice

#: Pieces of a text from which its progress is shown.
LONG_TEXT = 10

bundle_app = typer.Typer(help="Exported bundles.", no_args_is_help=True)

VOICE, CLIP, MANNER, MACHINE = "Voice", "Reference clip (with --models)", "Manner", "Machine"
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
SpeedOption = Annotated[
    float, typer.Option(min=0.25, max=4.0, help="Above 1 faster; with --models.", rich_help_panel=MANNER)
]
NoiseOption = Annotated[float, typer.Option(min=0.0, max=2.0, help="Liveliness of the sound.", rich_help_panel=MANNER)]
PauseOption = Annotated[float, typer.Option(min=0.0, max=60.0, help="Silence between pieces.", rich_help_panel=MANNER)]
SplitOption = Annotated[
    str,
    typer.Option(
        help="How the text is cut: auto (sentences), or as the public program: none, four-sentences, "
        "fifty-characters, chinese-period, english-period, punctuation (cut0 to cut5).",
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
DeviceOption = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option(help="auto: the GPU for --models, where there is one, and for trt bundles.", rich_help_panel=MACHINE),
]
RootOption = Annotated[Path, typer.Option(help="Working folder with config/ and resources/.", rich_help_panel=MACHINE)]


def register(app: typer.Typer) -> None:
    """Add this package's commands to the program."""
    app.command()(say)
    app.command()(batch)
    app.command()(stream)
    app.add_typer(bundle_app, name="bundle")


def say(
    output: Annotated[Path, typer.Option("--output", "-o", help="Sound file to write: .wav, .flac or .ogg.")],
    text: Annotated[str, typer.Option(help="What to say.")] = "",
    text_file: Annotated[Path | None, typer.Option(help="UTF-8 file with what to say; - reads standard input.")] = None,
    language: LanguageOption = "",
    bundle: BundleOption = None,
    models: ModelsOption = None,
    features: FeaturesOption = None,
    reference: ReferenceOption = None,
    reference_text: ReferenceTextOption = "",
    reference_language: ReferenceLanguageOption = "",
    style_reference: StylesOption = None,
    any_length: AnyLengthOption = False,
    seed: SeedOption = 0,
    top_k: TopKOption = 15,
    top_p: TopPOption = 1.0,
    temperature: TemperatureOption = 1.0,
    repetition_penalty: PenaltyOption = 1.35,
    speed: SpeedOption = 1.0,
    noise_scale: NoiseOption = 0.5,
    pause_seconds: PauseOption = 0.3,
    split: SplitOption = "auto",
    attempts: AttemptsOption = 3,
    check: CheckOption = "tokens",
    detector: DetectorOption = None,
    threads: ThreadsOption = 0,
    device: DeviceOption = "auto",
    root: RootOption = Path(),
) -> None:
    """Speak a text with a bundle or with models."""
    from voiceclone.inference.sound import check_format, write_speech

    check_format(output)
    words = _words(text, text_file)
    speaking = _speaking(locals())
    clip = _clip(reference, reference_text, reference_language, style_reference, any_length)
    voice = _voice(bundle, models, features, clip, root, threads, device)
    listener, _ = _listener(check, root, speaking.detector, threads)
    speech = voice.synthesizer.say(
        words, language, seed=seed, speaking=speaking, listener=listener, on_piece=_shown_progress()
    )
    write_speech(output, speech)
    spent = sum(speech.timings.values()) / 1000
    typer.echo(f"{output}: {speech.seconds:.2f} s of speech in {spent:.2f} s")
    _tell(speech)


def stream(
    text: Annotated[str, typer.Option(help="What to say.")] = "",
    text_file: Annotated[Path | None, typer.Option(help="UTF-8 file with what to say; - reads standard input.")] = None,
    language: LanguageOption = "",
    bundle: BundleOption = None,
    models: ModelsOption = None,
    features: FeaturesOption = None,
    reference: ReferenceOption = None,
    reference_text: ReferenceTextOption = "",
    reference_language: ReferenceLanguageOption = "",
    seed: SeedOption = 0,
    threads: ThreadsOption = 0,
    device: DeviceOption = "auto",
    root: RootOption = Path(),
) -> None:
    """Speak a text as it is made: samples of 16 bits, mono, little-endian, to standard output."""
    from voiceclone.inference.streaming import stream as parts_of

    words = _words(text, text_file)
    clip = _clip(reference, reference_text, reference_language, None, False)
    voice = _voice(bundle, models, features, clip, root, threads, device).synthesizer
    began, first, samples = time.perf_counter(), 0.0, 0
    for part in parts_of(voice, words, language, seed=seed):
        first = first or time.perf_counter() - began
        samples += len(part)
        sys.stdout.buffer.write((part * 32767).astype("<i2").tobytes())
        sys.stdout.buffer.flush()
    spent = time.perf_counter() - began
    typer.echo(
        f"{samples / voice.sample_rate:.2f} s of speech at {voice.sample_rate} Hz in {spent:.2f} s, "
        f"the first after {first:.2f} s",
        err=True,
    )


def batch(
    table: Annotated[
        Path, typer.Option(help="TSV with the columns name and text, and others.", exists=True, dir_okay=False)
    ],
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", help="Folder of the sound files and results.tsv.")],
    format: Annotated[Literal["wav", "flac", "ogg"], typer.Option(help="Of the sound files.")] = "flac",
    language: LanguageOption = "",
    bundle: BundleOption = None,
    models: ModelsOption = None,
    features: FeaturesOption = None,
    reference: ReferenceOption = None,
    reference_text: ReferenceTextOption = "",
    reference_language: ReferenceLanguageOption = "",
    style_reference: StylesOption = None,
    any_length: AnyLengthOption = False,
    seed: SeedOption = 0,
    top_k: TopKOption = 15,
    top_p: TopPOption = 1.0,
    temperature: TemperatureOption = 1.0,
    repetition_penalty: PenaltyOption = 1.35,
    speed: SpeedOption = 1.0,
    noise_scale: NoiseOption = 0.5,
    pause_seconds: PauseOption = 0.3,
    split: SplitOption = "auto",
    attempts: AttemptsOption = 3,
    check: CheckOption = "tokens",
    detector: DetectorOption = None,
    threads: ThreadsOption = 0,
    device: DeviceOption = "auto",
    root: RootOption = Path(),
) -> None:
    """Speak every row of a table; rows that are there are not spoken again. Ends with 1 if a row failed."""
    from voiceclone.inference.batch import Defaults, check_free, read_jobs, speak_table
    from voiceclone.progress import Progress

    check_free(output_dir)
    speaking = _speaking(locals())
    jobs = read_jobs(table, Defaults(language, seed, speaking, any_length))
    clip = _clip(reference, reference_text, reference_language, style_reference, any_length)
    voice = _voice(bundle, models, features, clip, root, threads, device)
    listener, name = _listener(check, root, speaking.detector, threads)
    counts = speak_table(voice, jobs, output_dir, f".{format}", listener, name, Progress("batch", len(jobs)))
    typer.echo(
        f"{output_dir / 'results.tsv'}: {counts['ok']} spoken, {counts['kept']} were there, {counts['failed']} failed"
    )
    if counts["failed"]:
        raise typer.Exit(EXIT_FAILURE)


@bundle_app.command()
def verify(bundle: Annotated[Path, typer.Argument(help="Folder of an exported bundle.")]) -> None:
    """Compare every file of a bundle with its digest, then speak a short sentence."""
    from voiceclone.inference.bundle import verify_bundle
    from voiceclone.inference.engine_cache import why_not
    from voiceclone.inference.standard import is_tensorrt
    from voiceclone.inference.synthesizer import Synthesizer

    description = verify_bundle(bundle)
    reason = why_not() if is_tensorrt(description["target"]) else ""
    speech = Synthesizer.from_bundle(bundle, device="cpu" if reason else "auto").say(description["smoke_text"])
    typer.echo(
        f"{bundle}: {len(description['files'])} files as recorded; "
        f"spoke {speech.seconds:.2f} s with voice {description['voice']}"
        + (f", by onnxruntime: {reason}" if reason else "")
    )


@bundle_app.command()
def build(bundle: Annotated[Path, typer.Argument(help="Folder of a bundle of trt-fp16 or trt-int8.")]) -> None:
    """Build the TensorRT engines of a bundle for this machine's GPU; what is there is kept."""
    from voiceclone.export.tensorrt import build_engines
    from voiceclone.inference.bundle import read_bundle

    description, folder = read_bundle(bundle)
    machine = build_engines(folder, description)
    typer.echo(f"{bundle}: engines for {machine.gpu}, TensorRT {machine.tensorrt}")


def _words(text: str, file: Path | None) -> str:
    """The text of ``--text`` or ``--text-file``."""
    if bool(text) == (file is not None):
        raise ConfigError("expected one of --text and --text-file", "voiceclone say --text 'Good morning.' ...")
    if file is None:
        return text
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        return data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--text-file {file}: cannot be read as UTF-8 ({error})") from error


def _speaking(options: dict[str, Any]) -> Any:
    """How to speak, from the options of a command."""
    from pydantic import ValidationError

    from voiceclone.config.detector import DetectorSettings
    from voiceclone.inference.batch import MANNER as FIELDS
    from voiceclone.inference.batch import SAMPLING
    from voiceclone.inference.sampling import SamplingSettings
    from voiceclone.inference.speaking import Speaking

    limits = {}
    for pair in options["detector"] or []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--detector {pair}: expected KEY=VALUE, for example loop_share=0.9")
        limits[key] = value
    try:
        settings = DetectorSettings.model_validate(limits)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            f"--detector {'.'.join(map(str, first['loc']))}: {first['msg']}; "
            f"possible: {', '.join(DetectorSettings.model_fields)}"
        ) from error
    sampling = SamplingSettings(**{name: options[name] for name in SAMPLING})
    return replace(Speaking(**{name: options[name] for name in FIELDS}), sampling=sampling, detector=settings)


def _clip(path: Path | None, text: str, language: str, styles: list[Path] | None, any_length: bool) -> Clip | None:
    from voiceclone.inference.voices import Clip

    if path is None:
        if text or language or styles:
            raise ConfigError("--reference-text, --reference-language and --style-reference need --reference")
        return None
    return Clip(path, text, language, tuple(styles or ()), any_length)


def _voice(
    bundle: Path | None,
    models: Path | None,
    features: Path | None,
    clip: Clip | None,
    root: Path,
    threads: int,
    device: str,
) -> Voice:
    from voiceclone.inference.voices import open_bundle, open_models

    if (bundle is None) == (models is None):
        raise ConfigError(
            "expected one of --bundle and --models",
            "--bundle results/NAME/export/onnx-fp32, or --models results/NAME/models",
        )
    if bundle is not None:
        voice = open_bundle(bundle, root, threads, device)
        if clip is not None:
            voice.reference(clip)
        return voice
    from voiceclone.features.device import choose_device

    assert models is not None
    return open_models(models, root, features, clip, choose_device(device, threads))


def _listener(check: str, root: Path, settings: Any, threads: int) -> tuple[Listener | None, str]:
    """What listens to pieces, and its name."""
    if check != "asr":
        return None, ""
    from voiceclone.inference.listening import best_recogniser, open_listener
    from voiceclone.inference.voices import asset_finder

    asset = asset_finder(root)(best_recogniser(root))
    return open_listener(asset, settings, threads), f"{asset.name} {asset.digest}"


def _shown_progress() -> Callable[[int, int], None]:
    """Progress lines of a long text; none for a short one."""
    from voiceclone.progress import Progress

    lines: list[Progress] = []

    def show(done: int, total: int) -> None:
        if total >= LONG_TEXT:
            lines[:] = lines or [Progress("say", total)]
            lines[0].update()

    return show


def _tell(speech: Speech) -> None:
    """What the detector suspects, piece by piece."""
    for piece in speech.pieces:
        if piece.findings:
            found = "; ".join(map(str, piece.findings))
            typer.echo(f"warning: {piece.text[:60]!r}: {found}, after {piece.attempts} attempt(s)", err=True)
        elif piece.attempts > 1:
            typer.echo(f"{piece.text[:60]!r}: spoken {piece.attempts} times, the last one is in order")
