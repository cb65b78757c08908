"""Speak the held-out and the fixed sentences with one target and measure words, voice, quality and speed."""

from voiceclone.stages.evaluate import STAGE

if __name__ == "__main__":
    STAGE.main(__doc__)
