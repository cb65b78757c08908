"""Read every recording of a speaker: content ids, figures, and why a file was refused."""

from voiceclone.stages.takes import STAGE

if __name__ == "__main__":
    STAGE.main(__doc__)
