"""Export an encoder that voices share to a graph, and compare the two."""

from voiceclone.stages.export import ENCODER

if __name__ == "__main__":
    ENCODER.main(__doc__)
