"""Fixtures of the workflow tests."""

from project import demo, new_project  # noqa: F401
