"""Train a student's waveform on recordings; an interrupted training continues where it was."""

from voiceclone.stages.distill import JOINT as STAGE

if __name__ == "__main__":
    STAGE.main(__doc__)
