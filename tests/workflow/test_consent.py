"""Consent is an input: without it the workflow stops before anything is made of the corpus, and says what to write."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from voiceclone.cli import app
from voiceclone.files import read_json, sha256_file

WANTED = "results/anna/consent.json"


@pytest.mark.timeout(600)
def test_the_owner_agrees_or_nothing_is_made(new_project) -> None:
    project = new_project("consent", "--config", "preset=nano")
    project.consented = False
    folder = project.root / "resources/speakers/anna"
    folder.mkdir()
    soundfile.write(folder / "take.wav", np.zeros(16000, np.float32), 16000)

    def explained() -> dict[str, object]:
        done = CliRunner().invoke(app, ["explain", "anna", "--json", "--root", str(project.root)])
        assert done.exit_code == 0, done.output
        return dict(json.loads(done.output))

    assert "consent.yaml: missing" in str(explained()["consent"])
    planned = project.run("-n", "results/anna/features/manifest.tsv")
    assert WANTED in (planned.stdout + planned.stderr).split("rule features:")[1].split("output:")[0]
    refused = project.run(WANTED, check=False)
    assert refused.returncode != 0 and not (project.root / WANTED).exists()
    assert "consent.yaml: missing" in refused.stdout and "  myself: true\n" in refused.stdout
    (folder / "consent.yaml").write_text("myself: true\nscope: private\n")
    project.run(WANTED)
    assert read_json(project.root / WANTED)["consent"]["scope"] == "private"
    job = next(job for job in explained()["jobs"] if job["stage"] == "consent")  # type: ignore[attr-defined]
    assert job["reasons"] == [] and job["seconds"] is not None
    (folder / "consent.yaml").write_text("myself: true\nexpires: 2020-01-01\n")
    told = explained()
    assert "ended with 2020-01-01" in str(told["consent"]) and "licence or consent changed" in str(told["jobs"])
    spoken = folder / "consent.wav"
    soundfile.write(spoken, np.zeros(16000, np.float32), 16000)
    (folder / "consent.yaml").write_text(f"myself: true\nevidence: consent.wav\nsha256: {sha256_file(spoken)}\n")
    planned = project.run("-n", WANTED)
    needed = (planned.stdout + planned.stderr).split("rule consent:")[1].split("output:")[0]
    assert "results/anna/corpus/corpus.tsv" in needed and "campplus/asset.json" in needed
