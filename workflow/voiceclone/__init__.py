"""From a folder of one person's recordings to a measured, exported voice.

The library behind the workflow: it knows files, tensors and sound, and nothing of Snakemake.
Imports run one way: ``config``, ``lineage``, ``assets`` at the bottom; ``audio``, ``text`` → ``corpus`` →
``features`` → ``models`` → ``training`` → ``export``, ``inference`` → ``evaluation``.
"""

__version__ = "0.1.0"
