"""Utterances that a voice speaks like: its own reference, and one for each style."""

from voiceclone.stages.export import REFERENCES

if __name__ == "__main__":
    REFERENCES.main(__doc__)
