"""Make the page over all voices and targets from their provenance files."""

from voiceclone.stages.report import COLLECT

if __name__ == "__main__":
    COLLECT.main(__doc__)
