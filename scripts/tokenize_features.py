"""Semantic tokens of every utterance."""

from voiceclone.stages.fit_tokenizer import TOKENIZE

if __name__ == "__main__":
    TOKENIZE.main(__doc__)
