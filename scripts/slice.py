"""Cut the takes into utterances at silence, and account for every second."""

from voiceclone.stages.slice import STAGE

if __name__ == "__main__":
    STAGE.main(__doc__)
