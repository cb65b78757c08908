"""Fetch a pretrained model from the first source that has it, verified by checksum."""

from voiceclone.stages.fetch_asset import STAGE

if __name__ == "__main__":
    STAGE.main(__doc__)
