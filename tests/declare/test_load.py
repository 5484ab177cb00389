"""Declarations that must be refused, and what makes two recipes the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from wsis.declare.load import (
    DeclarationError,
    load_errata,
    load_papers,
    load_recipes,
    load_table,
    load_tables,
    merged,
    parse,
    read_yaml,
)
from wsis.declare.recipe import Recipe
from wsis.declare.resolve import published_recipe
from wsis.declare.table import (
    Erratum,
)

GOOD = """
paper: boxcaseg
table: "8"
title: Drop threshold
caption: Results when the threshold varies.
section: 4.2.5
dataset: coco
split: val2017
protocol: coco
base: coco
columns: [drop_rate, AP]
header: [Drop rate, COCO AP]
rows:
  - {label: "0.75", values: [0.27, 30.2], train: {boxcaseg.drop: 0.75}}
  - {label: "0.95", values: [0.80, 30.9], train: {}}
  - {label: BBTP, values: [null, 20.8], quote: "BBTP, Hsu et al., NeurIPS 2019"}
sweep: {axis: threshold, points: {"0.75": 0.75, "0.95": 0.95}, metrics: [AP]}
claims:
  - {id: better, text: 0.95 is better, section: 4.2.5, kind: greater, metric: AP, row: "0.95", than: "0.75"}
"""
PAPER = """
name: BoxCaseg
title: Masks
authors: [A. Author]
year: 2021
bibtex: "@misc{masks}"
"""
RECIPES = """
coco:
  method: boxcaseg
  data: {supervision: boxes+salient}
  boxcaseg: {}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A root with one good table and its recipes."""
    paper = tmp_path / "boxcaseg"
    paper.mkdir()
    (paper / "paper.yaml").write_text(PAPER, encoding="utf-8")
    (paper / "table8.yaml").write_text(GOOD, encoding="utf-8")
    (paper / "recipe.yaml").write_text(RECIPES, encoding="utf-8")
    return tmp_path


def spoil(root: Path, old: str, new: str, name: str = "table8.yaml") -> Path:
    """Replace the one occurrence of `old` in a file; the test is void if it isn't there once."""
    path = root / "boxcaseg" / name
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"'{old}' stands {text.count(old)} times in the good file"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def complaint(root: Path, path: Path) -> str:
    """The error of loading all tables, which must name the file."""
    with pytest.raises(DeclarationError) as caught:
        load_tables(root)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_the_good_table_loads(folder: Path):
    table = load_tables(folder)["boxcaseg/8"]
    assert table.labels == ["0.75", "0.95", "BBTP"]
    assert table.published(table.row("0.95")) == {"drop_rate": 0.8, "AP": 30.9}
    assert table.row("BBTP").kind == "quote"
    assert table.claims[0].row.row == "0.95"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("title: Drop", "tittle: x\ntitle: Drop", ["tittle", "unknown key (there are: title, "]),
        ("train: {boxcaseg.drop: 0.75}}", "trian: {}}", ["rows.0.trian", "unknown key (there are: train, "]),
        ("[0.27, 30.2]", "[0.27, x]", ["rows.0.values.1", "valid number", "'x'"]),
        ('table: "8"', "table: 8", ["table", "valid string", "8"]),
        ("[drop_rate, AP]", "[drop_rate, mAP]", ["columns.1", "AP, APS", "'mAP'"]),
        ("protocol: coco", "protocol: imagenet", ["protocol", "'class-agnostic'", "'imagenet'"]),
        ("[0.27, 30.2]", "[30.2]", ["'0.75'", "1 values", "expected 2", "drop_rate, AP"]),
        ("[0.27, 30.2]", "[0.27, 30.2, 1.0]", ["'0.75'", "3 values", "expected 2"]),
        ("header: [Drop rate, COCO AP]", "header: [COCO AP]", ["'header' has 1", "'columns' 2"]),
        ("label: BBTP", 'label: "0.95"', ["duplicate row label", "'0.95'"]),
        ("split: val2017", "split: val2017\nsplit: val", ["key given twice", "split", "line"]),
        ("{label: BBTP", "{train: {}, label: BBTP", ["'BBTP'", "exactly one of", "'train'", "'quote'"]),
        ("train: {}", "note: x", ["'0.95'", "exactly one of", "'train'", "'quote'"]),
        ('"BBTP, Hsu et al., NeurIPS 2019"', "BBTP, base: coco", ["'BBTP'", "quoted", "'base'"]),
        ('{"0.75": 0.75, "0.95"', '{"0.80": 0.8, "0.95"', ["'sweep'", "unknown rows", "0.80"]),
        ("metrics: [AP]", "metrics: [AP75]", ["'sweep'", "no columns", "AP75"]),
        ("{label: BBTP, values", "{label: BBTP, ours: true, values", ["'BBTP'", "ours"]),
        ('label: "0.95", values', 'label: "0.95", ours: true, values', ["'0.95'", "ours", "printed"]),
        ('label: "0.95", values: [0.80, 30.9]', 'label: "0.95"', ["'0.95'", "0 values", "expected 2"]),
        ("split: val2017", "split: val\nmeasures: [mIoU]", ["measures.0", "proxy_mIoU", "'mIoU'"]),
        ("split: val2017", "split: val\nmeasures: [pseudo_acc, pseudo_acc]", ["'measures'", "twice"]),
        ("[0.27, 30.2]", "[0.27, .nan]", ["rows.0.values.1", "finite number"]),
        ("kind: greater", "kind: bigger", ["claims.0.kind", "'greater'", "'bigger'"]),
        (', than: "0.75"}', "}", ["'better'", "'greater'", "needs 'than'"]),
        ("title: Drop threshold\n", "", ["title", "required"]),
        ("paper: boxcaseg", "paper: [boxcaseg", ["not valid YAML", "line"]),
        ("section: 4.2.5\ndataset", "section: 2021-06-19\ndataset", [": section:", "date", "quote it"]),
        ("[0.27, 30.2]", "[0.27, 2021-06-19]", ["rows.0.values.1", "date"]),
        ('points: {"0.75"', "points: {2021-06-19", ["sweep.points.2021-06-19", "date"]),
        ("[0.27, 30.2]", "&again [0.27, *again]", ["an anchor that contains itself"]),
    ],
)  # fmt: skip
def test_a_bad_table_is_refused(folder: Path, old: str, new: str, says: list[str]):
    message = complaint(folder, spoil(folder, old, new))
    for part in says:
        assert part in message, message


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('than: "0.75"', 'than: "0.85"', ["better", "boxcaseg/8", "no row '0.85'", "0.75, 0.95, BBTP"]),
        ("metric: AP,", "metric: AP75,", ["better", "boxcaseg/8", "no column 'AP75'", "drop_rate, AP"]),
        ('than: "0.75"', 'than: {row: All, table: boxcaseg/3}', ["better", "no table 'boxcaseg/3'"]),
        ('than: "0.75"', 'than: "0.75", among: [All]', ["better", "no row 'All'"]),
        ("text: 0.95", "rows: [SDI], text: 0.95", ["better", "no row 'SDI'"]),
    ],
)  # fmt: skip
def test_a_claim_about_a_cell_that_does_not_exist_is_refused(
    folder: Path, old: str, new: str, says: list[str]
):
    message = complaint(folder, spoil(folder, old, new))
    for part in says:
        assert part in message, message


