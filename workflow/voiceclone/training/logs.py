"""What a training writes for people to follow: history as JSON lines, TensorBoard curves, progress on the terminal."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from voiceclone.files import canonical_json, read_jsonl, write_jsonl

log = logging.getLogger(__name__)


class History:
    """Logged steps of one training, in memory, in ``history.jsonl`` and as TensorBoard curves.

    A resumed training takes the rows up to its checkpoint's step; what an attempt logged after it is dropped from
    file and curves, so that both look as if the training had never stopped, but for the resume marks.

    Args:
        folder: state folder of the training.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "history.jsonl"
        self.rows: list[dict[str, Any]] = []
        self._board_folder = folder / "tensorboard"
        self._board: Any = None

    def begin(self, step: int, rows: list[dict[str, Any]], event: Mapping[str, Any] | None = None) -> None:
        """Continue after ``step`` with the checkpoint's rows; ``event`` is noted as one more row."""
        from torch.utils.tensorboard.writer import SummaryWriter

        marks = [row for row in self._stored() if "event" in row]
        known = {canonical_json(row) for row in rows}
        self.rows = [*rows, *(mark for mark in marks if canonical_json(mark) not in known)]
        if event is not None:
            self.rows.append(dict(event))
        write_jsonl(self.path, self.rows)
        self._board = SummaryWriter(log_dir=str(self._board_folder), purge_step=step + 1)
        if event is not None:
            self._board.add_text("events", f"{event['event']} at step {step}: {event.get('reason', '')}", step)

    def _stored(self) -> list[dict[str, Any]]:
        try:
            return read_jsonl(self.path) if self.path.is_file() else []
        except ValueError:
            log.warning("%s: its last lines are damaged; taken from the checkpoint", self.path)
            return []

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row; numbers other than step, epoch and seconds become curves ``<split>/<name>``."""
        self.rows.append(dict(row))
        with self.path.open("a", encoding="utf-8") as handle:
            handle.write(canonical_json(row) + "\n")
        for name, value in row.items():
            if isinstance(value, float) and name != "seconds":
                self._board.add_scalar(f"{row['split']}/{name}", value, row["step"])

    def sync(self) -> None:
        """Make the lines so far durable; called before a checkpoint that relies on them."""
        with self.path.open("a") as handle:
            os.fsync(handle.fileno())
        self._board.flush()

    def close(self) -> None:
        """Close the curves."""
        if self._board is not None:
            self._board.close()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The rows that are no losses: starts and resumes."""
        return [row for row in self.rows if "event" in row]
