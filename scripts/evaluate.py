"""Speak the held-out and the fixed sentences with one target and measure words, voice, quality and speed."""

from argparse import Namespace
from pathlib import Path

from voiceclone.assets import open_asset
from voiceclone.evaluation.evaluate import evaluate_target
from voiceclone.evaluation.measure import meter_assets
from voiceclone.stage import parse_settings, run_stage, stage_parser
from voiceclone.stages.evaluate import EvaluateSettings


def main(args: Namespace) -> None:
    assets = [open_asset(path) for path in args.assets]
    bert = next((asset for asset in assets if asset.kind == "bert"), None)
    evaluate_target(
        args.target,
        args.features_dir,
        args.corpus,
        args.models_dir,
        args.bundle[0] if args.bundle else None,
        args.sentences,
        meter_assets([asset for asset in assets if asset is not bert]),
        args.output_dir,
        parse_settings(EvaluateSettings, args.settings),
        threads=args.threads,
        label=f"{args.speaker} · evaluate {args.target}",
        bert=bert,
        baseline=args.baseline[0] if args.baseline else None,
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--target", required=True, help="recordings, resynthesis, torch-fp32 or the name of a bundle")
    parser.add_argument("--features-dir", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True, help="corpus.tsv")
    parser.add_argument("--models-dir", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, nargs="*", default=[], help="bundle.json; none for a baseline")
    parser.add_argument(
        "--baseline", type=Path, nargs="*", default=[], help="metrics.tsv of the trained model; none for a baseline"
    )
    parser.add_argument("--sentences", type=Path, nargs="*", default=[], help="LANGUAGE.txt with 'id<TAB>text' lines")
    parser.add_argument(
        "--assets", type=Path, nargs="+", required=True, help="asset.json of each measuring model, and of BERT"
    )
    parser.add_argument("--output-dir", type=Path, required=True)
    run_stage(main, parser)
