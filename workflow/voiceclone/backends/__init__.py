"""Bundles, the interface of backends, the waveform of a source-filter decoder."""
