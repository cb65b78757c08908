"""Denoise every take where that helps, bring it to one loudness and to the training rate."""

from voiceclone.stages.clean import STAGE

if __name__ == "__main__":
    STAGE.main(__doc__)
