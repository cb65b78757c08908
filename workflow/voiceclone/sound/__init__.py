"""Waveforms in, waveforms out: reading, separation, denoising, loudness, slicing."""
