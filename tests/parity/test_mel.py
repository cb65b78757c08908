"""Spectrogram and mel against the recorded public ones."""

from __future__ import annotations

import numpy as np

from voiceclone.models.mel import mel_filters, mel_from_spectrogram, mel_spectrogram, spectrogram

LIMIT = 2e-4


def test_spectrogram(golden, close):
    recorded = golden.read("audio_features")
    close(spectrogram(recorded["wav"][None])[0], recorded["spec"], LIMIT)
    close(spectrogram(recorded["wav"][None, None])[0], recorded["spec"], LIMIT)


def test_mel(golden, close):
    recorded = golden.read("audio_features")
    close(mel_from_spectrogram(recorded["spec"][None])[0], recorded["mel"], LIMIT)
    close(mel_spectrogram(recorded["wav"][None])[0], recorded["mel_from_wav"], LIMIT)


def test_filters_are_librosas():
    import librosa

    theirs = librosa.filters.mel(sr=32000, n_fft=2048, n_mels=128, fmin=0, fmax=None)
    np.testing.assert_allclose(mel_filters(), theirs, rtol=0, atol=1e-8)
