"""Let a teacher speak text lists in many pseudo-voices: FLAC files and a table of them."""

from argparse import Namespace
from pathlib import Path

from voiceclone.assets import open_asset
from voiceclone.stage import parse_settings, run_stage, runtime_settings, stage_parser
from voiceclone.stages.teacher_speech import TeacherSettings
from voiceclone.teachers.speech import make_teacher_speech


def text_files(given: Path) -> list[Path]:
    """A text list, or all of a fetched model's."""
    if given.suffix != ".json":
        return [given]
    asset = open_asset(given)
    return [asset.file(name) for name in sorted(asset.files)]


def main(args: Namespace) -> None:
    voice = open_asset(args.voice)
    lists = [path for given in args.texts for path in text_files(given)]
    settings = parse_settings(TeacherSettings, args.settings)
    make_teacher_speech(
        voice.folder, voice.digest, lists, args.held_out, args.output.parent, settings,
        threads=args.processes, interval=runtime_settings(args).progress_seconds,
    )  # fmt: skip


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--voice", type=Path, required=True, help="asset.json of the teacher")
    parser.add_argument("--texts", type=Path, nargs="+", required=True, help="text lists, or asset.json of some")
    parser.add_argument("--held-out", type=Path, nargs="*", default=[], help="sentences that are never spoken")
    parser.add_argument("--output", type=Path, required=True, help="manifest.tsv; the sound lies beside it")
    parser.add_argument("--processes", type=int, default=1, help="processes that speak, one core each")
    run_stage(main, parser)
