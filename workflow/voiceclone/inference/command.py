"""Commands: ``voiceclone say`` and ``voiceclone bundle verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voiceclone.errors import ConfigError

GENERATED_NOTICE = "AI-generated speech"

bundle_app = typer.Typer(help="Exported bundles.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this package's commands to the program."""
    app.command()(say)
    app.add_typer(bundle_app, name="bundle")


def say(
    bundle: Annotated[Path, typer.Option(help="Folder of an exported bundle.")],
    text: Annotated[str, typer.Option(help="What to say.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Sound file to write: .wav, .flac or .ogg.")],
    language: Annotated[
        str, typer.Option(help="ISO code of the text's language, or auto for mixed text; left out: the voice's own.")
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same speech.")] = 0,
    top_k: Annotated[int, typer.Option(min=1)] = 15,
    top_p: Annotated[float, typer.Option(min=0.01, max=1.0)] = 1.0,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0)] = 1.0,
    repetition_penalty: Annotated[float, typer.Option(min=1.0, max=3.0)] = 1.35,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: chosen by itself.")] = 0,
) -> None:
    """Speak a text with an exported voice."""
    import soundfile

    from voiceclone.files import atomic_path
    from voiceclone.inference.sampling import SamplingSettings
    from voiceclone.inference.synthesizer import Synthesizer

    if output.suffix.lower() not in (".wav", ".flac", ".ogg"):
        raise ConfigError(f"--output {output}: unknown format {output.suffix!r}, expected .wav, .flac or .ogg")
    sampling = SamplingSettings(
        top_k=top_k, top_p=top_p, temperature=temperature, repetition_penalty=repetition_penalty
    )
    speech = Synthesizer.from_bundle(bundle, threads).say(text, language, seed=seed, sampling=sampling)
    with (
        atomic_path(output) as temporary,
        soundfile.SoundFile(str(temporary), "w", speech.rate, 1, format=output.suffix[1:].upper()) as sound,
    ):
        sound.comment = GENERATED_NOTICE
        sound.write(speech.samples)
    seconds = len(speech.samples) / speech.rate
    spent = sum(speech.timings.values()) / 1000
    typer.echo(f"{output}: {seconds:.2f} s of speech in {spent:.2f} s")
    if speech.truncated:
        typer.echo(f"warning: {speech.truncated} sentence(s) found no end and were cut at the length limit", err=True)


@bundle_app.command()
def verify(bundle: Annotated[Path, typer.Argument(help="Folder of an exported bundle.")]) -> None:
    """Compare every file of a bundle with its digest, then speak a short sentence."""
    from voiceclone.inference.bundle import verify_bundle
    from voiceclone.inference.synthesizer import Synthesizer

    description = verify_bundle(bundle)
    speech = Synthesizer.from_bundle(bundle).say(description["smoke_text"])
    typer.echo(
        f"{bundle}: {len(description['files'])} files as recorded; "
        f"spoke {len(speech.samples) / speech.rate:.2f} s with voice {description['voice']}"
    )
