"""What every command loads, loaded once, before processes are forked."""

from __future__ import annotations

from importlib import import_module

MODULES = ("wsis.cli", "wsis.engine.run", "wsis.evaluation.run", "wsis.report.render", "wsis.results.verify")
MODULES += ("torch", "matplotlib.backends.backend_agg", "pandas", "lightning_fabric")


def loaded() -> None:
    for name in MODULES:
        import_module(name)
