"""Waiting that ends at its first wait: a test sees that something waits, and goes on."""

from __future__ import annotations

from types import ModuleType

import pytest


class Waits(Exception):
    """Raised in the place of the first wait."""


def without_patience(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    """`time.sleep` raises Waits where `module` calls it."""

    def sleep(seconds: float) -> None:
        raise Waits

    monkeypatch.setattr(module.time, "sleep", sleep)
