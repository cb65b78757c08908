"""The source-filter decoder of the size ``small``: its pulses, its filter, the prototype's weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.support.toy_voice import toy_voice
from tests.support.voice_fixture import make_voice

from voiceclone.backends.bundle import read_bundle
from voiceclone.backends.waveform import Frames, Source
from voiceclone.errors import ConfigError, DataError, VoiceCloneError
from voiceclone.export.bundle import export_voice
from voiceclone.export.parity import check, gates
from voiceclone.files import read_json, write_json
from voiceclone.kernels.binding import load_kernels
from voiceclone.models.sovits import SoVITS, SoVITSConfig
from voiceclone.speaking import batch
from voiceclone.speaking.batch import Defaults, Job, read_jobs
from voiceclone.speaking.options import SpeechOptions
from voiceclone.speaking.runtimes import KernelBackend
from voiceclone.speaking.streaming import Streaming, stream
from voiceclone.speaking.synthesizer import Synthesizer
from voiceclone.stages.export import ExportSettings
from voiceclone.targets import TARGETS

RATE = 32000
#: Of the row of the test below as the program wrote it without pitch, where the sampling is the voice's own.
KEY_WITHOUT_PITCH = "02bb6b525294e698"


def flat_frames(count: int, f0: float = 160.0) -> Frames:
    """Frames whose filters do nothing, all voiced, without noise."""
    level = np.zeros((count, 641), np.float32)
    return Frames(
        np.full(count, np.log(f0), np.float32), np.ones(count, np.float32), level, np.full_like(level, -30), level
    )


def lowest_line(wave: np.ndarray) -> float:
    """Frequency in Hz of the first line of a spectrum."""
    lines = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 8 * len(wave)))
    place = int(np.argmax(lines > lines.max() / 2))
    return (place + int(np.argmax(lines[place : place + 100]))) * RATE / 8 / len(wave)


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and features of a voice of random weights, which is voiced throughout."""
    root = make_voice(tmp_path_factory.mktemp("small"), SoVITSConfig.small(codes=256))
    weights = load_file(root / "models" / "sovits.safetensors")
    weights["dec.pitch.2.bias"][1] = 1.0
    save_file(weights, root / "models" / "sovits.safetensors")
    return root


@pytest.fixture(scope="module")
def bundles(voice: Path) -> dict[str, Path]:
    """Bundles of that voice; the export checks graphs and parity itself."""
    targets = ("onnx-fp32", "onnx-fp16", "onnx-int8", "trt-fp16")
    # The text model is random too: 8 bits prefer other tokens.
    loose = ExportSettings(min_token_agreement=0)
    for target in targets:
        export_voice(voice / "models", voice / "features", target, voice / target, loose, "anna")
    return {target: voice / target for target in targets}


@pytest.fixture(scope="module")
def sovits() -> SoVITS:
    torch.manual_seed(0)
    return SoVITS(SoVITSConfig.small()).eval()


def test_old_architectures_are_written_as_before():
    for config in (SoVITSConfig.v2(), SoVITSConfig.v2pro(), SoVITSConfig.nano()):
        assert not SoVITSConfig.OPTIONS & config.to_dict().keys()
    assert SoVITSConfig.small().to_dict()["decoder"] == "source_filter"
    assert SoVITSConfig.from_dict(SoVITSConfig.small().to_dict()) == SoVITSConfig.small()
    with pytest.raises(ConfigError, match="decoder 'wavenet'"):
        SoVITSConfig(decoder="wavenet")


def test_the_state_of_the_prototype_fits(shared_base: Path) -> None:
    state = load_file(shared_base / "states" / "sovits_fp16.safetensors")
    network = SoVITS(SoVITSConfig.small())
    network.load_state_dict({key: value for key, value in state.items() if not key.startswith("d.")}, strict=True)


def test_the_wave_has_the_length_of_the_tokens(sovits):
    config = sovits.config
    with torch.no_grad():
        style = torch.randn(1, config.gin_channels, 1)
        wave = sovits.decode(torch.randint(0, 512, (1, 1, 9)), torch.randint(0, 732, (1, 7)), style)
    assert wave.shape == (1, 1, 9 * 1280)
    assert torch.isfinite(wave).all()


def test_pulses_have_equal_harmonics_of_unit_power_at_f0(sovits):
    frames, f0 = 100, 200.0
    pulses, noise = sovits.dec.source(torch.full((1, frames), f0).log(), torch.ones(1, frames))
    assert pulses.shape == noise.shape == (1, (frames + 6) * 320)
    second = pulses[0, :RATE].double()
    assert second.square().mean().item() == pytest.approx(1, abs=0.01)
    lines = torch.fft.rfft(second).abs() * 2 / RATE  # a bin per hertz
    harmonics = int(0.47 * RATE / f0)
    each = lines[200 : 200 * harmonics + 1 : 200]
    np.testing.assert_allclose(each, (2 / harmonics) ** 0.5, rtol=1e-2)
    assert lines[200 * harmonics + 100 :].max() < 1e-3


