"""Commands: ``voiceclone bundle verify``, ``build``, ``pack`` and ``unpack``; voices from and to GPT-SoVITS:
``voiceclone import`` and ``voiceclone export-upstream``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voiceclone.commands.options import EncodersOption, RootOption


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    bundle = typer.Typer(help="Exported bundles.", no_args_is_help=True)
    bundle.command()(verify)
    bundle.command()(build)
    bundle.command("pack")(pack_bundle)
    bundle.command("unpack")(unpack_bundle)
    app.add_typer(bundle, name="bundle")
    app.command("import")(import_)
    app.command("export-upstream")(export)


def import_(
    gpt: Annotated[Path, typer.Option(help="GPT file, .ckpt.", exists=True, dir_okay=False)],
    sovits: Annotated[
        Path, typer.Option(help="SoVITS file of v2, v2Pro or v2ProPlus, .pth.", exists=True, dir_okay=False)
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of models to make, to speak with.")
    ] = None,
    speaker: Annotated[str, typer.Option(help="Make it a voice of this name that the workflow exports.")] = "",
    licence: Annotated[str, typer.Option(help="Of the weights, with --speaker.")] = "not stated",
    root: RootOption = Path(),
) -> None:
    """Import a voice that was trained with GPT-SoVITS."""
    from voiceclone.errors import ConfigError
    from voiceclone.export.upstream import import_voice, register_voice

    if (output is None) == (not speaker):
        raise ConfigError("expected one of --output and --speaker")
    if output is None:
        for line in register_voice(gpt, sovits, speaker, root, licence):
            typer.echo(line)
        typer.echo(
            f"next: a clip of 3 to 10 s in resources/speakers/{speaker}, 'voiceclone consent {speaker}', "
            f"'snakemake --cores all {speaker}'"
        )
        return
    for line in import_voice(gpt, sovits, output):
        typer.echo(line)
    typer.echo(f"{output}: written")


def export(
    models: Annotated[Path, typer.Option(help="Folder of trained models, results/NAME/models.", exists=True)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for NAME.ckpt and NAME.pth.")],
    name: Annotated[str, typer.Option(help="Name of the files; default: that of the voice.")] = "",
) -> None:
    """Write a voice as the two files that GPT-SoVITS loads."""
    from voiceclone.export.upstream import export_upstream
    from voiceclone.files import read_json
    from voiceclone.lineage.rights import check_use

    if (models / "gpt.json").is_file():  # what leaves this program takes neither watermark nor terms along
        check_use(read_json(models / "gpt.json"), "release", where=str(models))
    for path in export_upstream(models, output, name):
        typer.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


def verify(
    bundle: Annotated[Path, typer.Argument(help="Folder of an exported bundle, or a packed one.")],
    encoders: EncodersOption = None,
    root: RootOption = Path(),
) -> None:
    """Compare the files of a bundle, and its encoders if present, with their digests; speak a short sentence."""
    from voiceclone.backends.archive import verify_packed
    from voiceclone.backends.bundle import BUNDLE_FILE, read_bundle, verify_bundle
    from voiceclone.lineage.rights import NONE_GIVEN, in_words
    from voiceclone.speaking.voices import encoder_files, open_bundle
    from voiceclone.targets import TENSORRT, runtime_of
    from voiceclone.tensorrt.engines import why_not

    if bundle.is_file() and bundle.name != BUNDLE_FILE:
        description = verify_packed(bundle)
        typer.echo(f"{bundle}: voice {description['voice']}, {description['target']}, all files as recorded")
        return
    description = verify_bundle(bundle)
    files = encoder_files(read_bundle(bundle)[1], description, root, encoders)
    for purpose, entry in files.listed.items():
        present = bool(files.digest(purpose)) and files.present(purpose) is not None
        typer.echo(f"encoder {entry['name']}: " + (f"{files.find(purpose)}, as recorded" if present else "not here"))
    reason = why_not() if runtime_of(description["target"]) == TENSORRT else ""
    voice = open_bundle(bundle, root, encoders=encoders, engine="onnxruntime" if reason else "auto")
    speech = voice.synthesizer.say(description["smoke_text"], attempts=1)
    typer.echo(
        f"{bundle}: {len(description['files'])} files as recorded; "
        f"spoke {speech.seconds:.2f} s with voice {description['voice']}"
        + (f", by onnxruntime: {reason}" if reason else "")
    )
    if voice.styles:
        typer.echo(f"styles: {', '.join(sorted(voice.styles))}")
    typer.echo(
        f"licence of the recordings: {description.get('licence', NONE_GIVEN)}\n"
        f"consent of their speaker, sha256: {description.get('consent_sha256', NONE_GIVEN)}; {in_words(description)}"
    )


def pack_bundle(
    bundle: Annotated[Path, typer.Argument(help="Folder of an exported bundle.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write, such as anna.voice.")],
    with_encoders: Annotated[
        bool, typer.Option("--with-encoders", help="With the encoders of new clips and of Chinese text.")
    ] = False,
    encoders: EncodersOption = None,
    root: RootOption = Path(),
) -> None:
    """Write a bundle as one file with checksums."""
    from voiceclone.backends.archive import pack
    from voiceclone.backends.bundle import read_bundle
    from voiceclone.speaking.voices import encoder_files

    description, folder = read_bundle(bundle)
    files = encoder_files(folder, description, root, encoders)
    paths = [files.find(purpose) for purpose in files.listed] if with_encoders else []
    count = pack(folder, output, {path.name: path for path in paths})
    typer.echo(f"{output}: {count} files, {output.stat().st_size / 1e6:.1f} MB")


def unpack_bundle(
    file: Annotated[Path, typer.Argument(help="A packed bundle.", exists=True, dir_okay=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to make.")],
) -> None:
    """Unpack a bundle to a folder, after comparing all of it with its checksums."""
    from voiceclone.backends.archive import unpack

    description = unpack(file, output)
    typer.echo(f"{output}: voice {description['voice']}, {description['target']}, all files as recorded")


def build(bundle: Annotated[Path, typer.Argument(help="Folder of a bundle of trt-fp16 or trt-int8.")]) -> None:
    """Build the TensorRT engines of a bundle for this machine's GPU; existing ones are kept."""
    from voiceclone.backends.bundle import read_bundle
    from voiceclone.tensorrt.engines import build_engines

    description, folder = read_bundle(bundle)
    machine = build_engines(folder, description)
    typer.echo(f"{bundle}: engines for {machine.gpu}, TensorRT {machine.tensorrt}")
