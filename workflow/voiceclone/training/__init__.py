"""Step loop, checkpoints, data order, signals: training that continues exactly where it stopped."""
