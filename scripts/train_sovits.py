"""Train semantic tokens to waveform; an interrupted training continues where it was."""

from argparse import Namespace
from pathlib import Path

from voiceclone.config.sovits import SoVITSSettings
from voiceclone.stage import parse_settings, run_stage, runtime_settings, stage_parser


def main(args: Namespace) -> None:
    settings = parse_settings(SoVITSSettings, args.settings)
    runtime = runtime_settings(args)
    from voiceclone.training.launch import launch

    if settings.train:
        launch(runtime)
    from voiceclone.training.base import choose_asset
    from voiceclone.training.sovits import train_sovits

    train_sovits(
        args.features_dir,
        args.tokenizer,
        args.state_dir,
        args.output,
        args.report,
        args.history,
        settings,
        runtime,
        base=choose_asset(settings.base, args.assets),
        base_discriminator=choose_asset(settings.base_discriminator, args.assets),
        threads=args.threads,
        label=f"{args.speaker} · SoVITS" if args.speaker else "SoVITS",
        suspects=args.suspects,
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--features-dir", type=Path, required=True, help="folder of manifest.tsv and the stores")
    parser.add_argument("--tokenizer", type=Path, required=True, help="projection and codebook, .safetensors")
    parser.add_argument(
        "--assets", type=Path, nargs="*", default=[], help="asset.json of the bases named in the settings"
    )
    parser.add_argument("--state-dir", type=Path, required=True, help="folder of checkpoints, kept between runs")
    parser.add_argument("--output", type=Path, required=True, help="weights, .safetensors")
    parser.add_argument("--report", type=Path, required=True, help="what the weights are, .json")
    parser.add_argument("--history", type=Path, required=True, help="losses, .jsonl")
    parser.add_argument("--suspects", type=Path, help="training utterances by their loss, .tsv")
    run_stage(main, parser)
