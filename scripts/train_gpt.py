"""Train text to semantic tokens; an interrupted training continues where it was."""

from argparse import Namespace
from pathlib import Path

from voiceclone.stage import parse_settings, run_stage, runtime_settings
from voiceclone.stages.train_gpt import GPTSettings
from voiceclone.training.run import label, output_files, training_parser


def main(args: Namespace) -> None:
    settings = parse_settings(GPTSettings, args.settings)
    runtime = runtime_settings(args)
    from voiceclone.training.processes import launch

    if settings.train:
        launch(runtime)
    from voiceclone.training.finetuning import choose_asset
    from voiceclone.training.gpt import train_gpt

    train_gpt(
        args.features_dir,
        args.state_dir,
        output_files(args),
        settings,
        runtime,
        base=choose_asset(settings.base, args.assets),
        threads=args.threads,
        label=label(args, "GPT"),
        alignment=next(iter(args.alignment), None),
    )


if __name__ == "__main__":
    parser = training_parser(__doc__)
    parser.add_argument("--alignment", type=Path, nargs="*", default=[], help="table of the phones' tokens, for small")
    run_stage(main, parser)
