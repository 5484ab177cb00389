"""Operations and parameters: the counting on nets counted by hand, and Tables 4 to 6 as published."""

import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from wsis.declare.load import load_tables
from wsis.declare.recipe import Recipe
from wsis.declare.resolve import published_recipe
from wsis.errors import WsisError
from wsis.methods.baiseg.cascade import BoundaryModule
from wsis.methods.baiseg.complexity import complexity, multiply_adds, parameters
from wsis.methods.baiseg.spec import BaisegSpec

TABLES = load_tables()
MODULE = [(table, row.label) for table in ("baiseg/4", "baiseg/5") for row in TABLES[table].rows]
NETWORK = [("baiseg/6", row.label) for row in TABLES["baiseg/6"].rows]


def cut(value, digits):
    """Cut off after `digits` decimals, as the paper prints."""
    return math.floor(value * 10**digits + 1e-9) / 10**digits


def row_of(table, label):
    """Costs as measured and as published."""
    table = TABLES[table]
    row = table.row(label)
    kind = "network" if table.table == "6" else "module"
    return complexity(published_recipe(table, row), kind), table.published(row)


def test_counted_by_hand():
    """Every layer by its definition: the taps of each output, four for each element of a batch norm, ..."""
    shared = nn.Conv2d(8, 8, 3, padding=1)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2, padding=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        shared,
        shared,  # called twice, counted twice; its parameters once
        nn.Conv2d(8, 4, 3, padding=1, groups=4),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 10),
    )
    first = sum(3 * 5 * 5 for _ in range(8) for _ in range(6) for _ in range(4))
    norm = 4 * 8 * 6 * 4
    both = 2 * (8 * 8 * 9) * 6 * 4
    grouped = 4 * (2 * 9) * 6 * 4
    pool, linear = 4 * 3 * 2, 40
    by_hand = first + norm + both + grouped + pool + linear
    assert multiply_adds(net, torch.zeros(1, 3, 12, 8)) == by_hand
    assert multiply_adds(net, torch.zeros(5, 3, 12, 8)) == 5 * by_hand
    assert parameters(net) == (600 + 8) + 16 + (576 + 8) + (72 + 4) + (40 + 10)


def test_counting_leaves_the_net_as_it_was():
    net = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)).train()
    with torch.no_grad():
        multiply_adds(net, torch.full((3, 2, 4, 4), 7.0))
    assert net.training and net[1].num_batches_tracked == 0
    assert not any(layer._forward_hooks for layer in net)


def test_a_layer_without_a_rule_is_refused():
    with pytest.raises(WsisError, match="kind PReLU has no rule of counting"):
        multiply_adds(nn.Sequential(nn.PReLU(3)), torch.zeros(1, 3, 2, 2))


@pytest.mark.parametrize("options", [{}, {"dma": False}, {"cfm": False}])
def test_products_as_another_counter_finds_them(options):
    """PyTorch's own counter sees convolutions and matrix products, two operations for each multiply-add."""
    with torch.device("meta"):
        module = BoundaryModule(24, BaisegSpec(dim=32, cascades=3, **options)).eval()
        x = torch.zeros(1, 24, 20, 28)
        with FlopCounterMode(display=False) as counter:
            module(x)
        norms = sum(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())
        pools = sum(isinstance(layer, nn.AdaptiveAvgPool2d) for layer in module.modules())
        others = (4 * norms + pools) * 32 * 20 * 28
        assert 2 * (multiply_adds(module, x) - others) == counter.get_total_flops()


@pytest.mark.parametrize(("table", "label"), MODULE)
def test_tables_4_and_5(table, label):
    """All thirteen usable cells, and the miscopied one (erratum gflops-r3) as it should be."""
    found, published = row_of(table, label)
    gflops = 244.0 if (table, label) == ("baiseg/4", "3") else published["GFLOPs"]
    assert found["GFLOPs"] == pytest.approx(gflops, rel=0.002)
    assert cut(found["GFLOPs"], 1) == gflops
    assert found["params"] == pytest.approx(published["params"], rel=0.015)
    assert cut(found["params"], 2) == published["params"]
    assert found["GFLOPs_unexplained"] == 0


@pytest.mark.parametrize(("table", "label"), NETWORK)
def test_table_6(table, label):
    """Parameters within 1 %, rounded as printed; operations short by one constant for every backbone."""
    found, published = row_of(table, label)
    assert found["params"] == pytest.approx(published["params"], rel=0.01)
    assert round(found["params"], 1) == published["params"]
    assert 15.6 < published["GFLOPs"] - found["GFLOPs"] < 15.75
    assert cut(found["GFLOPs"] + found["GFLOPs_unexplained"], 1) == published["GFLOPs"]
    assert found["params_total"] == found["params"]
    assert found["GFLOPs_inference"] == found["GFLOPs"]


def test_where_the_module_runs_it_costs_a_sixteenth():
    """Tables 4 and 5 count 416x416 cells, the features of a 416x416 image have 104x104."""
    found, _ = row_of("baiseg/4", "4")
    cells = 416 * 416
    projection, last = (
        128 * 256 * cells,
        128 * cells,
    )  # in the printed cells and not in the module, and reverse
    assert found["GFLOPs"] * 1e9 - projection + last == pytest.approx(
        16 * found["GFLOPs_stride4"] * 1e9, rel=1e-5
    )
    assert found["GFLOPs_stride4"] == pytest.approx(20.2, abs=0.05)
    assert found["params_module"] == found["params"]


def test_the_same_network_in_two_tables():
    module, _ = row_of("baiseg/4", "4")
    network, _ = row_of("baiseg/6", "HRNet-W48, dim 48")
    for key in ("GFLOPs_stride4", "params_module", "GFLOPs_inference", "params_total"):
        assert module[key] == network[key]


def test_the_built_module_is_counted_not_a_formula():
    """A recipe whose cascade is taken out costs what is left."""
    table = TABLES["baiseg/3"]
    whole = complexity(published_recipe(table, table.row("CFM + DMA")), "module")
    without = complexity(published_recipe(table, table.row("CFM")), "module")
    plain = complexity(published_recipe(table, table.row("none")), "module")
    assert plain["params"] * 1e6 == 9 * 48 * 128 + 2 * 128 + 128 + 1
    assert plain["GFLOPs"] * 1e9 == 416 * 416 * (9 * 48 * 128 + 4 * 128 + 128 * 256)
    assert plain["params"] < without["params"] < whole["params"]
    assert plain["GFLOPs"] < without["GFLOPs"] < whole["GFLOPs"]


def test_other_recipes_are_refused():
    with pytest.raises(WsisError, match="not for method 'boxinst'"):
        complexity(Recipe(method="boxinst"), "module")
    table = TABLES["baiseg/4"]
    recipe = published_recipe(table, table.row("1"))
    data = recipe.data.model_copy(update={"dataset": "shapes"})
    with pytest.raises(WsisError, match=r"published recipes \(voc and coco\), not 'shapes'"):
        complexity(recipe.model_copy(update={"data": data}), "network")
