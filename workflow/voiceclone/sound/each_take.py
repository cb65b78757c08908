"""A stage that writes one sound per take: only what changed is made, what has no take any more is removed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from voiceclone.files import Row, sha256_file, write_tsv
from voiceclone.lineage.items import ItemCache
from voiceclone.progress import Progress
from voiceclone.sound.io import write_flac
from voiceclone.sound.spool import Samples
from voiceclone.stages.settings import Block

log = logging.getLogger(__name__)


def each_take(
    stage: str,
    rows: Sequence[Row],
    output: Path,
    columns: Sequence[str],
    settings: Block,
    assets: str,
    make: Callable[[Row], tuple[Samples, int, dict[str, Any]]],
    done: str,
    label: str,
) -> None:
    """Write ``{take}.flac`` and ``{take}.json`` beside ``output`` and then ``output``, the manifest.

    Args:
        stage: for the key of a take, with settings and assets.
        rows: of the takes, with ``take`` and ``sha256``.
        output: ``STAGE/manifest.tsv``.
        columns: of the manifest.
        settings: of the stage.
        assets: digest of the models.
        make: sound of a row, float32 (frames,), its rate in Hz, and the cells that are the stage's own.
        done: column that says if the take was processed, for the log.
        label: for progress.
    """

    def record_of(row: Row, target: Path) -> dict[str, Any]:
        samples, rate, cells = make(row)
        write_flac(target, samples, rate)
        return {
            "take": row["take"], "path": target.name, "sha256": sha256_file(target), "seconds": len(samples) / rate,
            "sample_rate": rate, **cells,
        }  # fmt: skip

    cache, progress, result = ItemCache(stage, settings, output.parent), Progress(label, len(rows)), []
    for row in rows:
        target = output.parent / f"{row['take']}.flac"
        # Some channels only, or inverted ones, are another sound; all of them are what they always were.
        mix = [row["mix"]] if row.get("mix") and row.get("note") else []
        record = cache.get(row["take"], (row["sha256"], assets, *mix), partial(record_of, row, target), [target])
        result.append(dict.fromkeys(columns) | record)  # an earlier record may lack a column that came later
        log.info("%s: %s %s; %s", row["take"], done, str(record[done]).lower(), record["note"])
        progress.update(note=row["take"])
    log.info("%s: %s", stage, cache.summary())
    cache.prune({row["take"] for row in rows})
    write_tsv(output, columns, result)
