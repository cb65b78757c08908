"""The networks, one module each for training, inference and export.

``gpt`` predicts semantic tokens from text; ``sovits`` turns them into a waveform and is trained against
``discriminators`` with ``losses``; ``mel`` is the analysis that both training and inference use; ``checkpoints``
reads and writes the public file formats.
"""
