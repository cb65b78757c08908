"""What runs a voice: bundles, the interface of a backend, the waveform of a source-filter decoder."""
