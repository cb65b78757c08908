"""What another pitch costs in predicted MOS: by the base voice's decoder, and by PSOLA in its finished sound and in
recordings, as voices with a HiFi-GAN decoder get it.

    .venv/bin/python -m pytest -m benchmark -s tests/benchmarks/test_repitch.py
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from project import REPOSITORY
from voiceclone.assets import open_asset
from voiceclone.evaluation.sentences import read_set
from voiceclone.listeners.mos import DistillMos
from voiceclone.sound.io import read_mono
from voiceclone.sound.repitch import repitched
from voiceclone.speaking.voices import Clip, open_models

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

RATE, COUNT = 32_000, 8
CHANGES = ((-3.0, 1.0), (3.0, 1.0), (0.0, 0.6), (0.0, 1.4))


def paired(changed: list[float], plain: list[float]) -> str:
    """Mean difference and its standard error."""
    difference = np.subtract(changed, plain)
    return f"{difference.mean():+.2f} ± {difference.std(ddof=1) / np.sqrt(len(difference)):.2f}"


def test_mos_of_another_pitch(asset: Callable[[str], Path], shared_data: Path) -> None:
    judge = DistillMos(open_asset(asset("distillmos")))

    def scores(sounds: list[npt.NDArray[np.float32]]) -> list[float]:
        return [judge.score(sound, RATE) for sound in sounds]

    clip = sorted((shared_data / "speakers" / "ljspeech").glob("*.flac"))[0]
    voice = open_models(Path("base"), REPOSITORY, clip=Clip(clip, any_length=True)).synthesizer
    texts = [sentence.text for sentence in read_set(REPOSITORY / "resources" / "sentences" / "en.txt")[:COUNT]]

    def spoken(semitones: float = 0.0, pitch_range: float = 1.0) -> list[npt.NDArray[np.float32]]:
        return [voice.say(text, "en", pitch=semitones, pitch_range=pitch_range).samples for text in texts]

    people = [read_mono(path, RATE)[0] for path in sorted((shared_data / "speakers").rglob("*.flac"))]
    recordings = [sound[: 5 * RATE] for sound in people][:: max(1, len(people) // COUNT)][:COUNT]
    speech = spoken()
    plain, plain_recordings = scores(speech), scores(recordings)
    print(f"\nplain: base {np.mean(plain):.2f}, recordings {np.mean(plain_recordings):.2f}; differences of DistillMOS")
    print(f"{'semitones':>9}{'range':>7}{'base, decoder':>18}{'base, PSOLA':>18}{'recordings, PSOLA':>20}")
    for semitones, pitch_range in CHANGES:
        columns = (
            (spoken(semitones, pitch_range), plain),
            ([repitched(sound, RATE, semitones, pitch_range) for sound in speech], plain),
            ([repitched(sound, RATE, semitones, pitch_range) for sound in recordings], plain_recordings),
        )
        by_decoder, by_psola, recorded = (paired(scores(sounds), before) for sounds, before in columns)
        print(f"{semitones:>+9.0f}{pitch_range:>7.1f}{by_decoder:>18}{by_psola:>18}{recorded:>20}", flush=True)
        assert float(recorded.split()[0]) > -1 and float(by_psola.split()[0]) > -1, "this is no speech any more"
