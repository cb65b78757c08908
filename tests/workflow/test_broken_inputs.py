"""A folder of twenty broken and odd inputs: the good ones become a voice, a table says what became of the others."""

from __future__ import annotations

import pytest

from broken import EXPECTED, make_broken_speaker
from voiceclone.files import read_tsv

pytestmark = pytest.mark.timeout(1800)


def test_good_recordings_become_a_voice_and_bad_ones_are_listed(demo, new_project) -> None:
    recordings = (demo.root / "resources" / "demo" / "demo").glob("0*")
    takes = sorted(path for path in recordings if "music" not in path.name)
    project = new_project("broken", *demo.options)
    make_broken_speaker(project.root / "resources" / "speakers" / "broken", [*takes, *takes][:5])
    project.run("broken", "--config", "speakers_dir=resources/speakers")
    voice = project.results / "broken"
    accepted = {row["file"] for row in read_tsv(voice / "takes.tsv")}
    rejected = {row["file"]: row["reason"] for row in read_tsv(voice / "rejected.tsv")}
    assert accepted == {name for name, reason in EXPECTED.items() if reason is None}
    assert rejected == {name: reason for name, reason in EXPECTED.items() if reason is not None}
    assert (voice / "report.html").is_file()