def test_a_row_of_ours_has_a_null_under_every_column(folder: Path):
    spoil(folder, "sweep:", "  - {label: control, ours: true, train: {boxcaseg.drop: 0.5}}\nsweep:")
    table = load_tables(folder)["boxcaseg/8"]
    assert table.published(table.row("control")) == {"drop_rate": None, "AP": None}
    assert [row.label for row in table.rows if row.ours] == ["control"]
    assert table.row("control").kind == "train"


def test_a_claim_may_be_judged_on_a_measure_that_the_table_has(folder: Path):
    path = spoil(folder, "metric: AP, row", "metric: pseudo_AUC_overlap, row")
    message = complaint(folder, path)
    assert "no column 'pseudo_AUC_overlap'" in message and "drop_rate, AP" in message
    spoil(folder, "columns: [drop_rate", "measures: [pseudo_AUC_overlap]\ncolumns: [drop_rate")
    table = load_tables.__wrapped__(folder)["boxcaseg/8"]
    assert table.metrics == ("drop_rate", "AP", "pseudo_AUC_overlap")
    assert table.claims[0].metric == "pseudo_AUC_overlap"
    assert "pseudo_AUC_overlap" not in table.published(table.row("0.95"))


def test_a_claim_on_a_cell_that_the_paper_leaves_empty_is_allowed(folder: Path):
    """BBTP's drop rate is not printed; the cell exists all the same, and the claim can't be judged."""
    spoil(folder, 'metric: AP, row: "0.95", than: "0.75"', 'metric: drop_rate, row: "0.95", than: BBTP')
    assert load_tables(folder)["boxcaseg/8"].claims[0].than.row == "BBTP"


def test_a_claim_id_given_twice_is_refused(folder: Path):
    path = folder / "boxcaseg" / "table8.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text + text.splitlines()[-1] + "\n", encoding="utf-8")
    assert "claim id given twice: better" in complaint(folder, path)


def test_a_table_in_the_wrong_file_is_refused(folder: Path):
    path = (folder / "boxcaseg" / "table8.yaml").rename(folder / "boxcaseg" / "table3.yaml")
    assert "boxcaseg/8" in complaint(folder, path)


