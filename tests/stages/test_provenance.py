"""Provenance: what is recorded is what is on disk."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.report_fixture import make_results

from voiceclone.files import read_json, sha256_file, write_json, write_tsv
from voiceclone.lineage.provenance import benchmarks, code_digest, collect_provenance, package_versions


def test_collects_what_made_the_voice(tmp_path: Path) -> None:
    results = make_results(tmp_path / "results" / "anna")
    config = read_json(tmp_path / "results" / "config.json")
    assets = sorted((tmp_path / "resources" / "models").glob("*/asset.json"))
    found = collect_provenance(results, ["onnx-fp32", "recordings", "absent"], config, assets, tmp_path)
    assert found["speaker"] == "anna" and found["config"] == config
    assert list(found["evaluations"]) == ["onnx-fp32", "recordings"]
    assert found["models"]["gpt"]["resume_points"][0]["step"] == 120
    assert found["models"]["gpt"]["sha256"] == sha256_file(results / "models" / "gpt.safetensors")
    assert found["exports"]["onnx-fp32"]["parity"]["greedy_equal"] is True
    assert found["tables"]["corpus/corpus.tsv"] == sha256_file(results / "corpus" / "corpus.tsv")
    assert [entry["licence"] for entry in found["assets"]] == ["MIT", "CC-BY-4.0"]
    assert {entry["seconds"] for entry in found["inputs"]} == {38.2, 41.9, 35.0}
    assert found["code"]["commit"] is None  # the folder is no checkout
    write_json(tmp_path / "provenance.json", found)  # plain values only, no NaN


def test_commit_and_changes_of_a_checkout(tmp_path: Path) -> None:
    from voiceclone.lineage.runs import git_state

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / "a.txt").write_text("1")
    git("add", "a.txt")
    git("commit", "-q", "-m", "first")
    clean = git_state(tmp_path)
    assert clean["dirty"] is False and len(clean["commit"]) == 40
    (tmp_path / "a.txt").write_text("2")
    assert git_state(tmp_path) == {"commit": clean["commit"], "dirty": True}


def test_code_digest_follows_the_sources(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    before = code_digest(tmp_path)
    (tmp_path / "notes.txt").write_text("not code")
    assert code_digest(tmp_path) == before
    (tmp_path / "a.py").write_text("x = 2\n")
    assert code_digest(tmp_path) != before


def test_benchmarks_take_the_last_run_and_unknown_cells(tmp_path: Path) -> None:
    rows = [{"s": "1.5", "max_rss": "-", "cpu_time": "NA"}, {"s": "2.5", "max_rss": "100.0", "cpu_time": "3"}]
    write_tsv(tmp_path / "clean.tsv", ("s", "max_rss", "cpu_time"), rows)
    write_tsv(tmp_path / "evaluate.onnx-fp32.tsv", ("s", "max_rss", "cpu_time"), rows[:1])
    first, second = benchmarks(tmp_path)
    assert first == {"rule": "clean", "seconds": 2.5, "peak_memory_mb": 100.0, "cpu_seconds": 3.0}
    assert second["peak_memory_mb"] is None and second["rule"] == "evaluate.onnx-fp32"
    assert benchmarks(tmp_path / "nowhere") == []


def test_absent_packages_are_left_out() -> None:
    assert list(package_versions(["numpy", "no-such-package-here"])) == ["numpy"]
