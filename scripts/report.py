"""Make the report page of one voice, self-contained, and its provenance for programs."""

from voiceclone.stages.report import STAGE

if __name__ == "__main__":
    STAGE.main(__doc__)
