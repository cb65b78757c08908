"""Speak the held-out and the fixed sentences with one target and measure words, voice, quality and speed."""

from argparse import Namespace
from pathlib import Path

from voiceclone.assets import open_asset
from voiceclone.config.evaluate import EvaluateSettings
from voiceclone.evaluation.evaluate import evaluate_target
from voiceclone.evaluation.measure import MeterAssets
from voiceclone.stage import parse_settings, run_stage, stage_parser


def main(args: Namespace) -> None:
    assets = MeterAssets(
        asr=open_asset(args.asr),
        speaker_encoder=open_asset(args.speaker_encoder),
        ge2e=open_asset(args.ge2e),
        dnsmos=open_asset(args.dnsmos),
        distillmos=open_asset(args.distillmos),
    )
    evaluate_target(
        args.target,
        args.features_dir,
        args.corpus,
        args.models_dir,
        args.bundle,
        args.sentences,
        assets,
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
    parser.add_argument("--bundle", type=Path, help="bundle.json of an exported target")
    parser.add_argument("--sentences", type=Path, nargs="*", default=[], help="LANGUAGE.txt with 'id<TAB>text' lines")
    for role in ("asr", "speaker-encoder", "ge2e", "dnsmos", "distillmos"):
        parser.add_argument(f"--{role}", type=Path, required=True, help="asset.json")
    parser.add_argument("--output-dir", type=Path, required=True)
    run_stage(main, parser)
