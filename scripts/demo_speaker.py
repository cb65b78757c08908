"""Speak the demo's takes with the packaged voice: only sound, no transcripts."""

from voiceclone.stages.demo_speaker import STAGE

if __name__ == "__main__":
    STAGE.main(__doc__)
