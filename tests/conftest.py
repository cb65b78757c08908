"""Fixtures that every test shares: recorded data beside the checkout, fetched models."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from pathlib import Path

import hypothesis
import pytest
from tests.support.tables import checked

from voiceclone import files

# A busy machine is no reason to fail: properties are judged by their values, never by their time.
hypothesis.settings.register_profile("project", deadline=None, derandomize=True)
hypothesis.settings.register_profile("fuzz", deadline=None, max_examples=10_000)  # make fuzz: others each time
hypothesis.settings.load_profile("project")

# References of clips are kept in no folder of the user's, unless a test names one.
os.environ["VOICECLONE_CACHE"] = ""

# Every table that the library writes in a test is checked against its schema (before other modules import this name).
files.tsv_text = checked(files.tsv_text)

REPOSITORY = Path(__file__).resolve().parents[1]


def _beside(name: str) -> Path:
    folder = REPOSITORY.parent / "shared" / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: this test needs its recordings")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real recordings with transcripts, noises and rooms."""
    return _beside("data")


@pytest.fixture(scope="session")
def shared_golden() -> Path:
    """Recorded inputs and outputs of the public models."""
    return _beside("golden")


@pytest.fixture(scope="session")
def shared_base() -> Path:
    """States of the prototype of the base voice."""
    return _beside("base")


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """Small inputs for faults that users reported, with what is right."""
    return _beside("cases")


@pytest.fixture(scope="session")
def asset() -> Callable[[str], Path]:
    """Fetch a registered model by name and return the path of its asset.json."""
    from voiceclone.assets import fetch_asset
    from voiceclone.errors import AssetError

    def fetch(name: str) -> Path:
        try:
            return fetch_asset(name, REPOSITORY / "resources" / "models", REPOSITORY / "config" / "assets.yaml")
        except AssetError as error:
            pytest.skip(f"model {name} cannot be had: {error.message}")

    return fetch


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed base voice of small networks."""
    from tests.support.voice_fixture import pack_base

    folder = tmp_path_factory.mktemp("packed")
    pack_base(folder)
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Names that are no Unicode, as tests of hostile files log them, would end the run: workers report in UTF-8."""
    report = yield
    report.sections = [(title, text.encode("utf-8", "backslashreplace").decode()) for title, text in report.sections]
    return report
