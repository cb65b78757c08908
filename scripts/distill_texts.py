"""Let a voice speak sentences for its student; an interrupted run continues where it was."""

from voiceclone.stages.distill import TEXTS as STAGE

if __name__ == "__main__":
    STAGE.main(__doc__)
