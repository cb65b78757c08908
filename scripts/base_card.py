"""Write the card of a packed base voice: data, licences, hours, figures, the command that makes it again."""

from voiceclone.stages.base_gates import CARD

if __name__ == "__main__":
    CARD.main(__doc__)
