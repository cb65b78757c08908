"""Free the voice of every take from music where there is some: one mono FLAC per take and a manifest."""

from voiceclone.stages.separate import STAGE

if __name__ == "__main__":
    STAGE.main(__doc__)
