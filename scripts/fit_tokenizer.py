"""The quantiser of semantic tokens: taken from the base voice, or fitted to the speaker."""

from voiceclone.stages.fit_tokenizer import STAGE

if __name__ == "__main__":
    STAGE.main(__doc__)
