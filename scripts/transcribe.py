"""Turn every utterance of a speaker into text with word times, probabilities and its language."""

from argparse import Namespace
from pathlib import Path

from voiceclone.assets import open_asset
from voiceclone.corpus.transcribe import transcribe_speaker
from voiceclone.stage import parse_settings, run_stage, runtime_settings, stage_parser
from voiceclone.stages.transcribe import TranscribeSettings


def main(args: Namespace) -> None:
    transcribe_speaker(
        args.clean,
        args.slices,
        open_asset(args.asr),
        args.output,
        parse_settings(TranscribeSettings, args.settings),
        runtime_settings(args),
        threads=args.threads,
        label=f"{args.speaker} · transcribe",
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--clean", type=Path, required=True, help="clean/manifest.tsv")
    parser.add_argument("--slices", type=Path, required=True, help="slices/manifest.tsv")
    parser.add_argument(
        "--asr", "--assets", dest="asr", type=Path, required=True, help="asset.json of a CTranslate2 Whisper model"
    )
    parser.add_argument("--output", type=Path, required=True, help="transcripts/manifest.tsv to write")
    run_stage(main, parser)
