"""Real recordings with planted faults: thirteen kinds, as clips with texts that people could hand in."""

from __future__ import annotations

import csv
import math
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from scipy.signal import fftconvolve, lfilter, resample_poly

from voiceclone.corpus.build import _heard
from voiceclone.corpus.filters import Candidate, Text
from voiceclone.corpus.judge import ClipJudge, combined, judge_all, suspicions
from voiceclone.files import sha256_file
from voiceclone.languages import UNSPACED
from voiceclone.lineage.items import ItemCache
from voiceclone.sound.io import read_mono, write_flac
from voiceclone.text.wer import word_errors

RATE = 32_000
PADDING = 0.15  # seconds that slices have around speech
_ALL = "one,two,three,four,five,six,seven,eight,nine,ten,eleven,twelve,thirteen,fourteen,fifteen,hundred"
NUMBERS = _ALL.split(",")
NUMBERS_ZH = "一二三四五六七八九十"


@dataclass(frozen=True)
class Clip:
    """A clip at 32 kHz: float32 samples, its text and language, and what is planted in it."""

    name: str
    samples: np.ndarray
    text: str
    language: str
    kind: str = ""


def level(samples: np.ndarray) -> np.ndarray:
    """At the loudness of cleaned takes, as far as RMS tells, below full scale."""
    loud = samples * (0.06 / max(float(np.sqrt(np.mean(samples**2))), 1e-6))
    return (loud / max(1.0, float(np.abs(loud).max()) / 0.99)).astype(np.float32)


def clips(data: Path, speaker: str) -> list[Clip]:
    """The sentences of one of the speakers of shared/data, with the pauses that slices have."""
    folder = data / "speakers" / speaker
    takes = {path.name: read_mono(path, RATE)[0] for path in sorted(folder.glob("*.flac"))}
    with (folder / "transcripts.csv").open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    found = []
    for row in rows:
        start, end = (float(row[key]) + add for key, add in (("start_s", -PADDING), ("end_s", PADDING)))
        cut = takes[row["file"]][max(0, round(start * RATE)) : round(end * RATE)]
        found.append(Clip(row["utt_id"].lower(), level(cut), row["text_spoken"] or row["text"], row["language"]))
    return found


def others(data: Path) -> list[Clip]:
    """Clips of many other people, English; their texts are what is recognised in them."""
    paths = sorted((data / "verification" / "librispeech_test-other").glob("*/*.flac"))
    return [Clip(path.stem, level(read_mono(path, RATE)[0]), "", "en") for path in paths]


def reader(data: Path, number: str, seconds: float = 3.5) -> list[Clip]:
    """Clips of one of the many other people, cut into pieces of about that length."""
    found = []
    for clip in others(data):
        if clip.name.startswith(f"{number}-"):
            parts = np.array_split(clip.samples, max(1, round(len(clip.samples) / RATE / seconds)))
            found += [replace(clip, name=f"{clip.name}-{at}", samples=level(part)) for at, part in enumerate(parts)]
    return found


