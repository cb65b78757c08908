"""Train text to semantic tokens; an interrupted training continues where it was."""

from argparse import Namespace
from pathlib import Path

from voiceclone.config.gpt import GPTSettings
from voiceclone.stage import parse_settings, run_stage, runtime_settings, stage_parser


def main(args: Namespace) -> None:
    settings = parse_settings(GPTSettings, args.settings)
    runtime = runtime_settings(args)
    from voiceclone.training.launch import launch

    if settings.train:
        launch(runtime)
    from voiceclone.training.base import choose_asset
    from voiceclone.training.gpt import train_gpt

    train_gpt(
        args.features_dir,
        args.state_dir,
        args.output,
        args.report,
        args.history,
        settings,
        runtime,
        base=choose_asset(settings.base, args.assets),
        threads=args.threads,
        label=f"{args.speaker} · GPT" if args.speaker else "GPT",
        suspects=args.suspects,
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--features-dir", type=Path, required=True, help="folder of manifest.tsv and the stores")
    parser.add_argument(
        "--assets", type=Path, nargs="*", default=[], help="asset.json of the base named in the settings"
    )
    parser.add_argument("--state-dir", type=Path, required=True, help="folder of checkpoints, kept between runs")
    parser.add_argument("--output", type=Path, required=True, help="weights, .safetensors")
    parser.add_argument("--report", type=Path, required=True, help="what the weights are, .json")
    parser.add_argument("--history", type=Path, required=True, help="losses, .jsonl")
    parser.add_argument("--suspects", type=Path, help="training utterances by their loss, .tsv")
    run_stage(main, parser)
