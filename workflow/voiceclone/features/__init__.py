"""Features that the trainings read: content features, speaker vectors, spectrograms, phones, semantic tokens."""
