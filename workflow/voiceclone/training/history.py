"""The record of a training for people: history as JSON lines, TensorBoard curves, samples of speech."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from voiceclone.errors import DataError
from voiceclone.files import canonical_json, read_jsonl, write_jsonl
from voiceclone.training.trackers import Trackers

log = logging.getLogger(__name__)


class History:
    """Logged steps of one training, in memory, in ``history.jsonl`` and as TensorBoard curves.

    A resumed training takes the rows up to its checkpoint's step; what an attempt logged after it is dropped from
    file and curves, so that both look as if the training had never stopped, but for the resume marks. The rows in
    memory are authoritative: if the disk refuses a line, the whole file is written again at the next one.

    Args:
        folder: state folder of the training.
        writes: whether rows go to the disk too; False in all but the first of several processes.
        trackers: other views of the same rows.
    """

    def __init__(self, folder: Path, writes: bool = True, trackers: Trackers | None = None) -> None:
        self._writes, self._trackers = writes, trackers
        self.path = folder / "history.jsonl"
        self.rows: list[dict[str, Any]] = []
        self._curves = Curves(folder / "tensorboard")
        self._behind = False  # the file lacks rows

    def begin(self, step: int, rows: list[dict[str, Any]], event: Mapping[str, Any] | None = None) -> None:
        """Continue after ``step`` with the checkpoint's rows; ``event`` is noted as one more row."""
        marks = [row for row in self._stored() if "event" in row]
        known = {canonical_json(row) for row in rows}
        self.rows = [*rows, *(mark for mark in marks if canonical_json(mark) not in known)]
        if self._writes:
            self._curves.begin(step)
            if self._trackers:
                self._trackers.begin()
        self._behind = True
        if event is None:
            self._write()
        else:
            self.add(event)

    def _stored(self) -> list[dict[str, Any]]:
        try:
            return read_jsonl(self.path) if self.path.is_file() else []
        except DataError:
            log.warning("%s: its last lines are damaged; taken from the checkpoint", self.path)
            return []

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row, metrics or an event; metrics become curves ``<split>/<name>``."""
        self.rows.append(dict(row))
        self._write()
        self._curves.add(row)
        if self._trackers:
            self._trackers.add(row)

    def _write(self) -> None:
        """Bring the newest row, or all that the file lacks, to the disk."""
        if not self._writes:
            return
        try:
            if self._behind:
                write_jsonl(self.path, self.rows)
            else:
                with self.path.open("a", encoding="utf-8") as handle:
                    handle.write(canonical_json(self.rows[-1]) + "\n")
            self._behind = False
        except OSError as error:
            if not self._behind:
                log.warning("%s: not written, kept in memory: %s", self.path, error)
            self._behind = True

    def add_sound(self, sound: torch.Tensor, rate: int, step: int) -> None:
        """Keep speech ``(N,)`` of a step, marked with the state's number, as ``samples/step-N.flac`` and as a curve."""
        from voiceclone.marks.labels import tag
        from voiceclone.marks.watermark import marked, number_of
        from voiceclone.sound.io import write_flac

        number = number_of(self.path.parent.name)
        samples = marked(sound.detach().float().cpu().clamp(-1, 1).numpy(), rate, number)
        try:
            path = self.path.parent / "samples" / f"step-{step:08d}.flac"
            write_flac(path, samples, rate, tag(number))
        except (OSError, RuntimeError) as error:  # the latter is how libsndfile reports a full disk
            log.warning("the sample of step %d could not be written: %s", step, error)
        self._curves.add_sound("sample", torch.from_numpy(samples)[None], rate, step)

    def flush(self) -> None:
        """Bring the curves so far to the disk; called before a checkpoint that relies on them."""
        self._curves.flush()

    def close(self) -> None:
        """Close the curves and the trackers."""
        self._curves.close()
        if self._trackers:
            self._trackers.close()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The rows without losses: starts, resumes, out of memory."""
        return [row for row in self.rows if "event" in row]


class Curves:
    """TensorBoard curves, events as text beside them, sound. They are a view: if they fail, training continues.

    Args:
        folder: of the event files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._board: Any = None

    def begin(self, step: int) -> None:
        """Continue after ``step``; TensorBoard drops what an earlier attempt drew after it."""

        from torch.utils.tensorboard.writer import SummaryWriter

        with self._without_failing():
            self._board = SummaryWriter(log_dir=str(self._folder), purge_step=step + 1)

    def add(self, row: Mapping[str, Any]) -> None:
        """Draw the metrics of a row, or note its event."""
        step = row["step"]
        if "event" in row:
            text = f"{row['event']} at step {step}: {row.get('reason', '')}"
            self._draw(lambda board: board.add_text("events", text, step))
            return
        metrics = {name: value for name, value in row.items() if isinstance(value, float) and name != "seconds"}

        def curves(board: Any) -> None:
            for name, value in metrics.items():
                board.add_scalar(f"{row['split']}/{name}", value, step)

        self._draw(curves)

    def add_sound(self, name: str, sound: torch.Tensor, rate: int, step: int) -> None:
        """Make a sound ``(1, N)`` playable at a step."""
        self._draw(lambda board: board.add_audio(name, sound, step, rate))

    def flush(self) -> None:
        """Bring what was drawn to the disk."""
        self._draw(lambda board: board.flush())

    def close(self) -> None:
        """End."""
        self._draw(lambda board: board.close())
        self._board = None

    def _draw(self, action: Callable[[Any], object]) -> None:
        """Do something with the board, if there is one."""
        with self._without_failing():
            if self._board is not None:
                action(self._board)

    @contextmanager
    def _without_failing(self) -> Iterator[None]:
        """From its first failure on, the board is left alone."""
        try:
            yield
        except OSError as error:
            log.warning("%s: no more curves in this run: %s", self._folder, error)
            self._board = None
