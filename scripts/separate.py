"""Free the voice of every take from music where there is some: one mono FLAC per take and a manifest."""

from argparse import Namespace
from pathlib import Path

from voiceclone.assets import open_assets
from voiceclone.device import choose_device
from voiceclone.sound.separate import separate_speaker
from voiceclone.stage import parse_settings, run_stage, runtime_settings, speaker_folder, stage_parser
from voiceclone.stages.separate import SeparateSettings


def main(args: Namespace) -> None:
    models = open_assets(args.assets)
    spleeter = models.pop("spleeter-2stems", None)
    separate_speaker(
        speaker_folder(args),
        args.takes,
        args.output,
        parse_settings(SeparateSettings, args.settings),
        spleeter=spleeter,
        separators=models,
        device=choose_device(runtime_settings(args).device, args.threads),
        label=f"{args.speaker} · separate",
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--folder", type=Path, help="folder of the speaker's recordings; left out: from --config")
    parser.add_argument("--config", type=Path, help="configuration of the run, JSON")
    parser.add_argument("--takes", type=Path, required=True, help="table of takes")
    parser.add_argument("--output", type=Path, required=True, help="manifest to write; audio goes beside it")
    parser.add_argument("--assets", type=Path, nargs="*", default=[], help="asset.json of the separation models")
    run_stage(main, parser)
