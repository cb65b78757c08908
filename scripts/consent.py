"""Stop where the owner of a voice has not agreed; write the terms down where they have."""

from voiceclone.stages.corpus import CONSENT

if __name__ == "__main__":
    CONSENT.main(__doc__)
