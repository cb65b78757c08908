"""Downloading one file over HTTP: in pieces, bounded, going on where an attempt before it ended."""

from __future__ import annotations

import http.client
import logging
import time
import urllib.error
import urllib.request
from pathlib import Path

log = logging.getLogger(__name__)
ATTEMPTS = 3
PAUSE = 1.0  # seconds before the second attempt, twice as long before the third
_TIMEOUT = 60.0  # seconds without a byte
_CHUNK = 1 << 20


class DownloadError(Exception):
    """A file cannot be downloaded; the message says why."""


def download(url: str, target: Path, limit: int, resume: bool = True) -> None:
    """Download ``url`` to ``target``, through redirections; what arrived of a file that broke off is kept beside it.

    Args:
        url: http or https address; a redirection to a file is refused, proxies are taken from the environment.
        target: file to write; there afterwards in full, or not at all.
        limit: most bytes that the file may have.
        resume: go on with ``target.part`` of the attempt before, in this call or an earlier one; only where a
            checksum will tell what came of it.

    Raises:
        DownloadError: no such file, no connection, more than ``limit`` bytes, or broken off in every attempt.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    for attempt in range(1, ATTEMPTS + 1):
        if not resume:
            part.unlink(missing_ok=True)
        try:
            _continue(url, part, limit)
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the part is longer than the file: another file by now
                part.unlink(missing_ok=True)
                reason = "the file changed meanwhile"
            elif error.code < 500 and error.code != 429:
                raise DownloadError(f"the server answers {error.code} {error.reason}") from error
            else:
                reason = f"the server answers {error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        else:
            part.replace(target)
            return
        log.warning("%s: %s (attempt %d of %d)", url, reason, attempt, ATTEMPTS)
        if attempt < ATTEMPTS:
            time.sleep(PAUSE * attempt)
    raise DownloadError(reason)


def _continue(url: str, part: Path, limit: int) -> None:
    """Download what ``part`` lacks, or all of it from a server that gives no ranges."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "voiceclone", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        ranged = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if ranged else 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        if total is not None and total > limit:
            raise DownloadError(f"has {total} bytes, expected at most {limit}")
        with part.open("ab" if ranged else "wb") as out:
            while chunk := answer.read(_CHUNK):
                have += len(chunk)
                if have > limit:
                    raise DownloadError(f"has more than {limit} bytes")
                out.write(chunk)
        if total is not None and have < total:
            raise ConnectionError(f"broke off after {have} of {total} bytes")
