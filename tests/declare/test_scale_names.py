"""What a scale names and nobody knows is refused in one line: the file, the key, and what there is."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from wsis.declare.load import DeclarationError
from wsis.declare.resolve import resolve
from wsis.declare.scale import load_scale

COST = {"device": "d", "seconds_per_image": {"tiny": 1.0}, "megabytes": {"tiny": 1.0}, "source": "s"}
BASE = {"title": "t", "seeds": [1], "cost": COST}
UNITS = {"process": 1, "root": 1, "report": 1, "unit": 1, "run": {}}


def scale_of(root: Path, tree: dict):
    (root / "scales").mkdir()
    (root / "scales/own.yaml").write_text(yaml.safe_dump(BASE | tree, sort_keys=False))
    return load_scale("own", root)


def cost(**over) -> dict:
    return {"cost": COST | over}


def units(**over) -> dict:
    return cost(seconds_per_image=None, **{"step": {}, **UNITS, **over})


def fork(**over) -> dict:
    warmup = {"methods": ["boxinst"], "supervision": ["boxes"], "set": {}}
    return {"fork": {"set": {}, "warmups": {"w": warmup | over}}}


REFUSED = {
    # keys of recipes
    "substitute_for.boxinst/mask2former: model.heads: unknown key (there are: head, ": {
        "substitute_for": {"boxinst/mask2former": {"model.heads": {"mask2former": "mask2former"}}}
    },
    "substitute_for.boxinst: head: unknown key (there are: ": {
        "substitute_for": {"boxinst": {"head": {"condinst": "condinst"}}}
    },
    "substitute: data.short_side is no key whose values are text": {"substitute": {"data.short_side": {}}},
    "substitute: data.shapes is no key whose values are text": {"substitute": {"data.shapes": {}}},
    "substitute: loss.pairwise.tau is no key whose values": {
        "substitute": {"loss.pairwise.tau": {"0.1": "1"}}
    },
    "substitute: seed: seeds are chosen apart": {"substitute": {"seed": {"1": "2"}}},
    "substitute: method says what a recipe is": {"substitute": {"method": {"sim": "boxinst"}}},
    "substitute: model.head.size: unknown key (what it stands in has no keys)": {
        "substitute": {"model.head.size": {}}
    },
    "substitute: model.backbone: no such backbone (there are: tiny, ": {
        "substitute": {"model.backbone": {"resnet50": "tinny"}}
    },
    "substitute: model.backbone: no such backbone (there are: resnet50, ": {
        "substitute": {"model.backbone": {"resnet5O": "tiny"}}
    },
    "divide: model.chanels: unknown key (there are: channels, ": {"divide": {"model.chanels": 2}},
    "divide: model.head is not always a whole number": {"divide": {"model.head": 2}},
    "divide: model.mask_channels is not always": {"divide": {"model.mask_channels": 2}},
    "divide: schedule.lr is not always": {"divide": {"schedule.lr": 2}},
    "divide: nosuch.key: unknown key (there are: ": {"divide": {"nosuch.key": 2}},
    "divide: seed: seeds are chosen apart": {"divide": {"seed": 2}},
    "overrule: schedule.iteration: unknown key (there are: iterations, ": {
        "overrule": ["schedule.iteration"]
    },
    # methods, their heads, papers, backbones
    "methods: no method 'boxints' (there are: boxinst, ": {"methods": {"boxints": {}}},
    "methods: no head of boxinst 'mask2formr' (there are: mask2former, condinst)": {
        "methods": {"boxinst/mask2formr": {}}
    },
    "methods: no head of boxinst '' (there are: condinst, mask2former)": {"methods": {"boxinst/": {}}},
    "substitute_for: no method 'boxints' (there are: boxinst, ": {"substitute_for": {"boxints/condinst": {}}},
    "papers: no paper 'boxints' (there are: boxinst, ": {"papers": {"boxints": {}}},
    "seeds_for: no paper 'simm' (there are: sim, ": {"seeds_for": {"simm": [1]}},
    "fork.warmups.w.methods: no method 'simm' (there are: sim, ": fork(methods=["simm"]),
    "fork.warmups.w.papers: no paper 'simm' (there are: sim, ": fork(papers=["simm"]),
    "fork.warmups.w.supervision.0: Input should be 'boxes', ": fork(supervision=["boxs"]),
    "cost.methods: no method 'simm' (there are: sim, ": cost(methods={"simm": 1}),
    "cost.seconds_per_image: no backbone 'tinny' (there are: tiny, ": cost(seconds_per_image={"tinny": 1}),
    "cost.megabytes: no backbone 'tinny' (there are: tiny, ": cost(megabytes={"tinny": 1}),
    "cost.step: no method 'simm' (there are: sim, ": units(step={"simm": 1}),
    "cost.step: no head, backbone or value of model.trained of sim 'mask' (there are: masks, ": units(
        step={"sim/mask": 1}
    ),
    "cost.run: no method 'simm' (there are: sim, ": units(run={"simm/masks": 1}),
    # numbers
    "cost.seconds_per_image.tiny: Input should be greater": cost(seconds_per_image={"tiny": -1}),
    "cost.unit: Input should be greater": units(unit=-1),
    "seeds: Tuple should have at least 1 item": {"seeds": []},
    "seeds_for.sim: Tuple should have at least 1 item": {"seeds_for": {"sim": []}},
}


@pytest.mark.parametrize("complaint", REFUSED)
def test_what_nobody_knows_is_refused_with_what_there_is(tmp_path, complaint):
    with pytest.raises(DeclarationError) as error:
        scale_of(tmp_path, REFUSED[complaint])
    assert str(error.value).startswith(f"{tmp_path / 'scales/own.yaml'}: {complaint}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "tree",
    [
        {"methods": {"boxinst/mask2former": {}, "grabcut": {}}, "papers": {"sim": {}}},
        {"substitute": {"loss.pairwise.edges": {"any": "centre"}, "model.backbone": {}}},
        {"divide": {"loss.pairwise.dilation": 2, "baiseg.dim": 8}, "overrule": ["loss.pairwise.tau"]},
        units(step={"boxinst/masks": 0, "boxinst/tiny": 1, "boxinst/condinst": 1, "boxinst": 1}),
        fork(papers=["boxinst"], supervision=["masks-voc"]),
    ],
)
def test_what_is_there_is_taken(tmp_path, tree):
    scale_of(tmp_path, tree)


def test_a_paper_of_the_same_root_is_known(tmp_path):
    (tmp_path / "mine").mkdir()
    paper = {"name": "m", "title": "t", "authors": ["a"], "year": 2026, "bibtex": "b"}
    (tmp_path / "mine/paper.yaml").write_text(yaml.safe_dump(paper))
    assert scale_of(tmp_path, {"papers": {"mine": {}}, "seeds_for": {"mine": [4]}}).seeds_for["mine"] == (4,)


def test_keys_below_a_section_that_a_row_has_not_are_left_alone(tables):
    tiny = load_scale("tiny")
    semantics = {"baiseg.train_semantics": {"ground_truth": "ground_truth"}}
    scale = tiny.model_copy(
        update={"substitute": tiny.substitute | semantics, "divide": {"loss.pairwise.dilation": 2}}
    )
    for label, dilation in (("projection", None), ("projection + pairwise", 1)):
        table = tables["boxinst/3"]
        pairwise = resolve(table, table.row(label), scale, 1).recipe.loss.pairwise
        assert (pairwise and pairwise.dilation) == dilation
