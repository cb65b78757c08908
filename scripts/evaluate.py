"""Speak the held-out and the fixed sentences with one target and measure words, voice, quality and speed."""

from argparse import Namespace
from pathlib import Path

from voiceclone.assets import open_asset
from voiceclone.config.evaluate import EvaluateSettings
from voiceclone.errors import ConfigError
from voiceclone.evaluation.evaluate import evaluate_target
from voiceclone.evaluation.measure import MeterAssets, meter_assets
from voiceclone.stage import parse_settings, run_stage, stage_parser

ROLES = ("asr", "speaker_encoder", "ge2e", "dnsmos", "distillmos")


def chosen_assets(args: Namespace) -> MeterAssets:
    """The measuring models: each by its own option, or all in one list."""
    if args.assets:
        return meter_assets([open_asset(path) for path in args.assets])
    missing = [role for role in ROLES if getattr(args, role) is None]
    if missing:
        raise ConfigError(f"models to measure with are missing: {missing}", "give --assets, or an option for each")
    return MeterAssets(**{role: open_asset(getattr(args, role)) for role in ROLES})


def main(args: Namespace) -> None:
    evaluate_target(
        args.target,
        args.features_dir,
        args.corpus,
        args.models_dir,
        args.bundle[0] if args.bundle else None,
        args.sentences,
        chosen_assets(args),
        args.output_dir,
        parse_settings(EvaluateSettings, args.settings),
        threads=args.threads,
        label=f"{args.speaker} · evaluate {args.target}",
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--target", required=True, help="recordings, resynthesis, torch-fp32 or the name of a bundle")
    parser.add_argument("--features-dir", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True, help="corpus.tsv")
    parser.add_argument("--models-dir", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, nargs="*", default=[], help="bundle.json; none for a baseline")
    parser.add_argument("--sentences", type=Path, nargs="*", default=[], help="LANGUAGE.txt with 'id<TAB>text' lines")
    parser.add_argument("--assets", type=Path, nargs="*", help="asset.json of all measuring models, in any order")
    for role in ROLES:
        parser.add_argument(f"--{role.replace('_', '-')}", type=Path, help="asset.json, instead of --assets")
    parser.add_argument("--output-dir", type=Path, required=True)
    run_stage(main, parser)
