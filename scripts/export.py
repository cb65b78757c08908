"""Export the trained voice to a bundle that speaks without torch, and compare the two."""

from voiceclone.stages.export import STAGE

if __name__ == "__main__":
    STAGE.main(__doc__)