class Planter:
    """Plants faults into clips of a speaker.

    Args:
        data: shared/data.
        speaker: whose clips they are; the number of one of the many others, whose texts are not known.
        foreign: speaker of another language.
        seed: of what is planted where.
    """

    def __init__(self, data: Path, speaker: str, foreign: str, seed: int = 1) -> None:
        self.data, self.speaker = data, speaker
        self.clips = reader(data, speaker) if speaker.isdigit() else clips(data, speaker)
        self.foreign = clips(data, foreign)
        self.others = [clip for clip in others(data) if not clip.name.startswith(f"{speaker}-")]
        self.rng = np.random.default_rng(seed)
        self.kinds: dict[str, Callable[[Clip], Clip]] = {
            "wrong word": self.wrong_word, "missing tail": self.missing_tail, "other speaker": self.other_speaker,
            "laugh or cough": self.laugh, "hum of 0.5 s": self.hum, "clipping": self.clipping,
            "8 kHz upsampled": self.upsampled, "reverberation": self.reverberation, "music bed": self.music,
            "doubled text": self.doubled, "wrong language": self.wrong_language, "misread number": self.number,
            "two people at once": self.two_people,
        }  # fmt: skip

    def plant(self, kind: str, count: int) -> list[Clip]:
        """``count`` different clips with a fault of one kind."""
        pool = self.clips
        if kind == "misread number":  # those that speak one come first
            pool = sorted(pool, key=lambda clip: not _number_places(clip))[:count]
        chosen = self.rng.permutation(len(pool))[:count]
        planted = []
        for index in chosen:
            made = self.kinds[kind](pool[index])
            planted.append(replace(made, name=pool[index].name, kind=kind, samples=level(made.samples)))
        return planted

    def _other_word(self, clip: Clip, longer_than: int = 3) -> str:
        words = [w for other in self.clips if other is not clip for w in _units(other) if len(w) > longer_than]
        return str(self.rng.choice([word for word in words if word.lower() not in clip.text.lower()]))

    def wrong_word(self, clip: Clip) -> Clip:
        if clip.language in UNSPACED:
            place = int(self.rng.integers(len(clip.text) - 2))
            other = self.clips[int(self.rng.integers(len(self.clips)))].text[:2]
            return replace(clip, text=clip.text[:place] + other + clip.text[place + 2 :])
        words = clip.text.split()
        places = [at for at, word in enumerate(words) if len(word) > 3] or [0]
        words[int(self.rng.choice(places))] = self._other_word(clip)
        return replace(clip, text=" ".join(words))

    def missing_tail(self, clip: Clip) -> Clip:
        spoken = len(clip.samples) - round(PADDING * RATE)
        cut = max(round(0.4 * RATE), round(0.2 * spoken))
        return replace(clip, samples=clip.samples[: spoken - cut])

    def other_speaker(self, clip: Clip) -> Clip:
        if clip.language == "en":
            other = self.others[int(self.rng.integers(len(self.others)))]
            return replace(other, language="en")
        # Nobody else speaks Mandarin here: the voice is moved by a fifth, its speed kept.
        return replace(clip, samples=_shifted(clip.samples, float(self.rng.choice([0.78, 1.28]))))

    def laugh(self, clip: Clip) -> Clip:
        """'Ha ha ha' of the speaker's own loudest 120 ms, or a cough of two bursts of noise, in place of a pause."""
        size = round(0.12 * RATE)
        window = np.hanning(size).astype(np.float32)
        if self.rng.random() < 0.5:
            powers = np.convolve(clip.samples**2, np.ones(size), mode="valid")[:: size // 4]
            at = int(np.argmax(powers)) * (size // 4)
            breath = self.rng.normal(size=size).astype(np.float32) * 0.02
            burst = (clip.samples[at : at + size] + breath) * window
            event = np.concatenate([part for _ in range(5) for part in (burst, self._hush(0.07))])
        else:
            noise = lfilter([1.0], [1.0, -1.2, 0.72], self.rng.normal(size=round(0.25 * RATE)))
            burst = noise / np.abs(noise).max() * np.exp(-np.arange(len(noise)) / (0.06 * RATE)) * 0.35
            event = np.concatenate([burst, self._hush(0.1), burst * 0.7])
        joined = [clip.samples, event] if self.rng.random() < 0.5 else [event, clip.samples]
        return replace(clip, samples=np.concatenate(joined).astype(np.float32))

    def _hush(self, seconds: float) -> np.ndarray:
        """A pause as a room has it, not digital silence."""
        return self.rng.normal(size=round(seconds * RATE)).astype(np.float32) * 0.001

    def hum(self, clip: Clip) -> Clip:
        """Mains of 50 or 60 Hz with some harmonics, 6 to 16 dB below the speech."""
        size = round(0.5 * RATE)
        time = np.arange(size) / RATE
        mains, slope = self.rng.choice([50, 60]), self.rng.uniform(0.5, 2)
        tone = sum(np.sin(2 * np.pi * mains * n * time + n) / n**slope for n in (1, 2, 3, 4, 6, 8))
        tone *= _gain(clip.samples, tone, float(self.rng.uniform(6, 16)))
        edges = np.minimum(1, np.minimum(time, time[::-1]) / 0.01)
        at = int(self.rng.integers(max(1, len(clip.samples) - size)))
        samples = clip.samples.copy()
        part = samples[at : at + size]
        part += (tone * edges)[: len(part)].astype(np.float32)
        return replace(clip, samples=samples)

    def clipping(self, clip: Clip) -> Clip:
        """Cut at 0.15 to 0.4 of the peak before a recording of another rate, as its resampled take holds it."""
        peak = float(np.abs(clip.samples).max()) * self.rng.uniform(0.15, 0.4)
        rate = int(self.rng.choice([22_050, 44_100, 48_000]))
        cut = np.clip(soxr.resample(clip.samples, RATE, rate), -peak, peak)
        return replace(clip, samples=soxr.resample(cut, rate, RATE))

    def upsampled(self, clip: Clip) -> Clip:
        """By a steep filter, a soft one, or one of which the noise of another recorder lies on top."""
        if self.rng.random() < 0.5:
            samples = soxr.resample(soxr.resample(clip.samples, RATE, 8000), 8000, RATE)
        else:
            samples = resample_poly(resample_poly(clip.samples, 1, 4), 4, 1)
        noise = self.rng.normal(size=len(samples)) * 10 ** (self.rng.uniform(-100, -75) / 20)
        return replace(clip, samples=samples + noise.astype(np.float32))

    def reverberation(self, clip: Clip) -> Clip:
        """One of two rooms, or noise that decays by 60 dB in 0.3 to 0.9 s."""
        name = ("sb_rir1", "sb_rir3", "")[int(self.rng.integers(3))]
        if name:
            room = read_mono(self.data / "noise" / "rir" / f"{name}.flac", RATE)[0]
            room = room[int(np.argmax(np.abs(room))) :]
        else:
            time = np.arange(RATE) / RATE
            room = self.rng.normal(size=RATE) * 10 ** (-3 * time / self.rng.uniform(0.3, 0.9))
            room *= np.sqrt(10 ** (self.rng.uniform(-4, 4) / 10) / np.sum(room**2))  # of the direct sound
            room[0] = 1.0
        return replace(clip, samples=fftconvolve(clip.samples, room)[: len(clip.samples)])

    def music(self, clip: Clip) -> Clip:
        """8 to 14 dB below the speech."""
        name = ("vibe_ace", "brahms_hungarian_dance_5")[int(self.rng.integers(2))]
        bed = read_mono(self.data / "noise" / "music" / f"{name}.flac", RATE)[0]
        at = int(self.rng.integers(len(bed) - len(clip.samples))) if len(bed) > len(clip.samples) else 0
        bed = np.resize(bed[at:], len(clip.samples))
        return replace(clip, samples=clip.samples + bed * _gain(clip.samples, bed, float(self.rng.uniform(8, 14))))

    def two_people(self, clip: Clip) -> Clip:
        """Somebody else speaks during a third of the clip or more, 0 to 10 dB below it."""
        size = min(len(clip.samples), max(RATE, round(self.rng.uniform(0.35, 1) * len(clip.samples))))
        other = self.others[int(self.rng.integers(len(self.others)))].samples
        start, at = (
            int(self.rng.integers(max(1, len(other) - size))),
            int(self.rng.integers(len(clip.samples) - size + 1)),
        )
        part, samples = np.resize(other[start:], size), clip.samples.copy()
        samples[at : at + size] += part * _gain(clip.samples, part, float(self.rng.uniform(0, 10)))
        return replace(clip, samples=samples)

    def doubled(self, clip: Clip) -> Clip:
        joint = "" if clip.language in UNSPACED else " "
        units = list(clip.text) if clip.language in UNSPACED else clip.text.split()
        half = len(units) // 2
        return replace(clip, text=joint.join([*units, *units[half:]]))

    def wrong_language(self, clip: Clip) -> Clip:
        other = self.foreign[int(self.rng.integers(len(self.foreign)))]
        return replace(other, language=clip.language)

    def number(self, clip: Clip) -> Clip:
        """Another number than is said; where none is said, one in place of a word."""
        places = _number_places(clip)
        if clip.language in UNSPACED:
            at = int(self.rng.choice(places or range(len(clip.text))))
            other = str(self.rng.choice([n for n in NUMBERS_ZH if n != clip.text[at]]))
            return replace(clip, text=clip.text[:at] + other + clip.text[at + 1 :])
        words = clip.text.split()
        at = int(self.rng.choice(places or [at for at, word in enumerate(words) if len(word) > 2]))
        words[at] = str(self.rng.choice([n for n in NUMBERS if n not in words[at].lower()]))
        return replace(clip, text=" ".join(words))


def _units(clip: Clip) -> list[str]:
    return ["".join(char for char in word if char.isalpha()) for word in clip.text.split()]


def _number_places(clip: Clip) -> list[int]:
    if clip.language in UNSPACED:
        return [at for at, char in enumerate(clip.text) if char in NUMBERS_ZH]
    return [at for at, word in enumerate(_units(clip)) if word.lower() in NUMBERS]


def _gain(speech: np.ndarray, other: np.ndarray, below_db: float) -> float:
    """Factor that puts a sound that many dB below the speech."""
    return float(np.sqrt(np.mean(speech**2) / np.mean(other**2)) * 10 ** (-below_db / 20))


def _shifted(samples: np.ndarray, factor: float) -> np.ndarray:
    """Pitch and formants times ``factor`` at the same speed."""
    command = ["ffmpeg", "-v", "error", "-f", "f32le", "-ar", str(RATE), "-ac", "1", "-i", "-", "-af",
               f"asetrate={round(RATE * factor)},aresample={RATE},atempo={1 / factor}", "-f", "f32le", "-"]  # fmt: skip
    done = subprocess.run(command, input=samples.astype("<f4").tobytes(), capture_output=True, check=True)
    return np.frombuffer(done.stdout, "<f4")


class Workbench:
    """Measures clips as the stages transcribe, with a second opinion, and corpus do; keeps what it measured.

    Args:
        assets: of the corpus stage.
        folder: of sounds and caches.
        threads: CPU threads.
    """

    def __init__(self, assets: dict[str, Any], folder: Path, runtime: Any, threads: int = 1) -> None:
        self.folder, self.judge = folder, ClipJudge(assets, folder / "judged", runtime, threads)
        self.heard = ItemCache("transcribe", None, folder / "heard")

    def candidate(self, clip: Clip, index: int) -> tuple[Candidate, dict[str, Any]]:
        """A clip as an utterance, and what is measured of it."""
        kind = clip.kind.replace(" ", "-").replace(".", "") or "clean"
        take = f"{clip.name}-{kind}-{index}"
        utterance = f"{take}-0000000-{round(1000 * len(clip.samples) / RATE):07d}"
        path = self.folder / "clips" / f"{utterance}.flac"
        if not path.is_file():
            write_flac(path, clip.samples, RATE)
        sha256 = sha256_file(path)

        def hear() -> dict[str, Any]:
            recogniser = self.judge._recogniser
            sound = recogniser.hear([read_mono(path, 16_000)[0]])
            return {"language": clip.language, **recogniser.transcribe(sound, clip.language)[0]}

        record = self.heard.get(utterance, (sha256, clip.language), hear)
        text = clip.text or record["text"]
        share = max(0.0, 1 - word_errors(text, record["text"], clip.language).rate)
        item = Candidate(
            utterance=utterance, take=take, path=path.as_posix(), sha256=sha256, start_ms=0,
            end_ms=round(1000 * len(clip.samples) / RATE), seconds=len(clip.samples) / RATE, language=clip.language,
            text=text, heard=_heard({**record, "utterance": utterance}),
            given=Text(text, clip.kind or "clean", share, False),
        )  # fmt: skip
        return item, self.judge.measure(item, path, record)


def mixes(clean: Sequence[Any], planted: Sequence[Any], share: float) -> Iterator[list[Any]]:
    """Corpora of all clean clips, in each of which some give way to their planted versions, each planted one once.

    Args:
        clean: (key, value) with the clip's name as key.
        planted: the same.
        share: of planted ones in each.
    """
    size = max(1, int(share * len(clean)))
    left = list(planted)
    while left:
        chosen: dict[str, Any] = {}
        for pair in list(left):
            if len(chosen) < size and pair[0] not in chosen:
                chosen[pair[0]] = pair
                left.remove(pair)
        yield [pair for pair in clean if pair[0] not in chosen] + list(chosen.values())


@dataclass
class Found:
    """How faults of one kind, or clean clips, fared: in how many mixes, how often first, flagged, left out."""

    count: int = 0
    first: int = 0
    flagged: int = 0
    rejected: int = 0
    seconds: float = 0.0
    lost: float = 0.0

    def add(self, other: Found) -> None:
        """Count those of other mixes with these."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def by_everything(items: Sequence[Any]) -> list[tuple[float, bool]]:
    """Suspicion of each (clip, candidate, measured) of a mix, and whether it is flagged."""
    rows = judge_all([item for _, item, _ in items], {item.utterance: measured for _, item, measured in items})
    return [(rows[item.utterance]["suspicion"], bool(rows[item.utterance]["reasons"])) for _, item, _ in items]


def by_sound(items: Sequence[Any]) -> list[tuple[float, bool]]:
    """The same of (clip, measures) by the measures that need no network."""
    found = suspicions([measures for _, measures in items])
    return [(combined(own), any(value >= 1 for value, _ in own)) for own in found]


def judge_mixes(
    clean: Sequence[Any],
    planted: Sequence[Any],
    limit: float,
    judge: Callable[[Sequence[Any]], list[tuple[float, bool]]] = by_everything,
    share: float = 0.1,
) -> dict[str, Found]:
    """Put every planted clip into a mix once, and say where in its queue it stands.

    Args:
        clean: a speaker's clean clips, each with what ``judge`` needs behind it.
        planted: the same of the planted ones.
        limit: suspicion from which a clip is left out.
        judge: gives the suspicion of each clip of a mix, and whether it is flagged.
        share: of the queue that is looked at first, and of faults in a mix.

    Returns:
        by kind; clean clips under an empty one, counted once in every mix.
    """
    found: dict[str, Found] = {}
    for mix in mixes(*([(clip.name, (clip, *rest)) for clip, *rest in part] for part in (clean, planted)), share):
        items = [value for _, value in mix]
        judged = zip((item[0] for item in items), judge(items), strict=True)
        queue = sorted(judged, key=lambda pair: -pair[1][0])
        looked_at = math.ceil(share * len(queue))
        for place, (clip, (suspicion, flagged)) in enumerate(queue):
            own, seconds = found.setdefault(clip.kind, Found()), len(clip.samples) / RATE
            own.count += 1
            own.first += place < looked_at
            own.flagged += flagged
            own.rejected += suspicion > limit
            own.seconds += seconds
            own.lost += seconds * (suspicion > limit)
    return found


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    z, share = 1.96, hits / count
    centre, half = share + z * z / (2 * count), z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return (centre - half) / (1 + z * z / count), (centre + half) / (1 + z * z / count)


def table(found: dict[str, Found]) -> str:
    """Per kind: share that stands first with its interval, share flagged; then precision and what is lost."""
    lines = []
    for kind, own in found.items():
        low, high = wilson(own.first, own.count)
        lines.append(
            f"{kind or 'clean':<18} n {own.count:3d}  first: {own.first / own.count:4.0%} ({low:.0%} to {high:.0%})"
            f"  flagged {own.flagged / own.count:4.0%}  left out {own.rejected / own.count:4.0%}"
        )
    kinds = [own for kind, own in found.items() if kind]
    flagged, wrong = sum(own.flagged for own in kinds), found[""].flagged
    first = sum(own.first for own in kinds) / sum(own.count for own in kinds)
    lines.append(f"all: {first:.0%} first, precision of flags {flagged / max(1, flagged + wrong):.0%}, "
                 f"clean seconds lost {found[''].lost / found[''].seconds:.1%}")  # fmt: skip
    return "\n".join(lines)
