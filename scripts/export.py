"""Export the trained voice to a bundle that speaks without torch, and compare the two."""

from argparse import Namespace
from pathlib import Path
from typing import get_args

from voiceclone.stage import parse_settings, run_stage, stage_parser
from voiceclone.stages.export import ExportSettings, Target


def main(args: Namespace) -> None:
    from voiceclone.export.bundle import export_voice
    from voiceclone.lineage.rights import load_rights

    export_voice(
        args.models_dir,
        args.features_dir,
        args.target,
        args.output_dir,
        parse_settings(ExportSettings, args.settings),
        args.speaker,
        load_rights(args.rights) if args.rights else None,
        args.encoders,
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--models-dir", type=Path, required=True, help="folder of the trained models")
    parser.add_argument("--features-dir", type=Path, required=True, help="folder of the feature stores")
    parser.add_argument("--target", required=True, choices=get_args(Target), help="what to export to")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--rights", type=Path, help="JSON file of what the speaker's folder states of its rights")
    parser.add_argument("--encoders", type=Path, nargs="*", default=[], help="NAME.json of the exported encoders")
    run_stage(main, parser)
