"""Cleaning of takes: better stays, worse is undone and said, no take is ever lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import fftconvolve

from voiceclone.assets import open_asset
from voiceclone.errors import AssetError, DataError
from voiceclone.files import read_tsv, sha256_file, write_tsv
from voiceclone.sound.clean import TRAINING_RATE, clean_speaker, clean_take
from voiceclone.sound.denoisers import SpectralGate, checked, make_denoiser
from voiceclone.sound.dereverb import WeightedPrediction, reverberation_time
from voiceclone.sound.io import Waveform, read_audio, read_mono, resample, write_flac
from voiceclone.sound.loudness import loudness, true_peak_dbtp
from voiceclone.sound.spool import Spool
from voiceclone.sound.verdict import Judge, verdict
from voiceclone.stages.clean import CleanSettings, open_judge

RATE = 24_000
ALWAYS = CleanSettings(denoise="always")


def speech_like(seconds: float, level: float = 0.1, hiss: float = 0.0, seed: int = 0) -> Waveform:
    """Noise bursts of half a second with pauses of a quarter, over a steady hiss."""
    generator = np.random.default_rng(seed)
    bursts, steady = generator.standard_normal((2, int(seconds * RATE)))
    time = np.arange(len(bursts)) / RATE
    return (level * bursts * (time % 0.75 < 0.5) + hiss * steady).astype(np.float32)


@dataclass
class Fixed:
    """A denoiser whose answer is known."""

    answer: Callable[[Waveform], Waveform]
    digest: str = ""

    def denoise(self, samples: Waveform, rate: int) -> Waveform:
        return self.answer(samples)


@dataclass(frozen=True)
class Opinion(Judge):
    """A judge whose figures are known: the first call is before, the second after denoising."""

    before: float = 3.0
    after: float = 3.0
    alike: float = 1.0
    calls: list[int] = field(default_factory=list)

    def quality(self, samples: Waveform, rate: int) -> float | None:
        self.calls.append(len(samples))
        return self.before if len(self.calls) == 1 else self.after

    def similarity(self, before: Waveform, after: Waveform, rate: int) -> float | None:
        return self.alike


HALVED = Fixed(lambda samples: samples * np.float32(0.5))


def test_what_helps_is_kept() -> None:
    samples = speech_like(3, hiss=0.01)
    final, cells = clean_take(samples, RATE, ALWAYS, HALVED, Opinion(before=2.5, after=3.1, alike=0.95))
    assert cells["denoised"] is True and cells["note"] == ""
    assert (cells["dnsmos_before"], cells["dnsmos_after"], cells["similarity"]) == (2.5, 3.1, 0.95)
    assert len(final) == 3 * TRAINING_RATE
    assert loudness(final, TRAINING_RATE) == pytest.approx(-23.0, abs=0.15)
    assert true_peak_dbtp(final, TRAINING_RATE) <= -1.0 + 1e-3


@pytest.mark.parametrize(
    ("figures", "reason"),
    [({"before": 3.0, "after": 2.9}, "DNSMOS OVRL fell from 3.00 to 2.90"), ({"alike": 0.7}, "similarity 0.70")],
)
def test_what_harms_is_undone_and_said(figures: dict[str, float], reason: str) -> None:
    samples = speech_like(3, hiss=0.01)
    final, cells = clean_take(samples, RATE, ALWAYS, HALVED, Opinion(**figures))
    plain, _ = clean_take(samples, RATE, CleanSettings(denoise="never"), None, Judge())
    assert cells["denoised"] is False and reason in cells["note"]
    assert cells["dnsmos_after"] == cells["dnsmos_before"]
    assert np.array_equal(final, plain)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda samples: np.full_like(samples, np.nan), "not numbers"),
        (lambda samples: samples[:-1], "changed the length"),
        (np.zeros_like, "less than a hundredth"),
    ],
)
def test_a_denoiser_that_fails_costs_no_take(answer: Callable[[Waveform], Waveform], reason: str) -> None:
    final, cells = clean_take(speech_like(2, hiss=0.01), RATE, ALWAYS, Fixed(answer), Judge())
    assert cells["denoised"] is False and reason in cells["note"]
    assert loudness(final, TRAINING_RATE) == pytest.approx(-23.0, abs=0.15)


def test_auto_leaves_a_clean_take_alone_and_not_a_noisy_one() -> None:
    settings = CleanSettings()
    _, clean = clean_take(speech_like(4, hiss=1e-4), RATE, settings, HALVED, Judge())
    _, noisy = clean_take(speech_like(4, hiss=0.02), RATE, settings, HALVED, Judge())
    assert clean["denoised"] is False and "signal-to-noise ratio" in clean["note"]
    assert noisy["denoised"] is True
    assert noisy["dnsmos_before"] is None and noisy["similarity"] is None


@pytest.mark.parametrize("samples", [np.zeros(RATE, np.float32), speech_like(1, 1e-6), np.zeros(10, np.float32)])
def test_silence_passes_with_a_note(samples: Waveform) -> None:
    final, cells = clean_take(samples, RATE, ALWAYS, SpectralGate(False, 0.7), Judge())
    assert len(final) == pytest.approx(len(samples) * TRAINING_RATE / RATE, abs=1)
    assert np.isfinite(final).all()
    assert "loudness left as it was" in cells["note"]


def test_very_quiet_speech_is_raised() -> None:
    final, _ = clean_take(speech_like(3, 0.001), RATE, CleanSettings(denoise="never"), None, Judge())
    assert loudness(final, TRAINING_RATE) == pytest.approx(-23.0, abs=0.15)


@pytest.mark.parametrize("stationary", [False, True])
def test_spectral_gate_lowers_the_hiss_and_keeps_the_words(stationary: bool) -> None:
    samples = speech_like(6, hiss=0.01)
    result = checked(SpectralGate(stationary, 0.7), samples, RATE)
    in_pause = (np.arange(len(samples)) / RATE % 0.75) > 0.58
    drop = 10 * np.log10(np.square(samples[in_pause]).mean() / np.square(result[in_pause]).mean())
    assert drop > 4
    assert np.corrcoef(samples[~in_pause], result[~in_pause])[0, 1] > 0.9


def test_verdict_allows_a_small_loss_and_missing_models() -> None:
    settings = CleanSettings(dnsmos_loss=0.05, similarity=0.8)
    assert verdict(3.0, 2.96, 0.9, settings) == ""
    assert verdict(None, None, None, settings) == ""
    assert "fell" in verdict(3.0, 2.94, 0.9, settings)


def test_deepfilter_without_its_asset_is_an_error() -> None:
    with pytest.raises(AssetError, match="deepfilternet3"):
        make_denoiser(CleanSettings(method="deepfilternet3"), None)


def stage(folder: Path, sounds: dict[str, Waveform]) -> Path:
    """A separated folder with its manifest."""
    rows = []
    for name, samples in sounds.items():
        path = folder / "separated" / f"{name}.flac"
        write_flac(path, samples, RATE)
        rows.append({"take": name, "path": path.name, "sha256": sha256_file(path)})
    write_tsv(folder / "separated" / "manifest.tsv", ("take", "path", "sha256"), rows)
    return folder / "separated" / "manifest.tsv"


def test_stage_writes_redoes_only_what_changed_and_forgets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    output = tmp_path / "clean" / "manifest.tsv"
    sounds = {"one": speech_like(2, hiss=0.01), "two": speech_like(2, hiss=0.01, seed=1)}
    clean_speaker(stage(tmp_path, sounds), output, ALWAYS)
    first = {row["take"]: row for row in read_tsv(output)}
    assert all(sha256_file(output.parent / row["path"]) == row["sha256"] for row in first.values())
    assert all(row["sample_rate"] == "32000" and row["denoised"] == "true" for row in first.values())
    separated = stage(tmp_path, {"one": sounds["one"], "three": speech_like(2, hiss=0.01, seed=3)})
    clean_speaker(separated, output, ALWAYS)
    second = {row["take"]: row for row in read_tsv(output)}
    assert second["one"] == first["one"]
    assert "clean: 1 made, 1 from cache" in caplog.text
    assert not (output.parent / "two.flac").exists() and (output.parent / "three.flac").exists()


def test_a_separated_take_that_changed_is_an_error(tmp_path: Path) -> None:
    separated = stage(tmp_path, {"one": speech_like(1)})
    write_flac(tmp_path / "separated" / "one.flac", speech_like(1, seed=9), RATE)
    with pytest.raises(DataError, match=r"one\.flac: missing or changed"):
        clean_speaker(separated, tmp_path / "clean" / "manifest.tsv", ALWAYS)


def noisy_take(shared_data: Path, speaker: str, ratio_db: float) -> tuple[Waveform, Waveform, int]:
    """Ten seconds of real speech, the same with a street behind it, and the rate."""
    speech, rate = read_mono(shared_data / "speakers" / speaker / "take_02.flac")
    speech = speech[: 10 * rate]
    street, street_rate = read_audio(shared_data / "noise" / "env" / "sb_noise4.flac")
    backdrop = np.resize(resample(street[:, 0], street_rate, rate), len(speech))
    gain = np.sqrt(np.square(speech).mean() / np.square(backdrop).mean()) * 10 ** (-ratio_db / 20)
    return speech, (speech + gain * backdrop).astype(np.float32), rate


# The Mandarin recording has noise of its own, which the network takes out too: so much less error is left to win.
@pytest.mark.parametrize(("speaker", "gain"), [("ljspeech", 4.0), ("aishell_s0150", 1.5)])
def test_deepfilter_frees_real_speech_of_real_noise(
    asset: Callable[[str], Path], shared_data: Path, speaker: str, gain: float
) -> None:
    speech, noisy, rate = noisy_take(shared_data, speaker, 5)
    settings = CleanSettings(denoise="always", method="deepfilternet3")
    judge = open_judge({name: open_asset(asset(name)) for name in ("dnsmos", "campplus")})
    denoiser = make_denoiser(settings, open_asset(asset("deepfilternet3")))
    _, cells = clean_take(noisy, rate, settings, denoiser, judge)
    assert cells["denoised"] is True
    assert cells["dnsmos_after"] > cells["dnsmos_before"] + 0.3
    assert cells["snr_after"] > cells["snr_before"] + 6
    assert cells["similarity"] > 0.8
    result = checked(denoiser, noisy, rate)
    error_before, error_after = np.square(noisy - speech).mean(), np.square(result - speech).mean()
    assert error_after < error_before / gain  # holds only if the network's delay was taken out
    assert np.array_equal(result, checked(denoiser, noisy, rate))


def test_a_gate_that_eats_the_voice_is_undone_on_real_speech(asset: Callable[[str], Path], shared_data: Path) -> None:
    speech, _, rate = noisy_take(shared_data, "ljspeech", 40)
    settings = CleanSettings(denoise="always", strength=1.0, dnsmos_loss=0.05)
    judge = open_judge({name: open_asset(asset(name)) for name in ("dnsmos", "campplus")})
    _, cells = clean_take(speech, rate, settings, make_denoiser(settings, None), judge)
    assert cells["denoised"] is False and "undone" in cells["note"]


def in_room(samples: Waveform, seconds: float) -> Waveform:
    """Sound in a room whose echoes are as strong as the sound and fall by 60 dB in so many seconds."""
    time = np.arange(round(1.3 * seconds * RATE)) / RATE
    echoes = np.random.default_rng(1).normal(size=len(time)) * 10 ** (-3 * time / seconds)
    echoes /= np.sqrt(np.square(echoes).sum())
    echoes[0] = 1.0
    return fftconvolve(samples, echoes)[: len(samples)].astype(np.float32)


def voiced(seconds: float) -> Waveform:
    """Bursts of half a second of a gliding pitch, with pauses of a quarter."""
    time = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * 0.9 * time)) / RATE
    buzz = sum(np.sin(place * phase + place) / place for place in range(1, 30))
    return (0.1 * buzz * (time % 0.75 < 0.5) * np.hanning(9)[((time % 0.1) * 80).astype(int)]).astype(np.float32)


def error_of(dry: Waveform, samples: Waveform) -> float:
    """Power of what is no copy of the dry sound, over that of the copy."""
    copy = dry * (dry @ samples) / (dry @ dry)
    return float(np.square(samples - copy).sum() / np.square(copy).sum())


def test_late_echoes_are_predicted_out(tmp_path: Path) -> None:
    dry = voiced(8)
    wet = in_room(dry, 0.7)
    result = WeightedPrediction().denoise(wet, RATE)
    assert result.shape == wet.shape and error_of(dry, result) < 0.8 * error_of(dry, wet)
    assert reverberation_time(result, RATE) < reverberation_time(wet, RATE)  # type: ignore[operator]
    long = np.tile(wet, 5)  # more than a block
    spooled = WeightedPrediction().denoise(Spool([long], tmp_path), RATE)
    assert isinstance(spooled, Spool)
    assert np.array_equal(spooled[:], WeightedPrediction().denoise(long, RATE))
    for short in (np.zeros(0, np.float32), wet[:500], np.zeros(RATE, np.float32)):
        assert np.array_equal(WeightedPrediction().denoise(short, RATE), short)


def test_echoes_are_taken_out_by_measure_and_left_where_that_harms() -> None:
    auto, dry = CleanSettings(dereverb="auto", denoise="never"), voiced(6)
    wet = in_room(dry, 0.9)
    limits = [reverberation_time(samples, RATE) for samples in (dry, wet)]
    between = auto.model_copy(update={"dereverb_rt60_s": sum(limits) / 2})  # type: ignore[arg-type]
    _, left = clean_take(dry, RATE, between, None, Judge())
    _, freed = clean_take(wet, RATE, between, None, Judge())
    assert left["dereverberated"] is False and freed["dereverberated"] is True and freed["denoised"] is False
    assert left["rt60_s"] < between.dereverb_rt60_s < freed["rt60_s"]
    plain, unasked = clean_take(wet, RATE, CleanSettings(denoise="never"), None, Judge())
    assert unasked["rt60_s"] is None and unasked["dereverberated"] is False
    final, undone = clean_take(wet, RATE, between, None, Opinion(before=3.0, after=2.5))
    assert undone["dereverberated"] is False and "dereverberation undone: DNSMOS OVRL fell" in undone["note"]
    assert np.array_equal(final, plain)
    _, both = clean_take(wet, RATE, between.model_copy(update={"denoise": "always"}), HALVED, Judge())
    assert both["dereverberated"] is True and both["denoised"] is True
