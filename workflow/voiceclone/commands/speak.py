"""Commands: ``voiceclone say``, ``voiceclone stream``, ``voiceclone batch`` and ``voiceclone bundle verify``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from voiceclone.commands.options import (
    BatchSizeOption,
    CheckOption,
    ClipOptions,
    DetectorOption,
    EncodersOption,
    LanguageOption,
    MachineOptions,
    RootOption,
    SeedOption,
    StyleOptions,
    TextOptions,
    VoiceOptions,
    with_groups,
)
from voiceclone.errors import EXIT_FAILURE, ConfigError
from voiceclone.speaking.options import DetectorSettings, SpeechOptions, with_texts

if TYPE_CHECKING:
    from voiceclone.speaking.result import Listener, Speech
    from voiceclone.speaking.voices import Clip, Voice

#: Pieces of a text from which its progress is shown.
LONG_TEXT = 10

bundle_app = typer.Typer(help="Exported bundles.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this package's commands to the program."""
    app.command()(with_groups(say))
    app.command()(with_groups(batch))
    app.command()(with_groups(stream, options=("pitch", "pitch_range")))
    app.add_typer(bundle_app, name="bundle")


def say(
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Sound file to write: .wav, .flac or .ogg.")],
    text: TextOptions,
    language: LanguageOption = "",
    model: VoiceOptions,
    clip: ClipOptions,
    styles: StyleOptions,
    seed: SeedOption = 0,
    options: SpeechOptions,
    check: CheckOption = "tokens",
    detector: DetectorOption = None,
    machine: MachineOptions,
) -> None:
    """Speak a text with a bundle or with models."""
    from voiceclone.speaking.result import check_format, write_speech

    check_format(output)
    words = _words(text)
    options = replace(options, detector=_detector(detector))
    voice = _voice(model, _clip(clip, styles), machine)
    listener, _ = _listener(check, options.detector, machine)
    speech = voice.synthesizer.say(
        words, language, seed=seed, options=options, listener=listener, on_piece=_shown_progress()
    )
    write_speech(output, speech)
    spent = sum(speech.timings.values()) / 1000
    typer.echo(f"{output}: {speech.seconds:.2f} s of speech in {spent:.2f} s")
    _tell(speech)


def stream(
    *,
    text: TextOptions,
    language: LanguageOption = "",
    model: VoiceOptions,
    clip: ClipOptions,
    styles: StyleOptions,
    seed: SeedOption = 0,
    options: SpeechOptions,
    machine: MachineOptions,
) -> None:
    """Speak a text as it is made: samples of 16 bits, mono, little-endian, to standard output."""
    from voiceclone.lineage.rights import GENERATED_NOTICE
    from voiceclone.speaking.streaming import stream as parts_of

    words = _words(text)
    voice = _voice(model, _clip(clip, styles), machine).synthesizer
    began, first, samples = time.perf_counter(), 0.0, 0
    for part in parts_of(voice, words, language, seed=seed, options=options):
        first = first or time.perf_counter() - began
        samples += len(part)
        sys.stdout.buffer.write((part * 32767).astype("<i2").tobytes())
        sys.stdout.buffer.flush()
    spent = time.perf_counter() - began
    typer.echo(
        f"{samples / voice.sample_rate:.2f} s of speech at {voice.sample_rate} Hz in {spent:.2f} s, "
        f"the first after {first:.2f} s; {GENERATED_NOTICE}: samples carry no mark, say so where they are heard",
        err=True,
    )


def batch(
    *,
    table: Annotated[
        Path, typer.Option(help="TSV with the columns name and text, and others.", exists=True, dir_okay=False)
    ],
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", help="Folder of the sound files and results.tsv.")],
    format: Annotated[Literal["wav", "flac", "ogg"], typer.Option(help="Of the sound files.")] = "flac",
    language: LanguageOption = "",
    model: VoiceOptions,
    clip: ClipOptions,
    styles: StyleOptions,
    seed: SeedOption = 0,
    options: SpeechOptions,
    check: CheckOption = "tokens",
    detector: DetectorOption = None,
    batch_size: BatchSizeOption = 1,
    machine: MachineOptions,
) -> None:
    """Speak every row of a table; rows that are there are not spoken again. Ends with 1 if a row failed."""
    from voiceclone.progress import Progress
    from voiceclone.speaking.batch import Defaults, check_free, read_jobs, speak_table

    check_free(output_dir)
    options = replace(options, detector=_detector(detector))
    jobs = read_jobs(table, Defaults(language, seed, options, styles.any_length))
    voice = _voice(model, _clip(clip, styles), machine)
    listener, name = _listener(check, options.detector, machine)
    progress = Progress("batch", len(jobs))
    counts = speak_table(voice, jobs, output_dir, f".{format}", listener, name, progress, batch_size)
    typer.echo(
        f"{output_dir / 'results.tsv'}: {counts['ok']} spoken, {counts['kept']} were there, {counts['failed']} failed"
    )
    for line in voice.hit_rates():
        typer.echo(line)
    if counts["failed"]:
        raise typer.Exit(EXIT_FAILURE)


