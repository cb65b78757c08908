"""Phones, content features, speaker vectors, spectrograms and training audio of every utterance of a speaker."""

from argparse import Namespace
from pathlib import Path

from voiceclone.assets import open_assets
from voiceclone.device import choose_device
from voiceclone.features.extract import extract_features
from voiceclone.stage import parse_settings, run_stage, runtime_settings, stage_parser
from voiceclone.stages.features import FeaturesSettings
from voiceclone.text.lexicon import read_lexicon


def main(args: Namespace) -> None:
    runtime = runtime_settings(args)
    settings = parse_settings(FeaturesSettings, args.settings)
    assets = open_assets(args.assets)
    extract_features(
        args.corpus,
        args.output_dir,
        settings,
        assets,
        read_lexicon(args.lexicons),
        device=choose_device(runtime.device, args.threads),
        threads=args.threads,
        label=f"{args.speaker} · features",
        progress_seconds=runtime.progress_seconds,
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="corpus.tsv of the speaker")
    parser.add_argument("--lexicons", type=Path, nargs="*", default=[], help="pronunciation tables, LANGUAGE.tsv")
    parser.add_argument("--assets", type=Path, nargs="+", required=True, help="asset.json of each encoder")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder of the stores")
    run_stage(main, parser)
