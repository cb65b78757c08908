"""Judgements of utterances: what each measure tells of real recordings with a fault, limits of each speaker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.support.corpus_fixture import Results, utterance_id
from tests.support.planted import RATE, Planter, Workbench, by_sound, judge_mixes, table

from voiceclone.assets import open_assets
from voiceclone.corpus.judge import (
    LIMITS,
    NUMBER_PHONES,
    combined,
    compare,
    least_sure,
    mismatch,
    similarities,
    suspicions,
)
from voiceclone.files import read_tsv
from voiceclone.sound.clips import envelope, event_seconds, measure_clip
from voiceclone.stages.corpus import CorpusSettings
from voiceclone.stages.settings import RuntimeSettings

#: Faults that are heard without a network, and the measure that tells.
BY_SOUND = {
    "hum of 0.5 s": "hum_db", "clipping": "flat_db", "8 kHz upsampled": "treble_db", "reverberation": "rt60_s",
    "music bed": "floor_db", "missing tail": "tail_db", "two people at once": "overlap_share",
}  # fmt: skip


@pytest.fixture(scope="module")
def planter(shared_data: Path) -> Planter:
    return Planter(shared_data, "ljspeech", "kerstin")


@pytest.fixture(scope="module")
def clean(planter: Planter) -> list[dict]:
    return [measure_clip(clip.samples, RATE) for clip in planter.clips]


@pytest.mark.parametrize(("kind", "column"), BY_SOUND.items())
def test_a_measure_moves_the_bad_way_where_a_fault_is_planted(
    planter: Planter, clean: list[dict], kind: str, column: str
) -> None:
    worse = next(limit.worse for limit in LIMITS if limit.column == column)
    own = dict(zip((clip.name for clip in planter.clips), clean, strict=True))
    moved = []
    for clip in planter.plant(kind, 4):
        before, after = own[clip.name][column], measure_clip(clip.samples, RATE)[column]
        moved.append(worse * (after - before) > 0)
    assert np.mean(moved) >= 0.75, (kind, moved)


def test_a_second_voice_is_found_where_both_are_voiced() -> None:
    def voice(hertz: float) -> np.ndarray:
        """Harmonics of a pitch that glides by a tenth, as a vowel has them."""
        phase = 2 * np.pi * np.cumsum(hertz * np.linspace(1, 1.1, 2 * RATE)) / RATE
        return sum(np.sin(place * phase) / place for place in range(1, 12)).astype(np.float32)

    noise = np.random.default_rng(0).normal(size=2 * RATE).astype(np.float32)
    alone, both = voice(110) + 0.05 * noise, voice(110) + 0.6 * voice(160) + 0.05 * noise
    shares = [measure_clip(samples, RATE)["overlap_share"] for samples in (alone, both, noise)]
    assert shares[0] == 0 and shares[1] > 0.5 and shares[2] < 0.02  # type: ignore[operator]
    assert measure_clip(alone[:1000], RATE)["overlap_share"] is None


def test_faults_in_the_sound_stand_first_and_flags_are_right(planter: Planter, clean: list[dict]) -> None:
    """A smaller form of ``tests/benchmarks/test_planted_faults.py``, without the networks."""
    kinds = [kind for kind in BY_SOUND if kind != "missing tail"]  # sound alone tells it only where the cut is loud
    planted = [(clip, measure_clip(clip.samples, RATE)) for kind in kinds for clip in planter.plant(kind, 2)]
    found = judge_mixes(list(zip(planter.clips, clean, strict=True)), planted, CorpusSettings().max_suspicion, by_sound)
    right = sum(found[kind].flagged for kind in kinds)
    assert all(found[kind].first == found[kind].count for kind in kinds), table(found)
    assert right / (right + found[""].flagged) >= 0.8 and not found[""].lost, table(found)


def test_digital_silence_and_events_are_measured_in_seconds() -> None:
    rng = np.random.default_rng(0)
    speech = (rng.normal(size=RATE * 3) * 0.1).astype(np.float32)
    speech[RATE : RATE + RATE // 4] = 0.0
    assert measure_clip(speech, RATE)["silence_s"] == pytest.approx(0.25, abs=0.01)
    wave = np.full(16_000 * 3, 1e-4, np.float32)
    wave[8_000:16_000] = 0.2  # a word
    wave[32_000:40_000] = 0.2  # half a second of something else
    word, other = ({"word": "words", "start": start, "end": start + 0.5} for start in (0.5, 2.0))
    assert event_seconds(wave, [word]) == pytest.approx(0.5, abs=0.05)
    assert event_seconds(wave, [word, other]) == 0.0
    assert event_seconds(wave, [word, word, other | {"start": 1.0}]) == 0.0
    stretched = {"word": "it", "start": 0.0, "end": 2.5}  # the recogniser counts the sound before with the short word
    assert event_seconds(wave, [stretched, *({"word": "of", "start": 2.6, "end": 2.7} for _ in range(3))]) > 0.4
    assert len(envelope(wave)) == 96 and set(envelope(wave)) == {"a", "z"}


def test_limits_are_those_of_the_speaker() -> None:
    def rows(values: list[float]) -> list[dict]:
        return [{"snr_db": value} for value in values]

    noisy = suspicions(rows([12, 13, 11, 12, 14, 13, 12, 11, 13, 12]))
    assert max(combined(found) for found in noisy) < 1  # all of them alike: nothing is suspicious
    odd = suspicions(rows([50, 51, 49, 50, 52, 51, 50, 49, 51, 12]))
    assert [combined(found) >= 1 for found in odd] == [False] * 9 + [True]
    assert suspicions(rows([50, 50, 50, 12])) == [[], [], [], []]  # too few to know what is usual
    scattered = suspicions(rows([50, 51, 49, 50, 52, 51, 40, 36, 33, 30]))
    assert max(combined(found) for found in scattered) < 1  # it is this speaker's way to be noisy at times


def test_an_unlikely_word_counts_only_where_other_sounds_are_heard() -> None:
    logs = [-0.2, -0.3, -0.1, -0.2, -0.4, -0.3, -0.2, -0.1, -0.2, -9.0]
    for differing, found in ((0, False), (2, False), (3, True), (None, True)):
        *_, odd = suspicions([{"alignment": value, "differing": differing} for value in logs])
        assert ("alignment" in [limit.column for _, limit in odd]) == found, differing


def test_an_end_is_judged_by_its_amplitude() -> None:
    ends = suspicions([{"tail_db": value} for value in [-60, -45, -30, -28, -55, -33, -27, -50, -5]])
    assert [combined(found) >= 1 for found in ends] == [False] * 8 + [True]  # among quiet ends no difference counts


def test_a_mismatch_needs_other_phones_and_an_unlikely_word() -> None:
    def words(*probabilities: float) -> list[dict]:
        return [{"word": " so", "probability": value} for value in probabilities]

    assert least_sure([*words(0.9, 0.9), {"word": ";", "probability": 1e-6}]) == pytest.approx(np.log(0.9))
    assert least_sure([]) is None and mismatch(None, 3) is None
    name, short, other = mismatch(-1.3, 5), mismatch(-4.3, 0), mismatch(least_sure(words(0.9, 1e-9, 0.01)), 6)
    assert name is not None and short is not None and other is not None
    assert short == 0.0 < name < 3 < other


def test_another_word_differs_in_more_phones_than_a_misheard_one() -> None:
    text = "The harbour was quiet before the first boats came in."
    assert compare(text, text, "en") == (1.0, 0)
    misheard = compare(text, "The harbor was quiet before the first boat came in.", "en")
    other = compare(text, "The harbour was quiet before the elephants came in.", "en")
    assert misheard[1] is not None and other[1] is not None and misheard[1] <= 2 < other[1]
    assert compare(text, "", "en") == (None, None)
    assert compare("It cost 2,500 dollars.", "It cost two thousand five hundred dollars.", "en") == (1.0, 0)
    wrong = compare("It cost 2,500 dollars.", "It cost two thousand nine hundred dollars.", "en")
    assert wrong[1] is not None and wrong[1] > 2
    assert compare("他买了三本书", "他买了四本书", "zh") == (pytest.approx(5 / 6), NUMBER_PHONES)


def test_other_voices_do_not_move_the_centre() -> None:
    rng = np.random.default_rng(0)
    own, others = rng.normal(size=192), rng.normal(size=192)
    vectors = [*(own + 0.2 * rng.normal(size=(10, 192))), *(others + 0.2 * rng.normal(size=(3, 192)))]
    found = similarities([*(list(vector) for vector in vectors), []])
    assert found.pop() is None  # too short for a vector
    assert min(value for value in found[:10] if value) > 0.9 > max(value for value in found[10:] if value)


class Judged:
    """Stands in for the networks: measures that are written by hand; what they lead to is real."""

    def __init__(self, odd: dict[int, dict[str, float]]) -> None:
        self.odd = {utterance_id(index): values for index, values in odd.items()}
        self.cache = type("Cache", (), {"summary": staticmethod(lambda: "")})()

    def measure(self, item, path: Path, record: dict) -> dict:
        usual = {
            "snr_db": 40.0, "bandwidth_hz": 11_000.0, "crest_db": 5.0, "silence_s": 0.0, "head_db": -40.0,
            "tail_db": -40.0, "rt60_s": 0.2, "hum_db": 0.0, "event_s": 0.0, "dnsmos": 3.2, "distillmos": 4.2,
            "alignment": -0.3, "other_language": 0.0, "flat_db": 0.3, "floor_db": -45.0, "treble_db": 15.0,
            "buzz_db": 0.0, "tone_db": 10.0,
        }  # fmt: skip
        vector = np.random.default_rng(len(item.text)).normal(size=192) * 0.05 + 1
        return usual | {"vector": vector, "words": record["words"], "envelope": "a"} | self.odd.get(item.utterance, {})

    def prune(self, items) -> None:
        pass


def test_what_is_odd_is_flagged_or_left_out_and_comes_first(tmp_path: Path, monkeypatch) -> None:
    from tests.support import corpus_fixture

    build = corpus_fixture.build_corpus
    judge = Judged({4: {"snr_db": 20.0}, 9: {"crest_db": 0.1, "dnsmos": 1.0, "distillmos": 1.0}})
    monkeypatch.setattr(corpus_fixture, "build_corpus", lambda *args, **named: build(*args, judge=judge, **named))
    results = Results(tmp_path)
    corpus = results.build(CorpusSettings())
    rows = {row["utterance"]: row for row in read_tsv(corpus / "corpus.tsv")}
    assert [name for name, row in rows.items() if "suspicious" in row["flags"]] == [utterance_id(4)]
    lost = {row["utterance"]: row for row in read_tsv(corpus / "rejected.tsv")}
    assert list(lost) == [utterance_id(9)] and lost[utterance_id(9)]["reason"] == "suspicious"
    assert "overdriven" in lost[utterance_id(9)]["detail"]
    page = (corpus / "proofread.html").read_text(encoding="utf-8")
    assert page.index(utterance_id(9)) < page.index(utterance_id(4)) < page.index(utterance_id(0))
    assert "noise, music or echo" in page
    results.correct(f"{utterance_id(9)}\tkeep\t\tfine")
    kept = {row["utterance"]: row for row in read_tsv(results.build(CorpusSettings()) / "corpus.tsv")}
    assert utterance_id(9) in kept


@pytest.mark.slow
def test_faults_of_four_kinds_are_found_among_real_clips(
    tmp_path: Path, planter: Planter, asset: Callable[[str], Path]
) -> None:
    """A smaller form of ``tests/benchmarks/test_planted_faults.py``, with the networks."""
    assets = open_assets([asset(name) for name in ("campplus", "dnsmos", "distillmos", "whisper-base")])
    bench = Workbench(assets, tmp_path, RuntimeSettings(device="cpu"))
    clean = [(clip, *bench.candidate(clip, 0)) for clip in planter.clips]
    kinds = ("other speaker", "clipping", "doubled text", "wrong language")
    planted = [(clip, *bench.candidate(clip, 1)) for kind in kinds for clip in planter.plant(kind, 1)]
    found = judge_mixes(clean, planted, CorpusSettings().max_suspicion)
    assert sum(found[kind].first for kind in kinds) >= 3
    assert found[""].lost / found[""].seconds < 0.05