@bundle_app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="Folder of an exported bundle.")],
    encoders: EncodersOption = None,
    root: RootOption = Path(),
) -> None:
    """Compare every file of a bundle, and its encoders where they are, with their digests; speak a short sentence."""
    from voiceclone.backends.bundle import read_bundle, verify_bundle
    from voiceclone.lineage.rights import NONE_GIVEN
    from voiceclone.speaking.voices import encoder_files, open_bundle
    from voiceclone.targets import TENSORRT, runtime_of
    from voiceclone.tensorrt.engines import why_not

    description = verify_bundle(bundle)
    files = encoder_files(read_bundle(bundle)[1], description, root, encoders)
    for purpose, entry in files.named.items():
        there = bool(files.digest(purpose)) and files.present(purpose) is not None
        typer.echo(f"encoder {entry['name']}: " + (f"{files.find(purpose)}, as recorded" if there else "not here"))
    reason = why_not() if runtime_of(description["target"]) == TENSORRT else ""
    voice = open_bundle(bundle, root, encoders=encoders, engine="onnxruntime" if reason else "auto")
    speech = voice.synthesizer.say(description["smoke_text"], attempts=1)
    typer.echo(
        f"{bundle}: {len(description['files'])} files as recorded; "
        f"spoke {speech.seconds:.2f} s with voice {description['voice']}"
        + (f", by onnxruntime: {reason}" if reason else "")
    )
    typer.echo(
        f"licence of the recordings: {description.get('licence', NONE_GIVEN)}\n"
        f"consent of their speaker, sha256: {description.get('consent_sha256', NONE_GIVEN)}"
    )


@bundle_app.command()
def build(bundle: Annotated[Path, typer.Argument(help="Folder of a bundle of trt-fp16 or trt-int8.")]) -> None:
    """Build the TensorRT engines of a bundle for this machine's GPU; what is there is kept."""
    from voiceclone.backends.bundle import read_bundle
    from voiceclone.tensorrt.engines import build_engines

    description, folder = read_bundle(bundle)
    machine = build_engines(folder, description)
    typer.echo(f"{bundle}: engines for {machine.gpu}, TensorRT {machine.tensorrt}")


def _words(options: TextOptions) -> str:
    """The text of ``--text`` or ``--text-file``."""
    from voiceclone.usertext import decode, read_user_text

    file = options.text_file
    if bool(options.text) == (file is not None):
        raise ConfigError("expected one of --text and --text-file", "voiceclone say --text 'Good morning.' ...")
    if file is None:
        return options.text
    if str(file) == "-":
        return decode(sys.stdin.buffer.read(), "--text-file -")
    return read_user_text(file, name=f"--text-file {file}")


def _detector(pairs: list[str] | None) -> DetectorSettings:
    """The limits of ``--detector``."""
    limits = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--detector {pair}: expected KEY=VALUE, for example loop_share=0.9")
        limits[key] = value
    try:
        return with_texts(DetectorSettings(), limits)
    except ConfigError as error:
        raise ConfigError(f"--detector {error.message}") from None


def _clip(options: ClipOptions, styles: StyleOptions) -> Clip | None:
    from voiceclone.speaking.voices import Clip

    if options.reference is None:
        if options.reference_text or options.reference_language or styles.style_reference:
            raise ConfigError("--reference-text, --reference-language and --style-reference need --reference")
        return None
    more = tuple(styles.style_reference or ())
    return Clip(options.reference, options.reference_text, options.reference_language, more, styles.any_length)


def _voice(options: VoiceOptions, clip: Clip | None, machine: MachineOptions) -> Voice:
    from voiceclone.speaking.voices import open_bundle, open_models

    if options.bundle is not None and options.models is None:
        if machine.precision != "fp32" or machine.compile:
            raise ConfigError(
                "--precision and --compile: are for --models, a bundle is as it was exported",
                "take another bundle, for example onnx-fp16 or onnx-int8",
            )
        return open_bundle(
            options.bundle, machine.root, machine.threads, clip, options.encoders, machine.device, machine.engine
        )
    if options.models is not None and options.bundle is None:
        from voiceclone.device import choose_device

        device = choose_device(machine.device, machine.threads)
        precision, compiled = machine.precision, machine.compile
        return open_models(options.models, machine.root, options.features, clip, device, precision, compiled)
    raise ConfigError(
        "expected one of --bundle and --models",
        "--bundle results/NAME/export/onnx-fp32, or --models results/NAME/models",
    )


def _listener(check: str, settings: DetectorSettings, machine: MachineOptions) -> tuple[Listener | None, str]:
    """What listens to pieces, and its name."""
    if check != "asr":
        return None, ""
    from voiceclone.speaking.listening import best_recogniser, open_listener
    from voiceclone.speaking.voices import asset_finder

    asset = asset_finder(machine.root)(best_recogniser(machine.root))
    return open_listener(asset, settings, machine.threads), f"{asset.name} {asset.digest}"


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
