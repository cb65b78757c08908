"""What a speaker's folder says of its rights: the licence of the recordings, and their speaker's consent."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from voiceclone.errors import DataError
from voiceclone.files import read_json, sha256_file, write_changed
from voiceclone.usertext import read_user_text

#: Comment of every sound file that a model spoke.
GENERATED_NOTICE = "AI-generated speech"
NONE_GIVEN = "none given"
LONGEST_LICENCE = 200
_LICENCE = re.compile(r"licen[cs]e(\.(txt|md))?", re.IGNORECASE)
_CONSENT = re.compile(r"consent(\.\w+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Rights:
    """Rights of a voice, as its bundles and reports state them.

    Attributes:
        licence: of the recordings, in the words of the user: the first line of ``LICENCE.txt``.
        consent_sha256: of the file ``consent.*``, by which that file can be told from any other.
    """

    licence: str = NONE_GIVEN
    consent_sha256: str = NONE_GIVEN

    def as_notes(self) -> dict[str, str]:
        """Plain values for ``bundle.json`` and for the metadata of graphs."""
        return asdict(self)


def rights_files(folder: Path) -> list[Path]:
    """The files of a speaker's folder, and none below it, that state its rights."""
    return _named(folder, _LICENCE) + _named(folder, _CONSENT)


def read_rights(folder: Path) -> Rights:
    """The rights that a speaker's folder states.

    Raises:
        DataError: several files for one thing, or a licence that is not a text.
    """
    licence, consent = _only(folder, _LICENCE), _only(folder, _CONSENT)
    return Rights(
        _first_line(licence) if licence else NONE_GIVEN,
        sha256_file(consent) if consent else NONE_GIVEN,
    )


def record_rights(folder: Path, target: Path) -> bool:
    """Write what a speaker's folder states, or why it cannot be told, where the file says something else.

    Returns:
        whether it was written.
    """
    try:
        stated = read_rights(folder).as_notes()
    except DataError as error:  # one speaker's mistake stops no other: whoever reads the file raises it
        stated = {"problem": error.message, "hint": error.hint}
    return write_changed(target, json.dumps(stated, sort_keys=True, ensure_ascii=False, indent=2) + "\n")


def load_rights(path: Path) -> Rights:
    """What :func:`record_rights` wrote.

    Raises:
        DataError: the folder's statements were in no order.
    """
    stated = read_json(path)
    if "problem" in stated:
        raise DataError(stated["problem"], stated["hint"])
    return Rights(**stated)


def _named(folder: Path, name: re.Pattern[str]) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if name.fullmatch(path.name) and path.is_file())


def _only(folder: Path, name: re.Pattern[str]) -> Path | None:
    found = _named(folder, name)
    if len(found) > 1:
        raise DataError(f"{folder}: {', '.join(path.name for path in found)}: expected one of them", "keep one")
    return found[0] if found else None


def _first_line(path: Path) -> str:
    try:
        lines = [" ".join(line.split()) for line in read_user_text(path).split("\n")]
    except DataError as error:
        raise DataError(f"{error.message}; its first line names the licence, as CC-BY-4.0", error.hint) from error
    return next((line[:LONGEST_LICENCE] for line in lines if line), NONE_GIVEN)
