"""Text to semantic tokens: the one network in the forms that are exported or that run fast."""
