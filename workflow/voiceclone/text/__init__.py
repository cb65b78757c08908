"""Text in, phones out: normalisation, languages, grapheme to phoneme, symbols. Imports without torch."""
