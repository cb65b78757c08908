"""A spoken consent is written down, and one of another person is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voiceclone.assets import open_asset
from voiceclone.corpus.spoken_consent import SAME_SPEAKER, hear_consent
from voiceclone.errors import DataError
from voiceclone.files import sha256_file, write_json, write_tsv
from voiceclone.lineage.rights import load_rights, spoken_evidence
from voiceclone.listeners.campplus import SpeakerEncoder
from voiceclone.listeners.recogniser import Recogniser
from voiceclone.sound.io import read_mono
from voiceclone.stages.transcribe import TranscribeSettings


@pytest.fixture(scope="module")
def encoder(asset: Callable[[str], Path]) -> SpeakerEncoder:
    return SpeakerEncoder(open_asset(asset("campplus")))


@pytest.fixture(scope="module")
def recogniser(asset: Callable[[str], Path]) -> Recogniser:
    return Recogniser(open_asset(asset("whisper-tiny.en")).folder, TranscribeSettings(), "cpu", 1)


@pytest.fixture(scope="module")
def people(shared_data: Path) -> list[list[Path]]:
    """Recordings of each of many people."""
    folders = sorted(path for path in shared_data.glob("verification/*/*") if path.is_dir())
    return [files for folder in folders if len(files := sorted(folder.glob("*.flac"))) > 2]


def corpus_of(folder: Path, clips: list[Path]) -> Path:
    """A table of recordings, as the corpus stage leaves it."""
    rows = []
    for clip in clips:
        samples, rate = read_mono(clip)
        place = folder / "anna" / "slices" / clip.name
        place.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(place, samples, rate)
        rows.append({"utterance": clip.stem, "path": f"slices/{clip.name}", "seconds": len(samples) / rate})
    table = folder / "anna" / "corpus" / "corpus.tsv"
    write_tsv(table, ("utterance", "path", "seconds"), rows)
    return table


def test_who_speaks_and_what(
    tmp_path: Path, people: list[list[Path]], recogniser: Recogniser, encoder: SpeakerEncoder
) -> None:
    table = corpus_of(tmp_path, people[0][1:])
    heard = hear_consent(people[0][0], table, recogniser, encoder)
    assert heard.language == "en" and len(heard.text.split()) > 3
    assert heard.similarity >= SAME_SPEAKER and heard.utterances == len(people[0]) - 1
    with pytest.raises(DataError, match="somebody else seems to speak") as caught:
        hear_consent(people[1][0], table, recogniser, encoder)
    assert "name a letter" in caught.value.hint
    silence = tmp_path / "consent.wav"
    soundfile.write(silence, np.zeros(16_000), 16_000)
    with pytest.raises(DataError, match="no words"):
        hear_consent(silence, table, recogniser, encoder)


@pytest.mark.slow
def test_the_limit_tells_people_apart(people: list[list[Path]], encoder: SpeakerEncoder) -> None:
    vectors = [[encoder.embed(*read_mono(clip)) for clip in clips] for clips in people]
    centres = [np.mean(own[1:], axis=0) / np.linalg.norm(np.mean(own[1:], axis=0)) for own in vectors]
    scores = np.asarray([[own[0] @ centre for centre in centres] for own in vectors])
    same, others = np.diag(scores), scores[~np.eye(len(scores), dtype=bool)]
    print("same", np.percentile(same, [0, 5]).round(2), "others", np.percentile(others, [95, 100]).round(2))
    assert (same >= SAME_SPEAKER).mean() >= 0.95 and (others < SAME_SPEAKER).mean() >= 0.95


def test_only_a_sound_is_heard(tmp_path: Path) -> None:
    for name, spoken in (("consent.flac", True), ("consent.pdf", False)):
        evidence = tmp_path / name
        evidence.write_bytes(b"x")
        stated = f"who: A\npurposes: [x]\nevidence: {name}\nsha256: {sha256_file(evidence)}\n"
        (tmp_path / "consent.yaml").write_text(stated)
        assert spoken_evidence(tmp_path) == (evidence if spoken else None)
        evidence.unlink()
    assert spoken_evidence(tmp_path) is None  # damaged: the consent stage says so
    write_json(tmp_path / "consent.json", {"licence": "CC0", "spoken": {"text": "I agree."}})
    assert "spoken" not in load_rights(tmp_path / "consent.json").as_notes()  # words stay where they are
