"""The two U-Nets with the public weights: real speech comes out of real music; long takes join without seams."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from voiceclone.assets import open_asset
from voiceclone.errors import AssetError
from voiceclone.sound.accompaniment import excerpt_slices, in_segments, segment_starts
from voiceclone.sound.io import Waveform, read_audio, resample
from voiceclone.sound.spleeter import UNet, load_checkpoint


def si_sdr(estimate: Waveform, target: Waveform) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (J. Le Roux et al., ICASSP 2019)."""
    one, other = (wave.astype(np.float64) - wave.mean() for wave in (estimate, target))
    scaled = other * (one @ other) / (other @ other)
    return float(10 * np.log10((scaled @ scaled) / np.square(one - scaled).sum()))


def with_music(speech: Waveform, rate: int, music: Path, ratio_db: float) -> Waveform:
    """Mono speech over stereo music, the music ``ratio_db`` below it: (frames, 2)."""
    sound, source_rate = read_audio(music)
    sound = np.resize(resample(sound, source_rate, rate), (len(speech), 2))
    gain = np.sqrt(np.square(speech).mean() / np.square(sound).mean()) * 10 ** (-ratio_db / 20)
    return (speech[:, None] + gain * sound).astype(np.float32)


def test_unet_keeps_the_shape_and_only_lowers_the_magnitude() -> None:
    torch.manual_seed(0)
    magnitude = torch.rand(1, 2, 64, 128)
    estimate = UNet().eval()(magnitude)
    assert estimate.shape == magnitude.shape
    assert bool((estimate <= magnitude).all()) and bool((estimate >= 0).all())


def test_a_checkpoint_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return Path.touch, (tmp_path / "ran",)  # type: ignore[return-value]

    torch.save({"weight": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(AssetError, match=r"evil\.ckpt"):
        load_checkpoint(tmp_path / "evil.ckpt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("speaker", "music", "gain"), [("ljspeech", "vibe_ace", 9.0), ("kathleen", "brahms_hungarian_dance_5", 5.0)]
)
def test_speech_out_of_music(
    asset: Callable[[str], Path], shared_data: Path, speaker: str, music: str, gain: float
) -> None:
    from voiceclone.sound.spleeter import Spleeter

    spleeter = Spleeter(open_asset(asset("spleeter-2stems")))
    samples, rate = read_audio(shared_data / "speakers" / speaker / "take_02.flac")
    speech = samples[: 10 * rate, 0]
    mixed = with_music(speech, rate, shared_data / "noise" / "music" / f"{music}.flac", 5.0)
    voice, rest = spleeter.split(mixed, rate)
    assert voice.shape == rest.shape == speech.shape
    assert si_sdr(voice, speech) > si_sdr(mixed.mean(axis=1), speech) + gain
    assert si_sdr(voice + rest, mixed.mean(axis=1)) > 25  # the stems add up to the mixture
    assert np.array_equal(voice, spleeter.split(mixed, rate)[0])


def test_silence_and_level(asset: Callable[[str], Path], shared_data: Path) -> None:
    from voiceclone.sound.spleeter import Spleeter

    spleeter = Spleeter(open_asset(asset("spleeter-2stems")))
    voice, rest = spleeter.split(np.zeros((16_000, 1), np.float32), 16_000)
    assert not voice.any() and not rest.any()
    samples, rate = read_audio(shared_data / "speakers" / "ljspeech" / "take_01.flac")
    loud, _ = spleeter.split(samples[: 3 * rate], rate)
    quiet, _ = spleeter.split(samples[: 3 * rate] * np.float32(0.01), rate)
    assert quiet * 100 == pytest.approx(loud, abs=1e-3)


@pytest.mark.parametrize("frames", [1, 99, 100, 101, 180, 181, 1000, 1234])
def test_pieces_join_to_the_whole(frames: int) -> None:
    wave = np.random.default_rng(frames).standard_normal((frames, 1)).astype(np.float32)
    joined = in_segments(wave, 100, lambda piece: piece[:, 0].copy(), 1.0, 0.2)
    assert joined == pytest.approx(wave[:, 0], abs=1e-6)
    starts = segment_starts(frames, 100, 80)
    assert starts[-1] < frames <= starts[-1] + 100


def test_excerpts_are_spread_and_inside() -> None:
    places = excerpt_slices(60 * 100, 100, 3, 10.0)
    assert [place.start for place in places] == [833, 2500, 4167]
    assert all(place.stop - place.start == 1000 and place.stop <= 6000 for place in places)
    assert excerpt_slices(500, 100, 3, 10.0) == [slice(0, 500)]
    assert len(excerpt_slices(1500, 100, 3, 10.0)) == 1
