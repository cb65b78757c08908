"""Train semantic tokens to waveform; an interrupted training continues where it was."""

from voiceclone.stages.train_sovits import STAGE

if __name__ == "__main__":
    STAGE.main(__doc__)