def test_every_folder_with_a_paper_is_one_in_the_order_that_it_asks_for(folder: Path):
    for name, order in (("zebra", "order: 1"), ("a_1", ""), ("lynx", "order: -1")):
        (folder / name).mkdir()
        (folder / name / "paper.yaml").write_text(f"{PAPER}{order}\n", encoding="utf-8")
    (folder / "scales").mkdir()
    assert list(load_papers(folder)) == ["lynx", "zebra", "a_1", "boxcaseg"]
    (folder / "a b").mkdir()
    (folder / "a b" / "paper.yaml").write_text(PAPER, encoding="utf-8")
    with pytest.raises(DeclarationError, match="letters, digits and _"):
        load_papers.__wrapped__(folder)


def test_tables_without_a_paper_are_refused(folder: Path):
    (folder / "boxcaseg" / "paper.yaml").unlink()
    with pytest.raises(DeclarationError, match=r"boxcaseg: table8\.yaml of no paper: paper\.yaml"):
        load_tables(folder)


def test_tables_have_names_of_their_own(folder: Path):
    text = GOOD.replace('table: "8"', "table: main_results")
    (folder / "boxcaseg" / "table_main_results.yaml").write_text(text, encoding="utf-8")
    (folder / "boxcaseg" / "table10.yaml").write_text(GOOD.replace('"8"', '"10"', 1), encoding="utf-8")
    assert list(load_tables(folder)) == ["boxcaseg/8", "boxcaseg/10", "boxcaseg/main_results"]


def test_yaml_that_builds_objects_is_not_executed(folder: Path):
    path = spoil(folder, "title: Drop threshold", "title: !!python/object/apply:os.getcwd []")
    with pytest.raises(DeclarationError, match="not valid YAML"):
        load_table(path)


@pytest.mark.parametrize(
    ("train", "says"),
    [
        ("{boxcaseg.alhpa: 0.3}", ["boxcaseg.alhpa", "unknown key (there are: alpha, heads, fusion"]),
        ("{metod: sim}", ["metod", "unknown key (there are: method, model, variant, data"]),
        ("{loss.pairwise.tua: 0.3}", ["loss.pairwise.tua", "unknown key (there are: tau, theta"]),
        ("{method: boxints}", ["method", "no such method (there are: boxinst, boxes, condinst", "'boxints'"]),
        ("{model.neck: fnp}", ["model.neck", "there are: fpn", "'fnp'"]),
        ("{schedule.lr: 1e-4}", ["schedule.lr", "'1e-4'", "YAML reads 1e-4 as text", "1.0e-4"]),
        ("{boxcaseg.drop: 1.5}", ["boxcaseg.drop", "less than or equal to 1", "1.5"]),
        ("{model.backbone: resnet34}", ["model.backbone", "there are: resnet50, ", "'resnet34'"]),
        ("{schedule.iterations: 10.5}", ["schedule.iterations", "valid integer", "10.5"]),
        ("{sim.alpha: 0.5}", ["section 'sim' is only for method 'sim', not 'boxcaseg'"]),
        ("{schedule.lr: .inf}", ["schedule.lr", "finite number"]),
        ('{seed: "1"}', ["seed", "valid integer", "'1'"]),
    ],
)
def test_a_bad_override_is_refused(folder: Path, train: str, says: list[str]):
    """Overrides meet the recipe when the row is resolved; the error names the file and the row."""
    path = spoil(folder, "{boxcaseg.drop: 0.75}", train)
    table = load_table(path)
    with pytest.raises(DeclarationError) as caught:
        published_recipe(table, table.row("0.75"), folder)
    for part in [str(path), "rows.0.75", *says]:
        assert part in str(caught.value), str(caught.value)


def test_a_base_that_does_not_exist_is_refused(folder: Path):
    table = load_table(spoil(folder, "base: coco", "base: voc"))
    with pytest.raises(DeclarationError, match=r"no recipe 'voc'.*there are: coco"):
        published_recipe(table, table.row("0.95"), folder)


def test_a_row_may_start_from_another_papers_recipe(folder: Path):
    (folder / "boxinst").mkdir()
    (folder / "boxinst" / "recipe.yaml").write_text("r50: {method: boxinst}", encoding="utf-8")
    table = load_table(spoil(folder, "train: {}", "base: boxinst/r50, train: {}"))
    assert published_recipe(table, table.row("0.95"), folder).method == "boxinst"
    assert published_recipe(table, table.row("0.75"), folder).method == "boxcaseg"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: {extends: b}\nb: {extends: a}", ["round in a circle", "a -> b -> a"]),
        ("a: {extends: c}", ["no recipe 'c'", "there are: a"]),
        ("- a", ["should be an object", "'a'"]),
        ("a: hello", ["recipes.a", "should be an object", "'hello'"]),
        ("a: {extends: [1]}", ["a.extends", "[1]"]),
        ("a: {? [1] : 2}", ["unhashable"]),
    ],
)
def test_bad_recipe_files_are_refused(folder: Path, text: str, says: list[str]):
    path = folder / "boxcaseg" / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DeclarationError) as caught:
        load_recipes("boxcaseg", folder)
    for part in [str(path), *says]:
        assert part in str(caught.value)


