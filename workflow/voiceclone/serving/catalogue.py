"""The voices that a server offers: bundles by name, checked regularly for damage and for new versions."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from voiceclone.backends.bundle import BUNDLE_FILE, read_bundle, verify_bundle, voice_number
from voiceclone.errors import DataError, VoiceCloneError
from voiceclone.files import check_speaker, sha256_file
from voiceclone.lineage.rights import NONE_GIVEN, may_serve

log = logging.getLogger(__name__)
Stamp = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class OfferedVoice:
    """A voice as it was read last.

    Attributes:
        name: by which requests name it.
        folder: of its bundle.
        version: sha256 of its ``bundle.json``.
        description: that file.
        problem: why it does not speak now; empty: it does.
        stamp: names, times, sizes and inodes of its files, by which changes are noticed.
    """

    name: str
    folder: Path
    version: str = ""
    description: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    stamp: Stamp = ()

    @property
    def number(self) -> int:
        """The number that its watermark carries."""
        return voice_number(self.description)

    def as_entry(self) -> dict[str, Any]:
        """Its entry in the list of voices."""
        entry: dict[str, Any] = {"id": self.name, "object": "voice", "available": not self.problem}
        if self.description:
            told = ("languages", "target", "sample_rate", "watermark", "notice")
            entry |= {name: self.description[name] for name in told if name in self.description}
            entry["styles"] = sorted(self.description.get("styles", ()))
            rights = {name: self.description.get(name, NONE_GIVEN) for name in ("licence", "consent_sha256")}
            entry |= {**rights, "pitch": self.description.get("decoder") == "source_filter"}
        return entry


class Catalogue:
    """The voices of some bundles.

    Args:
        folders: bundles, each ``export/TARGET`` or its ``bundle.json``.

    Raises:
        DataError: none of them can be served; says why.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._voices: dict[str, OfferedVoice] = {}
        self._suspect: set[str] = set()
        for folder in folders:
            found = _opened((folder.parent if folder.name == BUNDLE_FILE else folder).absolute())
            if found.name in self._voices:
                found = replace(found, name=f"{found.name}-{found.folder.name.lower()}")
            if found.name in self._voices:
                raise DataError(f"{folder}: there is a voice {found.name} already", "name each bundle once")
            self._voices[found.name] = found
            if found.problem:
                log.error("voice %s: not served: %s", found.name, found.problem)
        if not any(not voice.problem for voice in self._voices.values()):
            raise DataError(
                "no voice can be served: "
                + ("; ".join(voice.problem for voice in self._voices.values()) or "none given"),
                "name exported bundles: --voices results/NAME/export/onnx-int8",
            )

    def all(self) -> list[OfferedVoice]:
        """All voices, by name."""
        return [self._voices[name] for name in sorted(self._voices)]

    def get(self, name: str) -> OfferedVoice | None:
        """The voice of a name; no name leads to a path."""
        return self._voices.get(name)

    def withdraw(self, voice: OfferedVoice, problem: str) -> None:
        """Offer a version of a voice that failed in a worker no more, until its files change."""
        if self._voices[voice.name].version == voice.version:
            self._voices[voice.name] = replace(voice, problem=problem)

    def rescan(self) -> None:
        """Take over new versions; a voice is withdrawn when two scans in a row find its files damaged."""
        for name, voice in list(self._voices.items()):
            if _stamp(voice.folder) == voice.stamp:
                continue
            found = _opened(voice.folder, name)
            if found.problem and not voice.problem and name not in self._suspect:
                self._suspect.add(name)  # it may be halfway through being replaced
                continue
            self._suspect.discard(name)
            if found.problem:
                log.error("voice %s: out: %s", name, found.problem)
                found = replace(voice, problem=found.problem, stamp=found.stamp)
            elif found.version != voice.version or voice.problem:
                log.info("voice %s: version %s", name, found.version[:12])
            self._voices[name] = found


def _opened(folder: Path, name: str = "") -> OfferedVoice:
    """A bundle whose files were compared with their digests, or what is wrong with it; a name if it has one already."""
    stamp, by_place = _stamp(folder), folder.parent.parent if folder.parent.name == "export" else folder
    try:
        name = name or check_speaker(str(read_bundle(folder)[0]["voice"]))
        description = verify_bundle(folder)
        version, problem = sha256_file(folder / BUNDLE_FILE), may_serve(description)
        if description.get("consent_sha256", NONE_GIVEN) == NONE_GIVEN:
            log.warning("voice %s: its bundle records no consent of its speaker", name)
        return OfferedVoice(name, folder, version, description, problem, stamp)
    except (VoiceCloneError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:  # of any broken JSON
        reason = error.message if isinstance(error, VoiceCloneError) else f"{type(error).__name__}: {error}"
        return OfferedVoice(name or by_place.name, folder, problem=reason, stamp=stamp)


def _stamp(folder: Path) -> Stamp:
    try:
        stats = [(path.name, path.stat()) for path in sorted(folder.iterdir()) if path.is_file()]
    except OSError:
        return ()
    return tuple((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in stats)
