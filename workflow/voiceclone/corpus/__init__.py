"""From recordings to the corpus: takes, transcripts, corrections, filters, split, list files."""
