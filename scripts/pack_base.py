"""Pack the trained networks of a base voice in float16."""

from voiceclone.stages.base_gates import PACK

if __name__ == "__main__":
    PACK.main(__doc__)
