"""Networks that are used and not trained: encoders of speech and text, recognisers, judges of quality."""
