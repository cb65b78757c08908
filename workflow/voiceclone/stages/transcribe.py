"""Speech recognition."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from voiceclone.stage import Stage, label
from voiceclone.stages.settings import Block, RuntimeSettings


class TranscribeSettings(Block):
    """Speech recognition of the utterances."""

    languages: tuple[str, ...] = Field(
        (),
        description="Languages that the recordings speak, as ISO codes. One: taken as given. Several: each take's is "
        "detected among them. None: detected among all that the recogniser knows.",
    )
    beam_size: int = Field(5, ge=1, le=20, description="Width of the beam search.")
    prompts: dict[str, str] = Field(
        {"zh": "以下是普通话的句子。"},
        description="Text given to the recogniser as what came before, per language; it then writes in the same style: "
        "the default asks for simplified characters with punctuation.",
    )
    mixed: bool = Field(
        False,
        description="true: an utterance that is clearly in another language than its take is transcribed in its own.",
    )
    second_opinion: bool = Field(
        False,
        description="true: utterances with a given text are recognised too, and flagged 'disagrees' where much else is "
        "heard. false: the recogniser is asked only where a long text has to be cut.",
    )

    @model_serializer(mode="wrap")
    def _as_before(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the keys that came later while they are off: keys of earlier results stay what they were."""
        values: dict[str, Any] = write(self)
        return {name: value for name, value in values.items() if value or name not in ("mixed", "second_opinion")}


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--clean", type=Path, required=True, help="clean/manifest.tsv")
    parser.add_argument("--slices", type=Path, required=True, help="slices/manifest.tsv")
    parser.add_argument(
        "--asr", "--assets", dest="asr", type=Path, required=True, help="asset.json of a CTranslate2 Whisper model"
    )
    parser.add_argument("--takes", type=Path, help="takes.tsv; needed where there are given texts")
    parser.add_argument(
        "--given", type=Path, nargs="?", help="given.tsv, texts beside the recordings, if there are any"
    )
    parser.add_argument("--output", type=Path, required=True, help="transcripts/manifest.tsv to write")


def run(args: Namespace, settings: TranscribeSettings, runtime: RuntimeSettings) -> None:
    from voiceclone.assets import open_asset
    from voiceclone.corpus.given import by_take
    from voiceclone.corpus.transcribe import transcribe_speaker

    transcribe_speaker(
        args.clean,
        args.slices,
        open_asset(args.asr),
        args.output,
        settings,
        runtime,
        threads=args.threads,
        label=label(args, "transcribe"),
        given=by_take(args.given, args.takes),
    )


STAGE = Stage(
    "transcribe", arguments, run, block="transcribe", settings=TranscribeSettings,
    about="Speech recognition.", models=lambda config: [config.models.asr],
)  # fmt: skip
