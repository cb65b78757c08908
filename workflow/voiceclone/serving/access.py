"""Access to a server: keys, of which only hashes are kept, their quotas, and the audit log."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import logging
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from voiceclone.errors import ConfigError, DataError
from voiceclone.files import canonical_json, read_json, write_json

log = logging.getLogger(__name__)
PREFIX = "vc"
DAY = 86_400.0
LONGEST_NAME = 100


@dataclass(frozen=True)
class Key:
    """A key and its limits.

    Attributes:
        id: names it in logs; the first part of the key.
        name: for people.
        sha256: of the key; its 256 random bits need no salt.
        voices: that it may use; empty: all.
        formats: that it may ask for; empty: all.
        per_minute: requests; 0: no limit.
        characters_per_day: of text, by days of UTC; 0: no limit.
        concurrent: requests at a time; 0: no limit.
        created: time.
        revoked: time; empty: it is valid.
    """

    id: str
    name: str = ""
    sha256: str = ""
    voices: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    per_minute: int = 0
    characters_per_day: int = 0
    concurrent: int = 0
    created: str = ""
    revoked: str = ""


_KEYS = TypeAdapter(list[Key])
#: The caller where no keys are needed.
LOCAL = Key("local", "this machine")


class KeyFile:
    """The file of keys; changes take effect without a restart.

    Args:
        path: JSON, made with the first key.

    Raises:
        ConfigError: a folder, or no name.
    """

    def __init__(self, path: Path) -> None:
        if not path.name or path.is_dir():
            raise ConfigError(f"--keys {path}: not a file", "name the file of keys, or the one to make")
        self.path = path
        self._stamp: tuple[int, int] | None = None
        self._keys: dict[str, Key] = {}

    def all(self) -> list[Key]:
        """All keys, by id; those read last while the file is damaged.

        Raises:
            DataError: it is damaged and was never read.
        """
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return []
        stamp = stat.st_mtime_ns, stat.st_ino
        if stamp != self._stamp:
            try:
                entries = _KEYS.validate_python([asdict(Key(**entry)) for entry in read_json(self.path)["keys"]])
            except (DataError, KeyError, TypeError, ValidationError) as error:
                if self._stamp is None:
                    why = str(error).splitlines()[0]
                    raise DataError(f"{self.path}: no file of keys ({why})", "restore it, or make another") from error
                log.error("%s: damaged, the keys read before stay valid: %s", self.path, error)
                return list(self._keys.values())
            self._keys, self._stamp = {key.id: key for key in entries}, stamp
        return [self._keys[id] for id in sorted(self._keys)]

    def find(self, token: str) -> Key | None:
        """The key, unless it is unknown or revoked."""
        self.all()
        key = self._keys.get(token.split("-")[1] if token.count("-") == 2 else "")
        same = hmac.compare_digest(_hash(token).encode(), (key.sha256 if key is not None else "").encode())
        return key if same and key is not None and not key.revoked else None

    def add(self, key: Key) -> str:
        """Make a key with the limits of ``key``; returns the key itself, which is stored nowhere.

        Raises:
            ConfigError: its name is not printable, or too long.
        """
        if not key.name.isprintable() or len(key.name) > LONGEST_NAME:
            raise ConfigError(f"key {key.name[:80]!r}: expected a printable name of at most {LONGEST_NAME} characters")
        with self._changing() as keys:
            id = next(id for id in iter(lambda: secrets.token_hex(4), "") if id not in keys)
            token = f"{PREFIX}-{id}-{secrets.token_hex(32)}"
            keys[id] = replace(key, id=id, sha256=_hash(token), created=_now())
        return token

    def revoke(self, id: str) -> None:
        """Revoke a key.

        Raises:
            ConfigError: there is none of this id.
        """
        with self._changing() as keys:
            if id not in keys:
                raise ConfigError(f"key {id}: unknown, there are {', '.join(sorted(keys)) or 'none'}")
            keys[id] = replace(keys[id], revoked=keys[id].revoked or _now())

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Key]]:
        """All keys to change, written at the end; two programs wait for each other."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = {key.id: key for key in self.all()}
            yield keys
            write_json(self.path, {"keys": [asdict(keys[id]) for id in sorted(keys)]})
            self.path.chmod(0o600)
        finally:
            os.close(lock)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class QuotaExceeded(Exception):
    """A quota is exceeded.

    Args:
        message: which one.
        seconds: until the next try may succeed.
    """

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.message, self.seconds = message, max(1, int(seconds + 0.999))


@dataclass
class _Use:
    times: deque[float] = field(default_factory=deque)
    day: int = 0
    characters: int = 0
    running: int = 0


class Quotas:
    """Use of each key, by which quotas are enforced.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock, self._uses = clock, dict[str, _Use]()

    def admit(self, key: Key, characters: int) -> None:
        """Count a request, which :meth:`release` ends.

        Raises:
            QuotaExceeded: it would be more than the key may.
        """
        now, use = self._clock(), self._uses.setdefault(key.id, _Use())
        if use.day != (day := int(now // DAY)):
            use.day, use.characters = day, 0
        while use.times and use.times[0] <= now - 60:
            use.times.popleft()
        if key.concurrent and use.running >= key.concurrent:
            raise QuotaExceeded(f"{key.concurrent} requests at a time", 1)
        if key.per_minute and len(use.times) >= key.per_minute:
            raise QuotaExceeded(f"{key.per_minute} requests per minute", use.times[0] + 60 - now)
        if key.characters_per_day and use.characters + characters > key.characters_per_day:
            raise QuotaExceeded(f"{key.characters_per_day} characters per day", (day + 1) * DAY - now)
        if key.per_minute:
            use.times.append(now)
        use.characters += characters
        use.running += 1

    def release(self, key: Key) -> None:
        """A request has ended."""
        self._uses[key.id].running -= 1

    def restore(self, records: Sequence[dict[str, Any]]) -> None:
        """Count the characters of today again, of the records of an audit log."""
        today = int(self._clock() // DAY)
        for record in records:
            with suppress(KeyError, TypeError, ValueError):
                if int(datetime.fromisoformat(record["time"]).timestamp() // DAY) == today:
                    use = self._uses.setdefault(str(record["key"]), _Use())
                    use.day, use.characters = today, use.characters + int(record["characters"])


class AuditLog:
    """One line of JSON for each request that was spoken, or begun.

    Args:
        path: of the log, which only its owner reads; None: none is kept.
        with_text: keep the texts too.

    Attributes:
        failed: lines that could not be written.
    """

    def __init__(self, path: Path | None, with_text: bool = False) -> None:
        self._path, self._with_text, self.failed = path, with_text, 0

    def write(self, key: Key, text: str, **more: Any) -> None:
        """Append a line; if that fails it is logged and counted, and the request goes on."""
        if self._path is None:
            return
        record = {"time": _now(), "key": key.id, "characters": len(text), **more}
        line = canonical_json(record | ({"text": text} if self._with_text else {})) + "\n"
        try:
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(handle, line.encode())
            finally:
                os.close(handle)
        except OSError as error:
            self.failed += 1
            log.error("%s: a request was not recorded: %s", self._path, error.strerror)

    def records(self) -> list[dict[str, Any]]:
        """All records; damaged lines are left out."""
        import json

        found: list[dict[str, Any]] = []
        if self._path is None or not self._path.is_file():
            return found
        for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
        return [record for record in found if isinstance(record, dict)]
