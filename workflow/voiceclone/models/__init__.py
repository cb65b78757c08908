"""The networks, one module each for training and for speaking with the trained weights.

Exported bundles run graphs of their own: :mod:`voiceclone.export` writes the one of ``gpt`` node by node and traces
those of ``sovits``; the kernels hold both once more. The export compares each with the modules here.

``gpt`` predicts semantic tokens from text; ``sovits`` turns them into a waveform and is trained against
``discriminators`` with ``losses``; ``mel`` is the analysis that both training and inference use; ``checkpoints``
reads and writes the public file formats.
"""
