"""Turn every utterance of a speaker into text with word times, probabilities and its language."""

from voiceclone.stages.transcribe import STAGE

if __name__ == "__main__":
    STAGE.main(__doc__)
