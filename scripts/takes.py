"""Read every recording of a speaker: content ids, figures, and why a file was refused."""

from argparse import Namespace
from pathlib import Path

from voiceclone.corpus.takes import ingest
from voiceclone.stage import parse_settings, run_stage, speaker_folder, stage_parser
from voiceclone.stages.takes import TakesSettings


def main(args: Namespace) -> None:
    settings = parse_settings(TakesSettings, args.settings)
    folder = speaker_folder(args)
    label = f"{args.speaker or folder.name} · takes"
    ingest(folder, args.takes, args.rejected, settings, args.threads, label, args.inventory)


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--folder", type=Path, help="the speaker's folder of recordings; left out: from --config")
    parser.add_argument("--config", type=Path, help="configuration of the run, JSON")
    parser.add_argument("--inventory", type=Path, help="table of the folder's files; left out: it is looked through")
    parser.add_argument("--takes", type=Path, required=True, help="table of accepted takes to write")
    parser.add_argument("--rejected", type=Path, required=True, help="table of refused files to write")
    run_stage(main, parser)
