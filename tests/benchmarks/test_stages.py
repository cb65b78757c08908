"""Throughput and peak memory of every stage on the demo speaker: ``make benchmark``.

The figures are those of the rules' own benchmark files: whole processes, start-up and model loading included.
"""

from __future__ import annotations

import pytest

from voiceclone.files import read_tsv

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]


def test_every_stage_records_its_time_and_memory(demo) -> None:
    voice = demo.results / "demo"
    seconds = sum(float(row["seconds"]) for row in read_tsv(voice / "takes.tsv"))
    print(f"\n{seconds:.0f} s of recordings, 2 threads\n{'stage':<24}{'wall s':>9}{'audio s per s':>15}{'peak MB':>10}")
    stages = sorted((voice / "benchmarks").glob("*.tsv"), key=lambda path: path.stat().st_mtime)
    for path in stages:
        row = read_tsv(path)[0]
        wall = float(row["s"])
        assert wall > 0 and float(row["max_rss"]) > 0, path.stem
        print(f"{path.stem:<24}{wall:>9.1f}{seconds / wall:>15.1f}{row['max_rss']:>10}")
    assert len(stages) >= 14
