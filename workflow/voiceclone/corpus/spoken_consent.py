"""A consent that is spoken: what is said in it, and whether the person who says it is the one of the recordings."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voiceclone.errors import DataError
from voiceclone.files import contained_path, read_tsv
from voiceclone.sound.channels import read_voice
from voiceclone.sound.io import Waveform, read_mono

if TYPE_CHECKING:
    from voiceclone.listeners.campplus import SpeakerEncoder
    from voiceclone.listeners.recogniser import Recogniser

RATE = 16_000
LONGEST = 300.0  # seconds that are heard
PIECE = 29.0  # seconds that the recogniser hears at once
SILENT = 1e-3  # peak, full scale 1
COMPARED = 20  # utterances of the corpus, the longest ones
#: CAM++ cosine from which two recordings count as of one speaker; see tests/corpus/test_spoken_consent.py.
SAME_SPEAKER = 0.4


@dataclass(frozen=True)
class SpokenConsent:
    """What was heard in the evidence.

    Attributes:
        text: its words, as recognised; a person has to read whether they agree.
        language: ISO code.
        similarity: CAM++ cosine between its speaker and that of the corpus.
        utterances: of the corpus that were compared.
    """

    text: str
    language: str
    similarity: float
    utterances: int

    def as_notes(self) -> dict[str, Any]:
        """Plain values for ``consent.json``."""
        return asdict(self)


def hear_consent(evidence: Path, corpus: Path, recogniser: Recogniser, encoder: SpeakerEncoder) -> SpokenConsent:
    """Transcribe a spoken consent and compare its speaker with that of a corpus.

    Args:
        evidence: sound file.
        corpus: corpus.tsv of the voice, below its results.
        recogniser: of the transcribe stage.
        encoder: of speakers.

    Raises:
        DataError: nothing is said in it, or somebody else speaks; says what to do.
    """
    sound = read_voice(evidence, RATE)[: int(LONGEST * RATE)]
    text, language = transcript(sound, recogniser)
    if not text or np.abs(sound).max() < SILENT:  # in silence the recogniser makes words up
        raise DataError(
            f"{evidence}: no words were heard in it", "record the consent again, or name a letter as evidence"
        )
    try:
        spoken = encoder.embed(sound, RATE)
    except DataError as error:
        raise DataError(f"{evidence}: {error.message}", "record the consent again") from error
    rows = sorted(read_tsv(corpus, ("path", "seconds")), key=lambda row: -float(row["seconds"]))[:COMPARED]
    if not rows:
        raise DataError(f"{corpus}: no utterance to compare the spoken consent with", "see corpus/rejected.tsv")
    clips = [read_mono(contained_path(corpus.parents[1], row["path"])) for row in rows]
    centre = np.mean([encoder.embed(*clip) for clip in clips], axis=0)
    similarity = float(np.dot(spoken, centre) / np.linalg.norm(centre))
    if similarity < SAME_SPEAKER:
        raise DataError(
            f"{evidence}: somebody else seems to speak in it than in the recordings (similarity {similarity:.2f}, "
            f"expected at least {SAME_SPEAKER})",
            "let the person of the recordings say it, as near to the microphone as there; or name a letter as evidence",
        )
    return SpokenConsent(text, language, round(similarity, 3), len(rows))


def transcript(sound: Waveform, recogniser: Recogniser) -> tuple[str, str]:
    """Words of sound float32 (n,) at 16 kHz, and the language that most of it is likeliest in."""
    step = int(PIECE * RATE)
    heard = [recogniser.hear([sound[start : start + step]]) for start in range(0, max(1, len(sound)), step)]
    odds = [piece.languages[0] for piece in heard]
    language = max(odds[0], key=lambda code: sum(one.get(code, 0.0) for one in odds))
    texts = [recogniser.transcribe(piece, language)[0]["text"].strip() for piece in heard]
    return " ".join(text for text in texts if text), language
