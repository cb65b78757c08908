"""Train text to semantic tokens; an interrupted training continues where it was."""

from voiceclone.stages.train_gpt import STAGE

if __name__ == "__main__":
    STAGE.main(__doc__)
