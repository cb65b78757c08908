"""Separation of takes: what is kept of the channels, when music is found, what an interrupted run does again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voiceclone.assets import open_asset
from voiceclone.errors import AssetError, DataError
from voiceclone.files import read_tsv, sha256_file, write_tsv
from voiceclone.sound import accompaniment
from voiceclone.sound.accompaniment import Accompaniment, moving_tones
from voiceclone.sound.io import Waveform, read_audio, resample
from voiceclone.sound.separate import Toolbox, apply_chain, separate_speaker, separate_take
from voiceclone.sound.verdict import Judge
from voiceclone.stages.clean import JUDGES, open_judge
from voiceclone.stages.separate import SeparateSettings

RATE = 16_000


def noise(seconds: float, channels: int = 1, rate: int = RATE, seed: int = 0, level: float = 0.1) -> Waveform:
    shape = (int(seconds * rate), channels)
    return (level * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


@dataclass
class Half:
    """A separator whose answer is known: the voice is half of the input."""

    name: str = "half"
    digest: str = "half"
    seconds: float = 2.0
    overlap: float = 0.5
    value: float = 0.5
    lengths: list[int] = field(default_factory=list)

    def split(self, samples: Waveform, rate: int) -> tuple[Waveform, Waveform]:
        self.lengths.append(len(samples))
        mono = samples.mean(axis=1)
        return mono * np.float32(self.value), mono * np.float32(1 - self.value)


def test_offset_rate_and_peaks() -> None:
    loud = noise(1, rate=8_000, level=0.5) + 0.3
    mono, rate, cells = separate_take(loud, 8_000, SeparateSettings(mode="never"), Toolbox((), None))
    assert rate == 16_000 and len(mono) == 16_000
    assert abs(float(mono.mean())) < 1e-4
    assert np.abs(mono).max() == pytest.approx(1.0)
    assert "scaled" in cells["note"]
    assert cells["separated"] is False and cells["accompaniment_db"] is None
    assert separate_take(noise(1, rate=96_000), 96_000, SeparateSettings(mode="never"), Toolbox((), None))[1] == 48_000


def test_long_takes_go_through_the_chain_in_pieces() -> None:
    step = Half()
    samples = noise(9.3)
    voice = apply_chain([step, Half()], samples, RATE)
    assert voice == pytest.approx(samples[:, 0] * 0.25, abs=1e-6)
    assert max(step.lengths) == 2 * RATE and len(step.lengths) > 4


def test_a_step_that_fails_leaves_the_take_as_it_was() -> None:
    samples = noise(2)
    tools = Toolbox([Half(value=float("nan"))], None)
    mono, _, cells = separate_take(samples, RATE, SeparateSettings(mode="always"), tools)
    assert mono == pytest.approx(samples[:, 0] - samples.mean(), abs=1e-5)
    assert cells["separated"] is False and "not numbers" in cells["note"]


def test_tones_that_come_and_go_are_music_and_a_hum_is_not() -> None:
    generator = np.random.default_rng(0)
    hiss = generator.exponential(1.0, (400, 200))
    voice = np.ones((400, 200))
    hum, tune = hiss.copy(), hiss.copy()
    hum[60:64] += 3000.0
    for start in range(0, 200, 20):
        note = 50 + 30 * (start // 20)
        tune[note : note + 4, start : start + 20] += 3000.0
    assert moving_tones(hiss, voice) < 0.1
    assert moving_tones(hum, voice) < 0.1
    assert moving_tones(tune, voice) > 0.8


def test_decision() -> None:
    assert Accompaniment(5.0, 0.5).is_music(18.0)
    assert not Accompaniment(25.0, 0.5).is_music(18.0)
    assert not Accompaniment(5.0, 0.2).is_music(18.0)


def speaker(folder: Path, sounds: dict[str, tuple[Waveform, int]]) -> tuple[Path, Path]:
    """A folder of recordings and its table of takes."""
    recordings = folder / "anna"
    recordings.mkdir(parents=True)
    rows = []
    for name, (samples, rate) in sounds.items():
        path = recordings / f"{name}.wav"
        soundfile.write(str(path), samples, rate, subtype="FLOAT")
        rows.append({"take": name, "file": path.name, "sha256": sha256_file(path)})
    write_tsv(folder / "takes.tsv", ("take", "file", "sha256"), rows)
    return recordings, folder / "takes.tsv"


def test_stage_resumes_redoes_and_forgets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    folder, takes = speaker(tmp_path, {"one": (noise(1), RATE), "two": (noise(1, 2, seed=1), RATE)})
    output = tmp_path / "separated" / "manifest.tsv"
    settings = SeparateSettings(mode="never")
    separate_speaker(folder, takes, output, settings)
    rows = read_tsv(output)
    assert [row["take"] for row in rows] == ["one", "two"]
    assert all(sha256_file(output.parent / row["path"]) == row["sha256"] for row in rows)
    assert soundfile.info(str(output.parent / "two.flac")).channels == 1
    before = output.read_bytes()
    (output.parent / "two.flac").write_bytes(b"damaged")
    separate_speaker(folder, takes, output, settings)
    assert output.read_bytes() == before
    assert "separate: 1 made, 1 from cache" in caplog.text
    write_tsv(takes, ("take", "file", "sha256"), read_tsv(takes)[:1])
    separate_speaker(folder, takes, output, settings)
    assert [path.name for path in sorted(output.parent.iterdir())] == ["manifest.tsv", "one.flac", "one.json"]


def test_a_recording_that_changed_is_named(tmp_path: Path) -> None:
    folder, takes = speaker(tmp_path, {"one": (noise(1), RATE)})
    soundfile.write(str(folder / "one.wav"), noise(1, seed=5), RATE)
    with pytest.raises(DataError, match=r"one\.wav: changed"):
        separate_speaker(folder, takes, tmp_path / "out" / "manifest.tsv", SeparateSettings(mode="never"))
    assert not (tmp_path / "out" / "manifest.tsv").exists()


def test_a_recording_outside_the_folder_is_refused(tmp_path: Path) -> None:
    folder, takes = speaker(tmp_path, {"one": (noise(1), RATE)})
    outside = tmp_path / "other.wav"
    soundfile.write(str(outside), noise(1), RATE)
    write_tsv(
        takes, ("take", "file", "sha256"), [{"take": "x", "file": "../other.wav", "sha256": sha256_file(outside)}]
    )
    with pytest.raises(DataError, match="leads out"):
        separate_speaker(folder, takes, tmp_path / "out" / "manifest.tsv", SeparateSettings(mode="never"))


def test_a_chain_without_its_model_is_an_error_before_any_work(tmp_path: Path) -> None:
    folder, takes = speaker(tmp_path, {"one": (noise(1), RATE)})
    with pytest.raises(AssetError, match="bs-roformer"):
        separate_speaker(folder, takes, tmp_path / "out" / "manifest.tsv", SeparateSettings(chain=("bs-roformer",)))


def over(speech: Waveform, rate: int, path: Path, ratio_db: float) -> Waveform:
    """Speech (frames, channels) with another sound that many dB below it."""
    sound, source_rate = read_audio(path)
    backdrop = np.resize(resample(sound.mean(axis=1), source_rate, rate), len(speech))[:, None]
    gain = np.sqrt(np.square(speech).mean() / np.square(backdrop).mean()) * 10 ** (-ratio_db / 20)
    return (speech + gain * backdrop).astype(np.float32)


@pytest.mark.parametrize("name", ["ljspeech", "aishell_s0150"])
def test_auto_finds_music_and_leaves_the_rest(
    tmp_path: Path, asset: Callable[[str], Path], shared_data: Path, name: str
) -> None:
    speech, rate = read_audio(shared_data / "speakers" / name / "take_02.flac")
    speech = speech[: 20 * rate]
    noises = shared_data / "noise"
    sounds = {
        "clean": speech,
        "hiss": over(speech, rate, noises / "env" / "sonicpi_vinyl_hiss.flac", 5),
        "street": over(speech, rate, noises / "env" / "sb_noise4.flac", 5),
        "jazz": over(speech, rate, noises / "music" / "vibe_ace.flac", 5),
        "strings": over(speech, rate, noises / "music" / "brahms_hungarian_dance_5.flac", 10),
    }
    folder, takes = speaker(tmp_path, {key: (0.5 * sound, rate) for key, sound in sounds.items()})
    output = tmp_path / "separated" / "manifest.tsv"
    judges = {name: open_asset(asset(name)) for name in JUDGES}
    spleeter = open_asset(asset("spleeter-2stems"))
    separate_speaker(folder, takes, output, SeparateSettings(), spleeter, open_judge=lambda: open_judge(judges))
    rows = {row["take"]: row for row in read_tsv(output)}
    assert [key for key, row in rows.items() if "DNSMOS OVRL" in row["note"]] == ["jazz", "strings"]
    assert {key for key, row in rows.items() if row["separated"] == "true"} == {"jazz", "strings"}
    assert float(rows["jazz"]["accompaniment_db"]) < 8 < float(rows["clean"]["accompaniment_db"])
    assert rows["jazz"]["chain"] == "spleeter" and rows["clean"]["chain"] == ""


def test_audio_separator_folder_names_exactly_the_asset(tmp_path: Path, asset: Callable[[str], Path]) -> None:
    from voiceclone.sound.separators import prepare_folder

    assert prepare_folder(open_asset(asset("uvr-denoise-lite")), tmp_path) == "UVR-DeNoise-Lite.pth"
    lists = json.loads((tmp_path / "download_checks.json").read_text())
    assert lists["vr_download_list"] == {"uvr-denoise-lite": "UVR-DeNoise-Lite.pth"}
    assert (tmp_path / "vr_model_data.json").is_file() and (tmp_path / "mdx_model_data.json").is_file()


def test_audio_separator_refuses_an_asset_that_is_no_model(tmp_path: Path, asset: Callable[[str], Path]) -> None:
    from voiceclone.sound.separators import prepare_folder

    with pytest.raises(AssetError, match="2 model files"):
        prepare_folder(open_asset(asset("spleeter-2stems")), tmp_path)


def test_audio_separator_works_offline(
    tmp_path: Path, asset: Callable[[str], Path], shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("audio-separator went to the network")

    model = open_asset(asset("uvr-denoise-lite"))
    monkeypatch.setattr(requests.Session, "request", no_network)
    speech, rate = read_audio(shared_data / "speakers" / "kathleen" / "take_02.flac")
    noisy = over(speech[: 4 * rate], rate, shared_data / "noise" / "env" / "sb_noise1.flac", 5)
    folder, takes = speaker(tmp_path, {"one": (noisy, rate)})
    output = tmp_path / "separated" / "manifest.tsv"
    settings = SeparateSettings(mode="always", chain=("uvr-denoise-lite",))
    separate_speaker(folder, takes, output, settings, separators={model.name: model})
    row = read_tsv(output)[0]
    assert row["separated"] == "true" and row["chain"] == "uvr-denoise-lite"
    result, result_rate = read_audio(output.parent / row["path"])
    assert result_rate == rate and len(result) == len(noisy)
    pause = slice(0, int(0.2 * rate))
    assert np.square(result[pause]).mean() < np.square(noisy[pause]).mean()


@dataclass
class Scores:
    """A judge's models whose answers are known: quality in the order asked, and the likeness of any two sounds."""

    quality: list[float]
    likeness: float = 0.9

    def score(self, samples: Waveform, rate: int) -> dict[str, float]:
        return {"ovrl": self.quality.pop(0)}

    def embed(self, samples: Waveform, rate: int) -> Waveform:
        self.turn = not getattr(self, "turn", False)
        return np.float32([1, 0] if self.turn else [self.likeness, np.sqrt(1 - self.likeness**2)])


