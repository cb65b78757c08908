"""Phones, content features, speaker vectors, spectrograms and training audio of every utterance of a speaker."""

from voiceclone.stages.features import STAGE

if __name__ == "__main__":
    STAGE.main(__doc__)
