"""Gather a corpus of many speakers from data sets and teachers: trimmed, 32 kHz, one loudness, split."""

from voiceclone.stages.gather import STAGE

if __name__ == "__main__":
    STAGE.main(__doc__)