@pytest.mark.parametrize("mode", ["always", "auto"])
@pytest.mark.parametrize(
    ("scores", "kept", "note"),
    [
        (Scores([2.0, 3.0]), True, "DNSMOS OVRL 2.00 to 3.00, speaker similarity 0.90"),
        (Scores([3.0, 2.0]), False, "separation undone: DNSMOS OVRL fell from 3.00 to 2.00"),
        (Scores([2.0, 3.0], 0.4), False, "separation undone: speaker similarity 0.40 is below 0.60"),
    ],
)
def test_a_separation_that_does_harm_is_undone(
    mode: str, scores: Scores, kept: bool, note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accompaniment, "MUSIC_TONALITY", 0.0)
    samples, models = noise(2), Scores(list(scores.quality), scores.likeness)
    tools = Toolbox([Half()], Half() if mode == "auto" else None)
    settings = SeparateSettings(mode=mode, threshold_db=60)
    judge = Judge(models, models)  # type: ignore[arg-type]
    mono, _, cells = separate_take(samples, RATE, settings, tools, open_judge=lambda: judge)
    centred = samples[:, 0] - samples.mean()
    assert cells["separated"] is kept and note in cells["note"]
    assert mono == pytest.approx(centred * (0.5 if kept else 1.0), abs=1e-5)


def test_takes_that_are_left_alone_are_not_judged() -> None:
    def refuse() -> Judge:
        raise AssertionError("the models were loaded")

    quiet = Toolbox([Half()], Half(value=1.0))  # all voice: nothing to take out
    assert separate_take(noise(2), RATE, SeparateSettings(), quiet, open_judge=refuse)[2]["separated"] is False
    never = SeparateSettings(mode="never")
    assert separate_take(noise(2), RATE, never, Toolbox((), None), open_judge=refuse)[2]["separated"] is False
