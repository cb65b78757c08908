"""Spectra of numpy are those of torch, of the recogniser's own code, and of the recorded public program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from voiceclone.listeners.campplus import kaldi_fbank
from voiceclone.models.mel import spectrogram
from voiceclone.sound.spectra import filter_bank, magnitudes, whisper_mel


def sound(samples: int, seed: int) -> np.ndarray:
    """Tones that sweep, with noise of changing loudness."""
    rng, time = np.random.default_rng(seed), np.arange(samples) / 16000
    tone = np.sin(2 * np.pi * (100 + 400 * rng.random() * time) * time)
    return (0.3 * tone + 10 ** rng.uniform(-5, -1) * rng.standard_normal(samples)).astype(np.float32)


def relative(left: np.ndarray, right: np.ndarray) -> float:
    assert left.shape == right.shape and left.dtype == right.dtype == np.float32
    return float(np.abs(left - right).max() / np.abs(right).max())


@given(st.integers(720, 40000), st.integers(0, 2**16))
def test_spectra_are_those_of_torch(samples: int, seed: int) -> None:
    wave = sound(samples, seed)
    assert relative(magnitudes(wave), spectrogram(torch.from_numpy(wave)[None])[0].numpy()) < 1e-5
    mine, theirs = filter_bank(wave), kaldi_fbank(torch.from_numpy(wave)).numpy()
    # Energies, not their logarithms: beside a loud tone the faintest bands are what rounding leaves of them.
    assert relative(np.exp(mine), np.exp(theirs)) < 1e-4
    assert np.abs(mine - theirs).max() < 1e-2


@pytest.mark.parametrize("samples", [16000, 40001])
def test_bands_are_those_of_the_recogniser(samples: int) -> None:
    from faster_whisper.feature_extractor import FeatureExtractor

    wave = sound(samples, 1)
    theirs = FeatureExtractor(feature_size=80)(wave, padding=0)
    assert relative(whisper_mel(wave), np.asarray(theirs, np.float32)[:, : samples // 160]) < 1e-4


def test_spectra_are_the_recorded_ones(shared_golden: Path) -> None:
    recorded = np.load(shared_golden / "audio_features.npz")
    assert relative(magnitudes(recorded["wav"]), recorded["spec"]) < 1e-5
    speaker = np.load(shared_golden / "speaker_embedding.npz")
    assert relative(filter_bank(speaker["wav16k"]), speaker["fbank"]) < 1e-4