def test_a_bad_erratum_is_refused(folder: Path):
    path = folder / "boxcaseg" / "errata.yaml"
    entry = {"id": "x", "where": "Eq. 1", "paper": "a", "other": "b", "source": "rumour", "follows": "a"}
    path.write_text(yaml.safe_dump([entry]), encoding="utf-8")
    with pytest.raises(DeclarationError) as caught:
        load_errata(folder)
    for part in (str(path), "entry 0", "source", "'silent'", "'rumour'"):
        assert part in str(caught.value)
    assert parse(Erratum, entry | {"source": "code"}, "here").source == "code"


@pytest.mark.parametrize("text", ["", "id: x", "just words"])
def test_errata_that_are_no_list_are_refused(folder: Path, text: str):
    path = folder / "boxcaseg" / "errata.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DeclarationError, match="expected a list of errata") as caught:
        load_errata(folder)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(DeclarationError, match=r"nothing\.yaml: no such file"):
        read_yaml(tmp_path / "nothing.yaml")


# Recipe ids


def recipe(text: str) -> Recipe:
    return parse(Recipe, yaml.safe_load(text), "here")


def test_defaults_are_stripped_from_the_id():
    plain = recipe("method: boxinst")
    spelled = parse(Recipe, plain.model_dump(mode="json"), "here")
    assert plain.id == spelled.id == plain.settled().id
    assert "momentum" not in json.loads(plain.canonical()).get("schedule", {})


def test_a_changed_copy_has_its_own_id():
    """Ids are remembered by a recipe's value, so none is carried over by copying."""
    plain = recipe("method: boxinst")
    known = plain.id
    other = plain.model_copy(update={"seed": 1})
    assert other.id != known == plain.model_copy().id
    assert other.id == recipe("{method: boxinst, seed: 1}").id
    assert other.settled().seed == 1


@pytest.mark.parametrize("number", ["0.02", "2.0e-2", "0.020", ".02"])
def test_the_spelling_of_a_float_does_not_matter(number: str):
    assert (
        recipe(f"{{method: boxinst, schedule: {{lr: {number}}}}}").id
        == recipe("{method: boxinst, schedule: {lr: 0.02}}").id
    )


def test_an_integral_float_is_the_integer():
    one, other = (recipe(f"{{method: boxinst, schedule: {{length: {n}}}}}") for n in ("3", "3.0"))
    assert one.id == other.id


def test_key_order_does_not_matter():
    one = recipe("{method: boxinst, schedule: {lr: 0.02, batch: 8}, model: {channels: 64, neck: bifpn}}")
    other = recipe("{model: {neck: bifpn, channels: 64}, schedule: {batch: 8, lr: 0.02}, method: boxinst}")
    assert one.id == other.id


def test_dotted_and_nested_overrides_are_the_same():
    base = {"method": "boxinst", "schedule": {"lr": 0.02}}
    nested = merged(base, {"schedule": {"batch": 8}, "loss": {"pairwise": {"tau": 0.2}}})
    dotted = merged(base, {"schedule.batch": 8, "loss.pairwise.tau": 0.2})
    assert parse(Recipe, nested, "here").id == parse(Recipe, dotted, "here").id
    assert base == {"method": "boxinst", "schedule": {"lr": 0.02}}


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 1},
        {"method": "condinst"},
        {"schedule.lr": 0.011},
        {"schedule.milestones": [60000]},
        {"loss.pairwise": None},
        {"loss.pairwise.tau": 0.2},
        {"loss.projection": False},
        {"data.shapes.val_seed": 78},
        {"init": {"parent": "boxinst-0123456789"}},
    ],
)
def test_a_changed_knob_changes_the_id(changed: dict):
    base = {"method": "boxinst"}
    assert parse(Recipe, merged(base, changed), "here").id != parse(Recipe, base, "here").id


def test_a_value_that_the_variant_fills_in_may_be_written_out():
    assert recipe("{method: boxinst, loss: {pairwise: {tau: 0.1}}}").id == recipe("method: boxinst").id
    released = recipe("{method: boxinst, variant: released}")
    assert released.settled().loss.pairwise.tau == 0.3
    assert released.id != recipe("method: boxinst").id


def test_an_id_names_the_method_and_ten_hex_digits():
    method, _, digits = recipe("method: boxinst").id.rpartition("-")
    assert method == "boxinst" and len(digits) == 10 and int(digits, 16) >= 0
