"""Classes of trainings: every job in one, and all of a class able to use what the class asks for."""

from __future__ import annotations

import re

import pytest

from wsis.checksums import seal
from wsis.errors import WsisError
from wsis.flow.classes import LENGTHS, classes, machines, usable
from wsis.flow.work import Work, mark, unmark, work
from wsis.plan import make_plan


@pytest.fixture(scope="module")
def plan():
    return make_plan("paper")


@pytest.mark.parametrize(("gpus", "nodes"), [(8, 1), (8, 2), (8, 4), (4, 1), (3, 1), (1, 1), (0, 1)])
def test_what_a_class_asks_for_is_what_each_of_its_jobs_uses(plan, gpus, nodes):
    found = classes(plan, plan.jobs, gpus, nodes)
    assert sorted(job for each in found for job in each.jobs) == sorted(job.id for job in plan.jobs)
    assert len({each.name for each in found}) == len(found)
    of_id = {job.id: job for job in plan.jobs}
    for each in found:
        share = each.cards // each.nodes
        assert each.cards % each.nodes == 0 and share <= gpus // nodes and each.nodes <= nodes
        for job in (of_id[id] for id in each.jobs):
            for recipe in (plan.runs[run].recipe for run in job.runs):
                if recipe.model.backbone == "none":
                    assert each.cards == 0
                    continue
                schedule = recipe.schedule
                assert bool(each.cards) == bool(gpus)
                assert each.cards <= schedule.devices and schedule.batch % max(each.cards, 1) == 0
            hours = sum(plan.runs[run].device_hours for run in job.runs) / max(each.cards, 1)
            assert each.minutes >= min(60 * 1.5 * hours, LENGTHS["long"])
        length, _, cards = each.name.partition("_")
        assert each.minutes == LENGTHS[length]
        assert cards == ("" if each.cards == gpus else str(each.cards or "cpu"))


def test_a_batch_that_the_cards_do_not_divide_takes_fewer(plan):
    recipe = next(run.recipe for run in plan.runs.values() if run.recipe.schedule.batch == 6)
    schedule = recipe.schedule.model_copy(update={"devices": 8})
    recipe = recipe.model_copy(update={"schedule": schedule})
    assert [usable(recipe, gpus) for gpus in (8, 6, 5, 4, 3, 2, 1, 0)] == [6, 6, 3, 3, 3, 2, 1, 0]
    assert [usable(recipe, 8, nodes) for nodes in (2, 4)] == [6, 6]  # 3 + 3, 2 + 2 + 2
    assert [machines(cards, 8, 2) for cards in (1, 4, 5, 8)] == [1, 1, 2, 2]


def test_cards_that_can_not_be_spread_evenly_are_refused(plan):
    for gpus, nodes in ((8, 3), (1, 2), (0, 2)):
        with pytest.raises(WsisError, match=f"gpus={gpus} nodes={nodes}: .*a multiple"):
            classes(plan, plan.jobs, gpus, nodes)


def marked(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_marks_of_what_is_to_be_done_are_removed_and_others_stay(tmp_path):
    plan = make_plan("smoke", (0,))
    todo = work(plan, ["boxinst/3"], tmp_path)
    folder = tmp_path / "smoke"
    paths = [mark(folder, "train", todo.trainings[0].id), mark(folder, "evaluate", todo.evaluations[0].id)]
    for path in (*paths, other := mark(folder, "train", "other")):
        marked(path)
    unmark(todo, folder, tmp_path / "index.html")
    assert other.exists() and not any(path.exists() for path in paths)


def test_marks_of_a_report_go_where_its_page_or_its_numbers_are_lost_or_damaged(tmp_path):
    page, numbers = tmp_path / "index.html", tmp_path / "metrics.csv"

    def stays(damage):
        page.write_text("<html>page</html>")
        numbers.write_text("paper,table\n")
        seal(numbers)
        its = marked(tmp_path / "rendered" / "boxinst_3")
        damage()
        unmark(Work((), (), (), ()), tmp_path, page)
        return its.exists()

    assert stays(lambda: None)
    assert not stays(page.unlink) and not stays(numbers.unlink)
    assert not stays(lambda: page.write_text("<html>pa"))
    assert not stays(lambda: numbers.write_text("paper"))


def test_names_of_classes_are_names_of_rules(plan):
    for gpus in (1, 8):
        for each in classes(plan, plan.jobs, gpus):
            assert re.fullmatch(r"[a-z]+(_([1-9]\d*|cpu))?", each.name)
