"""Join slices, transcripts and corrections into the corpus: filtered, normalised, split, with a proof-reading page."""

from voiceclone.stages.corpus import STAGE

if __name__ == "__main__":
    STAGE.main(__doc__)
