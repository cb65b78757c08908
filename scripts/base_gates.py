"""Measure a packed base voice on held-out lines and held-out people."""

from voiceclone.stages.base_gates import STAGE

if __name__ == "__main__":
    STAGE.main(__doc__)
