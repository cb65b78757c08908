"""The quantiser of semantic tokens: taken from the base voice, or fitted to the speaker."""

from argparse import Namespace
from pathlib import Path

from voiceclone.assets import open_assets
from voiceclone.features.tokenizer import fit_tokenizer
from voiceclone.stage import parse_settings, run_stage, stage_parser
from voiceclone.stages.fit_tokenizer import TokenizerSettings


def main(args: Namespace) -> None:
    settings = parse_settings(TokenizerSettings, args.settings)
    assets = open_assets(args.assets)
    fit_tokenizer(
        args.features,
        args.content,
        args.output,
        settings,
        base=assets.get(settings.base),
        label=f"{args.speaker} · tokenizer",
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--features", type=Path, required=True, help="manifest of the features")
    parser.add_argument("--content", type=Path, required=True, help="store of content vectors")
    parser.add_argument("--assets", type=Path, nargs="*", default=[], help="asset.json of the base in the settings")
    parser.add_argument("--output", type=Path, required=True, help="tokenizer to write; a JSON goes beside it")
    run_stage(main, parser)
