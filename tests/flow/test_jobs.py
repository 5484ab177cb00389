"""Jobs of the command line: which generated roots are drawn."""

from __future__ import annotations

import pytest

from wsis.data.places import shapes_root
from wsis.errors import WsisError
from wsis.flow.jobs import make_data
from wsis.plan import make_plan

SMALL = {f"data.shapes.{kind}_images": 2 for kind in ("train", "val")}


def test_all_roots_of_a_seed_or_only_one(tmp_path):
    plan = make_plan("tiny", (0,), SMALL)
    roots = {shapes_root(run.recipe) for run in plan.runs.values()}
    assert len(roots) == 6  # plain, hard, texture, and plain with near, mixed and far salient images
    for root in roots:
        assert make_data(plan, tmp_path / root, root) == [tmp_path / root / "tiny/data" / root]
        assert [path.name for path in (tmp_path / root / "tiny/data").iterdir()] == [root]
    assert {path.name for path in make_data(plan, tmp_path / "all")} == roots


def test_a_root_that_no_run_reads_is_refused(tmp_path):
    plan = make_plan("tiny", (0,), SMALL)
    with pytest.raises(WsisError, match=r"a root shapes-0 .*there are: shapes-\w+, .*shapes-\w+\)"):
        make_data(plan, tmp_path, "shapes-0")
    assert not list(tmp_path.iterdir())
