"""Train a student's text to semantic tokens; an interrupted training continues where it was."""

from voiceclone.stages.distill import GPT as STAGE

if __name__ == "__main__":
    STAGE.main(__doc__)
