"""Cards and crate of a made-up voice: what they say is what the files hold, and the crate keeps its profile."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from rocrate.rocrate import ROCrate
from tests.support.report_fixture import NASTY, build, make_results

from voiceclone.files import read_json, read_tsv, sha256_file, write_json
from voiceclone.lineage.explain import Job, record_graph


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cards")
    results = make_results(root / "results" / "anna")
    consent = {"scope": "serve", "purposes": ["audiobook"], "languages": [], "expires": "2031-01-01"}
    rights = {"licence": "CC0", "consent_sha256": "cd" * 32, "consent": consent}
    write_json(results / "consent.json", rights)
    bundle = results / "export/onnx-int8/bundle.json"
    write_json(bundle, {**read_json(bundle), **rights, "licence": f"CC0 {NASTY}"})
    place = "results/anna/"
    jobs = [
        Job("takes", [f"{place}consent.json"], [f"{place}takes.tsv"], revision="7"),
        Job("clean", [f"{place}takes.tsv", "resources/models/dnsmos/asset.json"], [f"{place}corpus/corpus.tsv"],
            f"{place}benchmarks/clean.tsv"),
        Job("export", [f"{place}corpus/corpus.tsv", "resources/gone"], [f"{place}export/onnx-int8/bundle.json"]),
        Job("report", [f"{place}corpus/corpus.tsv"], [f"{place}not-there-yet.html"]),
    ]  # fmt: skip
    record_graph(root, jobs)
    build(results)
    return results


def test_a_bundle_has_a_card(voice: Path) -> None:
    card = (voice / "export/onnx-int8/README.md").read_text()
    assert "scope serve; purposes audiobook; expires 2031-01-01" in card and "cd" * 32 in card
    assert "<script>" not in card and "dnsmos" in card and "CC-BY-4.0" in card
    summary = read_json(voice / "eval/onnx-int8/summary.json")["by_kind"]["heldout"]["wer"]
    assert f"{summary['value']:.3f} ({summary['low']:.3f} to {summary['high']:.3f})" in card
    assert sha256_file(voice / "export/onnx-int8/bundle.json") in card


def test_the_corpus_has_a_datasheet_without_names_of_recordings(voice: Path) -> None:
    sheet, takes = (voice / "datasheet.md").read_text(), read_tsv(voice / "takes.tsv")
    assert all(take["sha256"] in sheet and take["file"] not in sheet for take in takes)
    trained = sum(row["split"] == "train" for row in read_tsv(voice / "corpus/corpus.tsv"))
    assert f"| train | {trained} |" in sheet


def entities(voice: Path) -> dict[str, dict[str, Any]]:
    return {entity["@id"]: entity for entity in read_json(voice / "ro-crate-metadata.json")["@graph"]}


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [value["@id"]] if set(value) == {"@id"} else [one for each in value.values() for one in references(each)]
    return [one for each in value for one in references(each)] if isinstance(value, list) else []


def test_the_crate_is_read_by_the_library_and_keeps_the_profile(voice: Path) -> None:
    """The musts of RO-Crate and of Process Run Crate 0.5."""
    crate = ROCrate(voice)
    assert crate.root_dataset["conformsTo"][0].id == "https://w3id.org/ro/wfrun/process/0.5"
    known = entities(voice)
    root = known["./"]
    assert all(root.get(name) for name in ("name", "description", "datePublished", "license"))
    actions = [entity for entity in known.values() if entity["@type"] == "CreateAction"]
    assert {action["name"] for action in actions} == {"takes", "clean", "export"}
    assert {one["@id"] for one in root["mentions"]} == {action["@id"] for action in actions}
    for action in actions:
        assert known[action["instrument"]["@id"]]["@type"] == "SoftwareApplication"
        datetime.fromisoformat(action["endTime"])
        assert action["result"] and all(known[one]["@type"] == "File" for one in references(action["result"]))
    assert "startTime" in next(action for action in actions if action["name"] == "clean")
    missing = {one for entity in known.values() for one in references(entity)} - known.keys()
    assert not {one for one in missing if not one.startswith("https://w3id.org/ro/crate")}


def test_files_of_the_crate_are_as_recorded(voice: Path) -> None:
    files = [entity for entity in entities(voice).values() if entity["@type"] == "File"]
    assert len(files) >= 3
    for entity in files:
        assert entity["sha256"] == sha256_file(voice / entity["@id"])
    assert {one["@id"] for one in entities(voice)["./"]["hasPart"]} == {entity["@id"] for entity in files}
    text = (voice / "ro-crate-metadata.json").read_text()
    assert all(take["sha256"] in text and take["file"] not in text for take in read_tsv(voice / "takes.tsv"))
