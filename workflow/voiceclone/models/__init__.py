"""The networks, one module each for training, inference and export."""
