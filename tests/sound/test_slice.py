"""Cutting takes: nothing lost, no head or tail clipped, lengths kept; on patterns of tone and on real speech."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from voiceclone.errors import DataError
from voiceclone.files import read_tsv, sha256_file, write_tsv
from voiceclone.sound.io import read_mono, write_flac
from voiceclone.sound.slice import (
    FRAME_MS,
    Span,
    check_account,
    duration_ms,
    frame_levels,
    join_short,
    noise_floor,
    plan_slices,
    quietest,
    slice_samples,
    slice_speaker,
)
from voiceclone.stages.slice import SliceSettings

RATE = 32000
DEFAULT = SliceSettings()
Samples = npt.NDArray[np.float32]


def speech_like(seconds: float, seed: int = 0) -> Samples:
    """A vowel-like buzz with syllables: what a voice activity detector takes for speech."""
    generator = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.7 * time + generator.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    formants = sum(
        np.sin(k * phase) * (np.exp(-(((k * 120 - 600) / 300) ** 2)) + 0.5 * np.exp(-(((k * 120 - 1400) / 400) ** 2)))
        for k in range(1, 25)
    )
    return (0.1 * formants * (0.7 + 0.3 * np.sin(2 * np.pi * 4 * time))).astype(np.float32)


def room(seconds: float, level: float = 1e-4, seed: int = 0) -> Samples:
    return (level * np.random.default_rng(seed).standard_normal(int(seconds * RATE))).astype(np.float32)


def pattern(pieces: list[tuple[float, float]], level: float = 1e-4) -> Samples:
    """Alternating (speech seconds, pause seconds), a pause first."""
    parts = [np.zeros(RATE // 2, np.float32)]
    for index, (speech, pause) in enumerate(pieces):
        parts += [speech_like(speech, index), np.zeros(int(pause * RATE), np.float32)]
    samples = np.concatenate(parts)
    return samples + room(len(samples) / RATE + 1, level)[: len(samples)]


def inside(spans: list[Span], samples: Samples, state: str = "slice") -> npt.NDArray[np.bool_]:
    """Which samples lie in spans of a state."""
    mask = np.zeros(len(samples), dtype=bool)
    for span in spans:
        if span.state == state:
            mask[span.start_ms * RATE // 1000 : span.end_ms * RATE // 1000] = True
    return mask


def test_two_sentences_become_two_slices_with_padding() -> None:
    samples = pattern([(3.0, 1.5), (4.0, 1.0)])
    spans = slice_samples("t", samples, RATE, DEFAULT)
    assert [span.state for span in spans] == ["silence", "slice", "silence", "slice", "silence"]
    first, second = spans[1], spans[3]
    assert 500 - 400 <= first.start_ms <= 500 - 100 and 3500 + 100 <= first.end_ms <= 3500 + 500
    assert 5000 - 400 <= second.start_ms <= 5000 - 100 and 9000 + 100 <= second.end_ms <= 9000 + 500


def test_short_speech_joins_its_neighbour() -> None:
    spans = slice_samples("t", pattern([(0.4, 0.6), (3.0, 0.5)]), RATE, DEFAULT)
    assert len([span for span in spans if span.state == "slice"]) == 1
    assert not [span for span in spans if span.state == "rejected"]


def test_short_speech_far_from_all_is_rejected_with_reason() -> None:
    spans = slice_samples("t", pattern([(0.3, 3.0), (3.0, 0.5)]), RATE, DEFAULT)
    (short,) = [span for span in spans if span.state == "rejected"]
    assert short.reason == "short" and short.start_ms < 600 < short.end_ms


def test_long_speech_is_cut_at_its_quietest_point() -> None:
    # A pause too short to end an utterance, away from the middle of the 16 s.
    samples = np.concatenate([room(0.5), speech_like(9), room(0.14), speech_like(7, 1), room(0.5)])
    spans = [span for span in slice_samples("t", samples, RATE, DEFAULT) if span.state == "slice"]
    assert len(spans) == 2
    assert 9500 <= spans[0].end_ms <= 9640 and spans[0].end_ms == spans[1].start_ms


def test_endless_speech_never_exceeds_the_maximum() -> None:
    samples = speech_like(61)
    spans = slice_samples("t", samples, RATE, DEFAULT)
    assert max(span.length_ms for span in spans if span.state == "slice") <= 12000
    assert inside(spans, samples).mean() > 0.95


@pytest.mark.parametrize("seconds", [0.021, 0.015, 0.005, 0])
@pytest.mark.parametrize("level", [1e-4, 0])
def test_takes_too_short_for_speech(seconds: float, level: float) -> None:
    samples = room(seconds, level)
    spans = slice_samples("t", samples, RATE, DEFAULT)
    assert sum(span.length_ms for span in spans) == duration_ms(len(samples), RATE)
    assert not inside(spans, samples).any()


def test_silence_is_silence() -> None:
    assert slice_samples("t", np.zeros(4 * RATE, np.float32), RATE, DEFAULT) == [Span(0, 4000, "silence")]


def test_an_offset_does_not_hide_the_pauses() -> None:
    samples = pattern([(3.0, 1.5), (4.0, 1.0)])
    assert slice_samples("t", samples + np.float32(0.2), RATE, DEFAULT) == slice_samples("t", samples, RATE, DEFAULT)


def test_level_does_not_matter() -> None:
    samples = pattern([(3.0, 1.0), (4.0, 1.0), (2.5, 0.7)])
    loud, quiet = (slice_samples("t", samples * gain, RATE, DEFAULT) for gain in (1.0, 0.03))
    assert len(loud) == len(quiet)
    assert all(abs(a.start_ms - b.start_ms) <= 60 for a, b in zip(loud, quiet, strict=True))


@settings(max_examples=25, deadline=None)
@given(
    pieces=st.lists(st.tuples(st.floats(0.1, 15), st.floats(0.05, 2.5)), min_size=1, max_size=5),
    noise=st.sampled_from([1e-5, 1e-4, 2e-3]),
    aggressiveness=st.integers(0, 3),
)
def test_every_pattern_adds_up_and_loses_no_speech(
    pieces: list[tuple[float, float]], noise: float, aggressiveness: int
) -> None:
    samples = pattern(pieces, noise)
    wanted = SliceSettings(aggressiveness=aggressiveness)
    spans = slice_samples("t", samples, RATE, wanted)
    check_account("t", spans, duration_ms(len(samples), RATE), wanted)
    truth = np.zeros(len(samples), dtype=bool)
    at = RATE // 2
    for speech, pause in pieces:
        truth[at : at + int(speech * RATE)] = True
        at += int(speech * RATE) + int(pause * RATE)
    accounted = inside(spans, samples) | inside(spans, samples, "rejected")
    assert (accounted & truth).sum() >= 0.97 * truth.sum()


@settings(max_examples=200, deadline=None)
@given(
    speech=st.lists(st.tuples(st.booleans(), st.integers(1, 1500)), max_size=12),
    minimum=st.floats(0.3, 3),
    extra=st.floats(0, 10),
    prefer=st.floats(0, 2),
    padding=st.integers(0, 500),
    pause=st.integers(100, 1000),
    join=st.integers(0, 3000),
    cut_ms=st.integers(0, 9),
)
def test_every_plan_adds_up(
    speech: list[tuple[bool, int]],
    minimum: float,
    extra: float,
    prefer: float,
    padding: int,
    pause: int,
    join: int,
    cut_ms: int,
) -> None:
    mask = np.concatenate([np.zeros(0, dtype=bool), *(np.full(length, voiced) for voiced, length in speech)])
    levels = np.where(mask, -20.0, -70.0) + np.random.default_rng(len(mask)).uniform(-5, 5, len(mask))
    wanted = SliceSettings(
        min_seconds=minimum,
        max_seconds=max(2.0, 2 * minimum) + extra,
        prefer_seconds=prefer,
        padding_ms=padding,
        min_pause_ms=pause,
        max_join_ms=join,
    )
    total = max(0, len(mask) * FRAME_MS - cut_ms)
    spans = plan_slices(mask, levels, total, wanted)
    check_account("t", spans, total, wanted)
    covered = np.zeros(len(mask) * FRAME_MS, dtype=bool)
    for span in spans:
        covered[span.start_ms : span.end_ms] = span.state != "silence"
    assert covered[:total][np.repeat(mask, FRAME_MS)[:total]].all()


def test_account_names_the_take_and_the_place() -> None:
    good = [Span(0, 500, "silence"), Span(500, 2500), Span(2500, 3000, "rejected", "short")]
    check_account("t", good, 3000, DEFAULT)
    for spans, message in (
        (good[1:], "take t: the timeline breaks at 0 ms"),
        (good[:2], "take t: the timeline ends at 2500 ms, the recording at 3000 ms"),
        ([Span(0, 3000), Span(2900, 3000, "silence")], "take t: the timeline breaks at 3000 ms"),
        ([Span(0, 3000, "slice"), Span(3000, 3000, "silence")], "breaks at 3000 ms"),
        ([Span(0, 900), Span(900, 3000)], "take t: slice at 0 ms is 900 ms long, expected 1 to 12 s"),
    ):
        with pytest.raises(DataError, match=message):
            check_account("t", spans, 3000, DEFAULT)


def test_quietest_prefers_a_pause_to_a_closure() -> None:
    levels = np.full(1000, -20.0)
    levels[300:304] = -60  # closure of a stop
    levels[600:614] = -58  # short pause
    assert 6000 <= quietest(levels, 1000, 9000, 3000) < 6140


def test_join_takes_the_smaller_pause() -> None:
    pieces = [Span(0, 3000), Span(3900, 4200), Span(4600, 8000)]
    assert join_short(pieces, 1000, 11600, 1000) == [Span(0, 3000), Span(3900, 8000)]
    assert join_short(pieces, 1000, 3000, 1000) == pieces


def make_clean(folder: Path, takes: dict[str, Samples]) -> tuple[Path, Path]:
    """Manifest of cleaned takes and table of takes, as the stages before write them."""
    rows = []
    for take, samples in takes.items():
        write_flac(folder / "clean" / f"{take}.flac", samples, RATE)
        rows.append({"take": take, "path": f"{take}.flac", "sha256": sha256_file(folder / "clean" / f"{take}.flac")})
    write_tsv(folder / "clean" / "manifest.tsv", ["take", "path", "sha256"], rows)
    write_tsv(folder / "takes.tsv", ["take"], [{"take": take} for take in takes])
    return folder / "clean" / "manifest.tsv", folder / "takes.tsv"


def run(folder: Path, takes: dict[str, Samples]) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    clean, table = make_clean(folder, takes)
    manifest, timeline = folder / "slices" / "manifest.tsv", folder / "slices" / "timeline.tsv"
    slice_speaker(clean, table, manifest, timeline, DEFAULT)
    return read_tsv(manifest), read_tsv(timeline)


def test_tables_and_files(tmp_path: Path) -> None:
    samples = pattern([(3.0, 1.5), (4.0, 1.0)])
    rows, timeline = run(tmp_path, {"a-00000000": samples})
    assert [row["utterance"] for row in rows] == [
        f"a-00000000-{int(row['start_ms']):07d}-{int(row['end_ms']):07d}" for row in rows
    ]
    cleaned, _ = soundfile.read(str(tmp_path / "clean" / "a-00000000.flac"), dtype="int16")
    for row in rows:
        path = tmp_path / "slices" / row["path"]
        assert sha256_file(path) == row["sha256"]
        cut, rate = soundfile.read(str(path), dtype="int16")
        start, end = int(row["start_ms"]) * 32, int(row["end_ms"]) * 32
        assert rate == RATE and float(row["seconds"]) == round(len(cut) / rate, 3)
        np.testing.assert_array_equal(cut, cleaned[start:end])
    assert [int(span["start_ms"]) for span in timeline[1:]] == [int(span["end_ms"]) for span in timeline[:-1]]
    assert (timeline[0]["start_ms"], timeline[-1]["end_ms"]) == ("0", str(duration_ms(len(samples), RATE)))
    assert {span["utterance"] for span in timeline} - {""} == {row["utterance"] for row in rows}


def test_other_takes_do_not_move_utterances(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = pattern([(3.0, 1.5), (4.0, 1.0)]), pattern([(2.0, 1.1), (5.0, 1.0)])
    before, _ = run(tmp_path, {"a": first})
    caplog.set_level("INFO", logger="voiceclone.sound.slice")
    both, _ = run(tmp_path, {"a": first, "b": second})
    assert [row for row in both if row["take"] == "a"] == before
    assert "a: cached" in caplog.text and "b: made" in caplog.text
    (tmp_path / "slices" / both[0]["path"]).write_bytes(b"damaged")
    again, _ = run(tmp_path, {"a": first, "b": second})
    assert again == both and sha256_file(tmp_path / "slices" / both[0]["path"]) == both[0]["sha256"]
    run(tmp_path, {"b": second})
    assert not (tmp_path / "slices" / "a").exists() and not (tmp_path / "slices" / "a.json").exists()


def test_errors_name_the_matter(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)no speech of 1 s or more in 1 takes.*a: slice 0\.0 s, silence 4\.0 s"):
        run(tmp_path, {"a": np.zeros(4 * RATE, np.float32)})
    clean, takes = make_clean(tmp_path, {"a": pattern([(3.0, 1.0)])})
    write_tsv(takes, ["take"], [{"take": "a"}, {"take": "b"}])
    with pytest.raises(DataError, match=r"takes \['b'\].*are missing"):
        slice_speaker(clean, takes, tmp_path / "m.tsv", tmp_path / "t.tsv", DEFAULT)


@pytest.mark.parametrize(
    ("speaker", "share"), [("ljspeech", 0.99), ("kathleen", 0.99), ("kerstin", 0.99), ("aishell_s0150", 0.97)]
)
def test_true_speech_of_real_recordings_is_kept(shared_data: Path, speaker: str, share: float) -> None:
    folder = shared_data / "speakers" / speaker
    with (folder / "transcripts.csv").open(encoding="utf-8") as handle:
        truth = list(csv.DictReader(handle))
    active = kept = in_speech = 0
    for file in sorted({row["file"] for row in truth}):
        samples, rate = read_mono(folder / file, RATE)
        spans = slice_samples(file, samples, rate, DEFAULT)
        assert all(1000 <= span.length_ms <= 12000 for span in spans if span.state == "slice")
        levels = frame_levels(samples, rate)
        covered = np.repeat(inside(spans, samples)[:: rate * FRAME_MS // 1000], 1)
        for row in truth:
            if row["file"] != file:
                continue
            start, end = int(float(row["start_s"]) * 100), int(float(row["end_s"]) * 100)
            # Speech: what is within 40 dB of the sentence's loudest frame, and 8 dB over the noise of the room.
            speech = levels[start:end] > max(levels[start:end].max() - 40, noise_floor(levels)[0] + 8)
            active += int(speech.sum())
            kept += int((speech & covered[start:end]).sum())
            loud = levels[start:end] > levels[start:end].max() - 20
            cuts = {
                edge // FRAME_MS - start
                for span in spans
                if span.state == "slice"
                for edge in (span.start_ms, span.end_ms)
            }
            in_speech += sum(bool(loud[cut]) for cut in cuts if 0 <= cut < len(loud))
    assert kept / active >= share
    assert in_speech == 0
