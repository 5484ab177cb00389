"""Fixtures of the engine's tests."""

from tests.engine.toy_runs import toys  # noqa: F401 (a fixture)
