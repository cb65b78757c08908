"""Train a student's semantic tokens to waveform; an interrupted training continues where it was."""

from voiceclone.stages.distill import SOVITS as STAGE

if __name__ == "__main__":
    STAGE.main(__doc__)
