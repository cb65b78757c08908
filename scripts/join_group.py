"""One corpus of several people's, for a voice that is trained on all of them."""

from voiceclone.stages.gather import JOIN

if __name__ == "__main__":
    JOIN.main(__doc__)
