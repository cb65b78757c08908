"""Join slices, transcripts and corrections into the corpus: filtered, normalised, split, with a proof-reading page."""

from argparse import Namespace
from pathlib import Path

from voiceclone.corpus.build import build_corpus
from voiceclone.stage import parse_settings, run_stage, stage_parser
from voiceclone.stages.corpus import CorpusSettings


def main(args: Namespace) -> None:
    build_corpus(
        args.takes,
        args.slices,
        args.transcripts,
        args.output_dir,
        parse_settings(CorpusSettings, args.settings),
        speaker=args.speaker,
        corrections=args.corrections,
        rejected_takes=args.rejected_takes,
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--takes", type=Path, required=True, help="takes.tsv")
    parser.add_argument("--slices", type=Path, required=True, help="slices/manifest.tsv")
    parser.add_argument("--transcripts", type=Path, required=True, help="transcripts/manifest.tsv")
    parser.add_argument("--corrections", type=Path, nargs="?", help="config/corrections/SPEAKER.tsv, if there is one")
    parser.add_argument("--rejected-takes", type=Path, help="rejected.tsv of the intake")
    parser.add_argument("--output-dir", type=Path, required=True, help="results/SPEAKER/corpus")
    run_stage(main, parser)