def test_flat_filters_give_the_source_back(sovits):
    """Windows overlap to one: with a magnitude of one and no phase, pulses and noise come through as they are."""
    decoder, frames = sovits.dec, 30
    flat = torch.zeros(1, frames, decoder.bins)
    log_f0, voiced = torch.full((1, frames), 5.0), torch.ones(1, frames)
    given = decoder.frames(torch.randn(1, 96, frames // 2), torch.randn(1, 128, 1))
    given = given._replace(harmonic=flat, noise=flat, phase=flat)
    start, noise = torch.full((1, 1), 0.3, dtype=torch.double), torch.randn(1, (frames + 6) * 320)
    pulses, _ = decoder.source(log_f0, voiced, noise, start)
    wave = decoder.synthesise(given, log_f0, voiced, noise, start)[:, 0]
    torch.testing.assert_close(wave, (pulses + noise)[:, 960:-960], atol=1e-4, rtol=1e-4)


def test_training_gets_the_pitch_and_reaches_every_weight():
    torch.manual_seed(0)
    decoder = SoVITS(SoVITSConfig.small()).dec
    latent, style = torch.randn(2, 96, 8), torch.randn(2, 128, 1)
    wave, log_f0, voicing = decoder(latent, style, torch.full((2, 16), 5.0), torch.ones(2, 16))
    assert wave.shape == (2, 1, 8 * 640)
    assert log_f0.shape == voicing.shape == (2, 16)
    (wave.square().mean() + log_f0.mean() + voicing.mean()).backward()
    without = [name for name, weight in decoder.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert without == []


@torch.no_grad()
def test_numpy_speaks_as_torch(sovits):
    decoder = sovits.dec
    frames = decoder.frames(torch.randn(1, 96, 40), torch.randn(1, 128, 1))
    frames = frames._replace(voicing=torch.cos(torch.arange(80) / 7.0)[None])
    mine = Source(np.random.default_rng(0)).wave(Frames(*(part[0].numpy() for part in frames)), RATE)
    rng = np.random.default_rng(0)
    log_f0 = frames.log_f0.clamp(4.1, 6.3)
    # Torch counts the phase from the margin on, three frames before the utterance.
    start = torch.tensor([[rng.random()]]).double() - 960 / RATE * log_f0[:, :1].double().exp()
    noise = torch.from_numpy(rng.standard_normal((1, 86 * 320), np.float32))
    theirs = decoder.synthesise(frames, log_f0, (frames.voicing > 0).float(), noise, start)[0, 0].numpy()
    assert len(mine) == len(theirs) == 40 * 640
    assert np.abs(mine - theirs).max() < 1e-4 * np.abs(theirs).max()


def kernels_here() -> Any:
    """The kernels, where a compiler is."""
    kernels = load_kernels()
    if kernels is None:
        pytest.skip("no C compiler here")
    kernels.start_team(2)
    return kernels


@pytest.mark.parametrize("count", [1, 2, 15, 131])
def test_kernels_make_the_wave_that_numpy_makes(count: int) -> None:
    """Pulses of all heights and none, filters of every depth, phases of several turns."""
    rng = np.random.default_rng(count)

    def filters(mean: float, spread: float) -> np.ndarray:
        return rng.normal(mean, spread, (count, 641)).astype(np.float32)

    log_f0 = rng.uniform(3.5, 6.5, count).astype(np.float32)
    voicing = np.sin(np.arange(count) / 5).astype(np.float32) + np.float32(0.5)
    frames = Frames(log_f0, voicing, filters(-1, 3), filters(-3, 20), filters(0, 8))
    mine, theirs = (
        Source(np.random.default_rng(1), 1.0, 1.3).wave(frames, RATE, kernels) for kernels in (kernels_here(), None)
    )
    assert mine.shape == theirs.shape == (320 * count,)
    assert np.abs(mine - theirs).max() < 2e-6 * np.abs(theirs).max()


def test_the_wave_of_the_kernels_depends_on_no_number_of_threads() -> None:
    program = """
import numpy as np, sys
from voiceclone.backends.waveform import Frames, Source
from voiceclone.kernels.binding import load_kernels

rng, kernels = np.random.default_rng(0), load_kernels()
assert kernels.start_team(int(sys.argv[1])) == int(sys.argv[1])
filters = rng.normal(0, 1, (3, 47, 641)).astype(np.float32)
frames = Frames(rng.normal(5, 0.1, 47).astype(np.float32), np.ones(47, np.float32), *filters)
sys.stdout.buffer.write(Source().wave(frames, 32000, kernels).tobytes())
"""
    kernels_here()
    waves = [
        subprocess.run([sys.executable, "-c", program, threads], capture_output=True, check=True, timeout=60).stdout
        for threads in ("1", "2", "5")
    ]
    assert len(waves[0]) == 4 * 320 * 47 and waves[0] == waves[1] == waves[2]


@pytest.mark.parametrize("ends", [(60,), (1, 2, 3, 60), (7, 30, 31, 60)])
@pytest.mark.parametrize(("engine", "anew", "tolerance"), [("numpy", False, 0), ("kernels", False, 0),
                                                           ("numpy", True, 1e-3)])  # fmt: skip
@torch.no_grad()
def test_parts_are_the_whole(sovits, ends, engine, anew, tolerance):
    """Seen far enough to both sides, each part is to the last bit what it is in the whole: phase, noise, windows go on.

    Frames that the network makes anew differ by a rounding of F0, which harmonics at 15 kHz multiply.
    """
    kernels = kernels_here() if engine == "kernels" else None
    rng = np.random.default_rng(1)
    latent, style = torch.from_numpy(rng.standard_normal((1, 96, 60), np.float32)), torch.zeros(1, 128, 1)
    sovits.dec.pitch[2].bias[1] = 0.1  # some frames voiced, some not
    every = Frames(*(part[0].numpy() for part in sovits.dec.frames(latent, style)))
    assert 0.1 < (every.voicing > 0).mean() < 0.9
    whole = Source(np.random.default_rng(0), 2.0).wave(every, RATE, kernels)
    source, begin, context, parts = Source(np.random.default_rng(0), 2.0), 0, Streaming().context, []
    for end in ends:
        first, stop = max(0, begin - context), min(60, end + context)
        frames = Frames(*(part[2 * first : 2 * stop] for part in every))
        if anew:
            frames = Frames(*(part[0].numpy() for part in sovits.dec.frames(latent[:, :, first:stop], style)))
        wave = source.part(first, begin, end).wave(frames, RATE, kernels)
        parts.append(wave[(begin - first) * 640 : (end - first) * 640])
        begin = end
    assert np.abs(np.concatenate(parts) - whole).max() <= tolerance * np.abs(whole).max()


def test_pitch_and_its_range():
    frames = flat_frames(100)
    assert lowest_line(Source().wave(frames, RATE)) == pytest.approx(160, rel=0.01)
    assert lowest_line(Source(semitones=7).wave(frames, RATE)) == pytest.approx(160 * 2 ** (7 / 12), rel=0.01)
    rising = frames._replace(log_f0=np.log(np.linspace(120, 220, 100)).astype(np.float32))
    mean = np.exp(rising.log_f0.mean())
    assert lowest_line(Source(pitch_range=0).wave(rising, RATE)) == pytest.approx(mean, rel=0.01)
    wide = Source(pitch_range=2.0)._contour(rising)
    np.testing.assert_allclose(wide - wide.mean(), 2 * (rising.log_f0 - rising.log_f0.mean()), atol=1e-5)
    np.testing.assert_array_equal(Source()._contour(rising), rising.log_f0)


def test_a_voice_speaks_higher(voice: Path) -> None:
    synthesizer = Synthesizer.from_models(voice / "models", voice / "features")
    plain, again, higher = (
        synthesizer.say("One two three.", seed=3, max_tokens_per_phone=1.0, attempts=1, pitch=pitch).samples
        for pitch in (0, 0, 5)
    )
    assert np.array_equal(plain, again)
    assert len(higher) == len(plain) and not np.array_equal(higher, plain)
    options = SpeechOptions(max_tokens_per_phone=2.0, pitch=-3.0, pitch_range=1.5)
    parts = list(stream(synthesizer, "One two three.", options=options, streaming=Streaming(first_tokens=6, tokens=5)))
    assert len(parts) > 1
    assert np.isfinite(np.concatenate(parts)).all()


def test_a_stream_of_a_hifigan_has_no_pitch_to_move() -> None:
    with pytest.raises(ConfigError, match="HiFi-GAN decoder"):
        next(stream(toy_voice(), "Hello.", options=SpeechOptions(pitch_range=0.5)))
    with pytest.raises(ConfigError, match="pitch 30: out of range"):
        SpeechOptions(pitch=30.0)


def test_pitch_is_a_column_and_changes_no_other_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "revisions", lambda: {"batch": 3})
    table = tmp_path / "texts.tsv"
    table.write_text("name\ttext\tpitch\tpitch_range\na\tHello.\t-2\t1.2\nb\tHello.\t\t\n")
    moved, plain = read_jobs(table, Defaults(options=SpeechOptions(attempts=1)))
    assert isinstance(moved, Job) and isinstance(plain, Job)
    assert (moved.options.pitch, moved.options.pitch_range) == (-2.0, 1.2)
    assert (plain.options.pitch, plain.options.pitch_range) == (0.0, 1.0)
    assert moved.key() != plain.key() == KEY_WITHOUT_PITCH


def test_bundles_end_at_the_frames(bundles: dict[str, Path]) -> None:
    for target, folder in bundles.items():
        description, _ = read_bundle(folder)
        assert description["decoder"] == "source_filter" and description["format_version"] == 4
        assert "frames.onnx" in description["files"] and "tail.onnx" not in description["files"]
        parity = read_json(folder / "parity.json")
        assert parity["pitch"]["other_voicing"] == 0
        assert 0 < parity["pitch"]["mean_cents"] < (10 if target == "onnx-int8" else 1), target
        assert parity["spectral_distance_db"] < 0.5
    sizes = {target: (folder / "frames.onnx").stat().st_size for target, folder in bundles.items()}
    assert sizes["onnx-int8"] <= 1.02 * sizes["onnx-fp16"] < 0.6 * sizes["onnx-fp32"]  # 8 bits would be heard


def test_a_program_of_before_is_told(bundles: dict[str, Path], tmp_path: Path) -> None:
    """Its check was ``version > 3``; what is later than both is refused here."""
    description = {**read_json(bundles["onnx-fp32"] / "bundle.json"), "format_version": 5}
    write_json(tmp_path / "bundle.json", description)
    with pytest.raises(DataError, match="format version 5, this program reads 3 and 4"):
        read_bundle(tmp_path)


@pytest.mark.parametrize("engine", ["onnxruntime", "auto"])
def test_bundle_and_torch_say_the_same(voice: Path, bundles: dict[str, Path], engine: str) -> None:
    exported = Synthesizer.from_bundle(bundles["onnx-fp32"], engine=engine)
    trained = Synthesizer.from_models(voice / "models", voice / "features")
    first, second = (
        each.say("One two three.", seed=3, top_k=1, max_tokens_per_phone=1.0, attempts=1, pitch=3.0, pitch_range=0.5)
        for each in (exported, trained)
    )
    assert first.tokens == second.tokens
    # Roundings of F0 add up in the phase of the pulses.
    assert np.abs(first.samples - second.samples).max() < 0.05 * np.abs(second.samples).max()
    assert engine == "onnxruntime" or load_kernels() is None or isinstance(exported.backend, KernelBackend)


def test_graphs_for_tensorrt_speak_by_onnxruntime(bundles: dict[str, Path]) -> None:
    speech = Synthesizer.from_bundle(bundles["trt-fp16"], engine="onnxruntime").say(
        "One.", max_tokens_per_phone=1.0, attempts=1
    )
    assert np.isfinite(speech.samples).all() and len(speech.samples) > 0


def test_8_bits_of_tensorrt_are_refused(voice: Path, tmp_path: Path) -> None:
    with pytest.raises(VoiceCloneError, match="this voice has a source-filter decoder"):
        export_voice(voice / "models", voice / "features", "trt-int8", tmp_path / "out", ExportSettings(), "anna")


def test_gates_know_pitch_and_voicing(bundles: dict[str, Path]) -> None:
    parity = read_json(bundles["onnx-int8"] / "parity.json")
    loose = ExportSettings(min_token_agreement=0)
    found = gates(parity, TARGETS["onnx-int8"], loose)
    assert found.keys() == {"pitch_cents", "other_voicing", "other_tokens", "spectral_distance_db"}
    assert found["pitch_cents"]["value"] == pytest.approx(parity["pitch"]["mean_cents"], rel=1e-3)
    assert found["other_tokens"]["value"] == pytest.approx(1 - parity["token_agreement"])
    check(parity, TARGETS["onnx-int8"], loose)
    off = parity["pitch"] | {"mean_cents": TARGETS["onnx-int8"].max_cents + 1}
    with pytest.raises(VoiceCloneError, match=r"F0 is off by 11\.00 cents"):
        check(parity | {"pitch": off}, TARGETS["onnx-int8"], loose)
    with pytest.raises(VoiceCloneError, match=r"30\.00% of the frames are voiced in one alone"):
        check(parity | {"pitch": parity["pitch"] | {"other_voicing": 0.3}}, TARGETS["onnx-int8"], loose)
