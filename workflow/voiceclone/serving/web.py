"""What both sites of this package share: their files, and how they read and refuse a request."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse

FOLDER = Path(__file__).parent
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def add_file(app: FastAPI, path: str, name: str) -> None:
    """Serve a file of this folder at a path, without a key.

    Args:
        app: the application.
        path: of the URL.
        name: of the file. It must not become a parameter of the handler: FastAPI would fill it from the query.
    """

    @app.get(path, include_in_schema=False)
    def send() -> FileResponse:
        return FileResponse(FOLDER / name, headers=PAGE_HEADERS)


def content_length(header: bytes | str) -> int:
    """Bytes of a body by its header ``Content-Length``; 0 if that is missing or no number of fewer than 20 digits."""
    return int(header) if header.isdigit() and len(header) < 20 else 0


def invalid_fields(error: RequestValidationError) -> str:
    """The first five fields of a request that are wrong, and why; what was sent is not repeated: it may be anything."""
    return "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors()[:5])
