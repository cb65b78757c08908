"""Let a teacher speak text lists in many pseudo-voices: FLAC files and a table of them."""

from voiceclone.stages.teacher_speech import STAGE

if __name__ == "__main__":
    STAGE.main(__doc__)
