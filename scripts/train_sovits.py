"""Train semantic tokens to waveform; an interrupted training continues where it was."""

from argparse import Namespace
from pathlib import Path

from voiceclone.stage import parse_settings, run_stage, runtime_settings
from voiceclone.stages.train_sovits import SoVITSSettings
from voiceclone.training.run import label, output_files, training_parser


def main(args: Namespace) -> None:
    settings = parse_settings(SoVITSSettings, args.settings)
    runtime = runtime_settings(args)
    from voiceclone.training.processes import launch

    if settings.train:
        launch(runtime)
    from voiceclone.training.finetuning import choose_asset
    from voiceclone.training.sovits import train_sovits

    train_sovits(
        args.features_dir,
        args.tokenizer,
        args.state_dir,
        output_files(args),
        settings,
        runtime,
        base=choose_asset(settings.base, args.assets),
        base_discriminator=choose_asset(settings.base_discriminator, args.assets),
        threads=args.threads,
        label=label(args, "SoVITS"),
    )


if __name__ == "__main__":
    parser = training_parser(__doc__)
    parser.add_argument("--tokenizer", type=Path, required=True, help="projection and codebook, .safetensors")
    run_stage(main, parser)
