"""Choose the checkpoints that a voice speaks with: by ear, by loss, or the last."""

from voiceclone.stages.select import STAGE

if __name__ == "__main__":
    STAGE.main(__doc__)
