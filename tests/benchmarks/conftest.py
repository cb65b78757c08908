"""Benchmarks use the same real runs as the workflow tests."""

from project import demo, new_project  # noqa: F401
