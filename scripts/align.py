"""Which phone each semantic token speaks, and which tokens each phone has."""

from voiceclone.stages.align import STAGE

if __name__ == "__main__":
    STAGE.main(__doc__)
