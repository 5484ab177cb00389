"""The declared tables."""

import pytest

from wsis.declare.load import load_tables


@pytest.fixture(scope="package")
def tables():
    return load_tables()
