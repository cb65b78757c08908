"""A stage of the workflow: its settings, its arguments, its log, its exit status.

Every module of :mod:`voiceclone.stages` describes one, and a script of the same name under ``scripts/`` runs it, with
the exit status of :mod:`voiceclone.errors`. The log goes to standard error (the rule's log file), progress to standard
output.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from voiceclone import __version__
from voiceclone.errors import EXIT_FAILURE, ConfigError, explain
from voiceclone.files import read_json
from voiceclone.progress import Progress
from voiceclone.stages.settings import Block, RuntimeSettings

Settings = TypeVar("Settings", bound=Block)
log = logging.getLogger(__name__)


def parse_settings(kind: type[Settings], text: str) -> Settings:
    """Validate a stage's settings, JSON or the name of a file of it; a :class:`ConfigError` lists each wrong key."""
    values = text if text.startswith("{") else Path(text).read_text(encoding="utf-8")
    try:
        return kind.model_validate_json(values)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise ConfigError("settings are not valid:\n" + "\n".join(lines)) from error


def speaker_folder(args: argparse.Namespace) -> Path:
    """Folder of the speaker's recordings: ``--folder``, or where the configuration of the run has it."""
    if args.folder is not None:
        return Path(args.folder)
    if args.config is None or not args.speaker:
        raise ConfigError("expected --folder, or --config and --speaker")
    return Path(read_json(args.config)["speakers_dir"]) / args.speaker


def label(args: argparse.Namespace, work: str) -> str:
    """Prefix of the progress lines: the speaker, if one is named, and the work."""
    return f"{args.speaker} · {work}" if args.speaker else work


def limit_threads(threads: int) -> None:
    """Bound the threads of numerical libraries; effective for those that are imported later."""
    if threads > 0:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
            os.environ[name] = str(threads)
        # Threads that spin while they wait make a busy machine ten times slower.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def limit_devices(device: str) -> None:
    """Hide all GPUs where the user wants the processor: some libraries take one without being told."""
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@dataclass(frozen=True)
class Stage:
    """A stage: what it is, what it needs, what it does.

    Attributes:
        name: of its rule.
        arguments: adds the arguments that are not those of every stage.
        run: its work, given the arguments, the settings and the runtime block; heavy libraries are imported in it.
        settings: its settings; without keys where it has none.
        block: key of the settings in the configuration; empty: they stand in no block.
        about: the block in a few words, for the manual.
        models: names of the pretrained models that it needs under a configuration; empty names do not count.
        preset: the only preset under which it runs; empty: under all.
    """

    name: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Any, RuntimeSettings], None]
    settings: type[Block] = Block
    block: str = ""
    about: str = ""
    models: Callable[[Any], Iterable[str]] = lambda config: ()
    preset: str = ""

    def parser(self, description: str | None) -> argparse.ArgumentParser:
        """Parser of its arguments and of those that every stage has: ``--settings --runtime --threads --speaker``."""
        parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--speaker", default="", help="name of the speaker, for messages")
        parser.add_argument(
            "--settings", default="{}", help="JSON file of the stage's semantic settings, or JSON; left out: defaults"
        )
        parser.add_argument("--runtime", type=Path, help="JSON file of the runtime block; left out: defaults")
        parser.add_argument("--threads", type=int, default=0, help="CPU threads to use; 0: what the libraries choose")
        self.arguments(parser)
        return parser

    def main(self, description: str | None) -> None:
        """Run with the arguments of the command line and leave the process with the right exit status."""
        args = self.parser(description).parse_args()
        limit_threads(args.threads)
        threading.excepthook = _thread_failed
        logging.basicConfig(
            stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        try:
            runtime = RuntimeSettings.model_validate({} if args.runtime is None else read_json(args.runtime))
            logging.getLogger().setLevel(runtime.log_level)
            Progress.interval = runtime.progress_seconds
            limit_devices(runtime.device)
            log.info("voiceclone %s, python %s: %s", __version__, platform.python_version(), " ".join(sys.argv))
            self.run(args, parse_settings(self.settings, args.settings), runtime)
        except Exception as error:
            known = explain(error)
            if known is None:
                log.exception("unexpected failure; please report it with this log")
                sys.exit(EXIT_FAILURE)
            log.error("%s", known)
            sys.exit(known.exit_code)


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    """A thread of a library that met a full disk is one line too, as TensorBoard's that writes curves."""
    known = explain(failure.exc_value) if isinstance(failure.exc_value, Exception) else None
    if known is None:
        threading.__excepthook__(failure)
    else:
        log.warning("%s: %s", failure.thread.name if failure.thread else "a thread", known.message)
