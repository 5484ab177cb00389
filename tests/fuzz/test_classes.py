"""Whatever a file or a setting holds, it is refused in one line that names where, or taken with a meaning."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.classes import CLASSES, reason, tried


@pytest.mark.parametrize("name", CLASSES)
def test_no_input_is_a_traceback(name, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")

    @given(st.data())
    def check(data):
        given, said = data.draw(CLASSES[name].inputs)
        refused = tried(name, given, folder)
        assert refused or reason(name, given), f"taken without a reason: {said}"

    check()
