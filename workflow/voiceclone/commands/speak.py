"""Commands: ``voiceclone say``, ``voiceclone stream`` and ``voiceclone batch``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import typer

from voiceclone.commands.options import (
    BatchSizeOption,
    CheckOption,
    ClipOptions,
    DetectorOption,
    LanguageOption,
    LoudnessOption,
    MachineOptions,
    NoticeOption,
    SeedOption,
    StyleOptions,
    TextOptions,
    TimestampsOption,
    TrimOption,
    VoiceOptions,
    with_groups,
)
from voiceclone.errors import EXIT_FAILURE, ConfigError
from voiceclone.speaking.options import DetectorSettings, SpeechOptions, with_texts

if TYPE_CHECKING:
    from voiceclone.speaking.result import Listener, Speech
    from voiceclone.speaking.voices import Clip, Voice

#: Sentences of a text from which its progress is shown.
LONG_TEXT = 10


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command()(with_groups(say))
    app.command()(with_groups(batch))
    app.command()(with_groups(read))
    app.command()(with_groups(stream, options=("pitch", "pitch_range")))


def say(
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Sound file to write: .wav, .flac, .ogg, .opus or .mp3.")
    ],
    text: TextOptions,
    language: LanguageOption = "",
    model: VoiceOptions,
    clip: ClipOptions,
    styles: StyleOptions,
    seed: SeedOption = 0,
    options: SpeechOptions,
    check: CheckOption = "tokens",
    detector: DetectorOption = None,
    notice: NoticeOption = "auto",
    timestamps: TimestampsOption = None,
    loudness: LoudnessOption = 0.0,
    trim: TrimOption = False,
    certificate: Annotated[
        Path | None, typer.Option(help="Chain of certificates, PEM, of a C2PA manifest in the file.", dir_okay=False)
    ] = None,
    certificate_key: Annotated[Path | None, typer.Option(help="Private key of the first, PEM.", dir_okay=False)] = None,
    machine: MachineOptions,
) -> None:
    """Speak a text with a bundle or with models."""
    from voiceclone.marks.labels import notice_of, tone, with_notice
    from voiceclone.marks.manifest import open_certificate
    from voiceclone.speaking.result import Finish, check_format, write_speech
    from voiceclone.speaking.timing import check_timestamps, write_timestamps

    signer = open_certificate(certificate, certificate_key, check_format(output))
    check_timestamps(timestamps)
    words = _words(text)
    options = replace(options, detector=_detector(detector))
    voice = _voice(model, clip, styles, machine)
    listener, _ = _listener(check, options.detector, machine)
    voice.check_use("private", words, language)
    heard_first = notice_of(notice, voice.rights)
    words = with_notice(words, heard_first, language or voice.synthesizer.language)
    speech = voice.synthesizer.say(
        words, language, seed=seed, options=options, listener=listener, on_piece=_shown_progress()
    )
    before = tone(heard_first, speech.rate)
    finished, cut = Finish(loudness, trim).apply(speech.samples, speech.rate)
    if timestamps is not None:
        times = voice.synthesizer.words_of(speech, language, len(before) / speech.rate - cut)
        write_timestamps(timestamps, list(zip((piece.text for piece in speech.pieces), times, strict=True)))
    speech.samples = np.concatenate([before, finished])
    write_speech(output, speech, voice.rights, signer)
    spent = sum(speech.timings.values()) / 1000
    typer.echo(f"{output}: {speech.seconds:.2f} s of speech in {spent:.2f} s")
    _report(speech)


def stream(
    *,
    text: TextOptions,
    language: LanguageOption = "",
    model: VoiceOptions,
    clip: ClipOptions,
    styles: StyleOptions,
    seed: SeedOption = 0,
    options: SpeechOptions,
    notice: NoticeOption = "auto",
    machine: MachineOptions,
) -> None:
    """Speak a text while it is computed: samples of 16 bits, mono, little-endian, to standard output."""
    from voiceclone.marks.labels import notice_of, tone, voice_id, with_notice
    from voiceclone.speaking.streaming import stream as parts_of

    words = _words(text)
    opened = _voice(model, clip, styles, machine)
    opened.check_use("private", words, language)
    voice = opened.synthesizer
    heard_first = notice_of(notice, opened.rights)
    words = with_notice(words, heard_first, language or voice.language)
    began, first, samples = time.perf_counter(), 0.0, 0
    start = [tone(heard_first, voice.sample_rate)]
    for part in chain(start, parts_of(voice, words, language, seed=seed, options=options)):
        first = first or time.perf_counter() - began
        samples += len(part)
        sys.stdout.buffer.write((part * 32767).astype("<i2").tobytes())
        sys.stdout.buffer.flush()
    spent = time.perf_counter() - began
    typer.echo(
        f"{samples / voice.sample_rate:.2f} s of speech at {voice.sample_rate} Hz in {spent:.2f} s, "
        f"the first after {first:.2f} s; AI-generated, marked as voice {voice_id(voice.number)}",
        err=True,
    )


def batch(
    *,
    table: Annotated[
        Path, typer.Option(help="TSV with the columns name and text; others are optional.", exists=True, dir_okay=False)
    ],
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", help="Folder of the sound files and results.tsv.")],
    format: Annotated[
        Literal["wav", "flac", "ogg", "opus", "mp3"], typer.Option(help="Format of the sound files.")
    ] = "flac",
    language: LanguageOption = "",
    model: VoiceOptions,
    clip: ClipOptions,
    styles: StyleOptions,
    seed: SeedOption = 0,
    options: SpeechOptions,
    check: CheckOption = "tokens",
    detector: DetectorOption = None,
    timestamps: Annotated[
        Literal["none", "json", "srt", "vtt"],
        typer.Option(help="Beside each sound file: words with their times, or subtitles."),
    ] = "none",
    loudness: LoudnessOption = 0.0,
    trim: TrimOption = False,
    batch_size: BatchSizeOption = 1,
    machine: MachineOptions,
) -> None:
    """Speak every row of a table that is new or has changed. Exits with 1 if a row failed."""
    from voiceclone.progress import Progress
    from voiceclone.speaking.batch import Defaults, check_free, read_jobs, speak_table
    from voiceclone.speaking.result import Finish

    check_free(output_dir)
    options = replace(options, detector=_detector(detector))
    jobs = read_jobs(table, Defaults(language, seed, options, styles.any_length))
    voice = _voice(model, clip, styles, machine)
    voice.check_use("private")
    listener, name = _listener(check, options.detector, machine)
    progress = Progress("batch", len(jobs))
    form = "" if timestamps == "none" else f".{timestamps}"
    counts = speak_table(
        voice, jobs, output_dir, f".{format}", listener, name, progress, batch_size, form, Finish(loudness, trim)
    )
    typer.echo(
        f"{output_dir / 'results.tsv'}: {counts['ok']} spoken, {counts['kept']} unchanged, {counts['failed']} failed"
    )
    for line in voice.hit_rates():
        typer.echo(line)
    if counts["failed"]:
        raise typer.Exit(EXIT_FAILURE)


def read(
    book: Annotated[Path, typer.Argument(help="A .txt, .md, .epub or .srt.", exists=True, dir_okay=False)],
    *,
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", help="Folder of the chapters.")],
    format: Annotated[
        Literal["wav", "flac", "ogg", "opus", "mp3"], typer.Option(help="Format of the chapters.")
    ] = "flac",
    whole: Annotated[
        Literal["none", "m4b", "mp3"], typer.Option("--book", help="One file of all chapters with marks, by ffmpeg.")
    ] = "none",
    loudness: LoudnessOption = -18.0,
    fastest: Annotated[float, typer.Option(min=1, max=4, help="Highest speed of a subtitle of a .srt.")] = 1.5,
    language: LanguageOption = "",
    model: VoiceOptions,
    clip: ClipOptions,
    styles: StyleOptions,
    seed: SeedOption = 0,
    options: SpeechOptions,
    check: CheckOption = "tokens",
    detector: DetectorOption = None,
    notice: NoticeOption = "auto",
    machine: MachineOptions,
) -> None:
    """Read a book aloud, a file for each chapter, or speak subtitles at their times. Exits with 1 if a sentence failed.

    Run again, it speaks only what is new, has changed, or is pronounced otherwise.
    """
    from voiceclone.marks.labels import notice_of
    from voiceclone.speaking.batch import Defaults, check_free
    from voiceclone.speaking.reading import Reader, ReadingSettings
    from voiceclone.speaking.result import Finish
    from voiceclone.text.books import read_book, read_subtitles

    check_free(output_dir)
    options = replace(options, detector=_detector(detector))
    subtitles = read_subtitles(book) if book.suffix.lower() == ".srt" else []
    chapters = [] if subtitles else read_book(book)
    ending = "" if whole == "none" else f".{whole}"
    voice = _voice(model, clip, styles, machine)
    voice.check_use("private")
    heard_first = notice_of(notice, voice.rights)
    settings = ReadingSettings(f".{format}", ending, Finish(loudness), fastest, book.stem, heard_first)
    listener, name = _listener(check, options.detector, machine)
    defaults = Defaults(language, seed, options, styles.any_length)
    reader = Reader(voice, output_dir, defaults, settings, listener, name)
    counts = reader.dub(subtitles) if subtitles else reader.read(chapters)
    typer.echo(
        f"{output_dir}: {counts['chapters']} chapters written; {counts['ok']} sentences spoken, "
        f"{counts['kept']} unchanged, {counts['failed']} failed"
    )
    if counts["failed"]:
        raise typer.Exit(EXIT_FAILURE)


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
    if options.style:
        raise ConfigError("expected one of --reference and --style")
    more = tuple(styles.style_reference or ())
    return Clip(options.reference, options.reference_text, options.reference_language, more, styles.any_length)


def _voice(options: VoiceOptions, like: ClipOptions, styles: StyleOptions, machine: MachineOptions) -> Voice:
    from voiceclone.speaking.voices import open_bundle, open_models

    clip = _clip(like, styles)
    if options.bundle is not None and options.models is None:
        if machine.precision != "fp32" or machine.compile:
            raise ConfigError(
                "--precision and --compile: for --models only, a bundle is fixed by its export",
                "use another bundle, for example onnx-fp16 or onnx-int8",
            )
        return open_bundle(
            options.bundle, machine.root, machine.threads, clip, options.encoders, machine.device, machine.engine,
            like.style,
        )  # fmt: skip
    if options.models is not None and options.bundle is None:
        from voiceclone.device import choose_device

        device = choose_device(machine.device, machine.threads)
        precision, compiled = machine.precision, machine.compile
        return open_models(
            options.models, machine.root, options.features, clip, device, precision, compiled, like.style
        )
    raise ConfigError(
        "expected one of --bundle and --models",
        "--bundle results/NAME/export/onnx-fp32, or --models results/NAME/models",
    )


def _listener(check: str, settings: DetectorSettings, machine: MachineOptions) -> tuple[Listener | None, str]:
    """The recogniser that checks sentences, and its name."""
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


def _report(speech: Speech) -> None:
    """Report the findings of the detector, sentence by sentence."""
    for piece in speech.pieces:
        if piece.findings:
            found = "; ".join(map(str, piece.findings))
            typer.echo(f"warning: {piece.text[:60]!r}: {found}, after {piece.attempts} attempt(s)", err=True)
        elif piece.attempts > 1:
            typer.echo(f"{piece.text[:60]!r}: spoken {piece.attempts} times, the last one is in order")
