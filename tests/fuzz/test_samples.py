"""Inputs that once were tracebacks, ran on, or were taken without a word, and what is said of each now."""

from __future__ import annotations

import pytest
import yaml

from tests.fuzz import acts
from tests.fuzz.inputs import deep, dumped, lines


def table(**changes):
    """The table with other values at its top, or in its first row (`row_<key>`)."""
    tree = yaml.safe_load(acts.good("table1a"))
    for key, value in changes.items():
        part, name = (tree["rows"][0], key[4:]) if key.startswith("row_") else (tree, key)
        part[name] = value
    return "table1a", dumped(tree)


def trained(**settings):
    return table(row_train={key.replace("__", "."): value for key, value in settings.items()})


def claim(**changes):
    tree = yaml.safe_load(acts.good("table1a"))
    tree["claims"][0] |= changes
    return "table1a", dumped(tree)


def scale(**changes):
    return "scale", dumped(yaml.safe_load(acts.good("scale")) | changes)


SAMPLES = {
    "base missing": (table(base="nope"), ["no recipe 'nope'", "there are: "]),
    "both train and quote": (table(row_quote="X"), ["rows.0", "exactly one of 'train' and 'quote'"]),
    "claim of an unknown kind": (claim(kind="bigger"), ["claims.0.kind", "'bigger'"]),
    "claim about an unknown row": (claim(row="nope"), ["no row 'nope'"]),
    "deep": (table(title=deep(60)), ["line ", "more than 40 lists"]),
    "deeper than a stack": (("table1a", b"a: " + b"[" * 200_000), ["line 1", "more than 40 lists"]),
    "label twice": (table(rows=[{"label": "a", "train": {}, "values": [1] * 7}] * 2), ["duplicate", "'a'"]),
    "label empty": (table(row_label=""), ["rows.0.label", "at least 1 character"]),
    "label null": (table(row_label=None), ["rows.0.label", "valid string"]),
    "errata a text": (("errata", b"hello"), ["errata.yaml: expected a list"]),
    "key twice": (("table1a", b"paper: a\npaper: b"), ["line 1", "key given twice: paper"]),
    "merge key": (("table1a", b"x: &x {a: 1}\n<<: *x"), ["line 2", "merge"]),
    "NUL": (("table1a", b"paper: a\x00b"), ["#x0000", "position 8"]),
    "UTF-16": (("table1a", "paper: a".encode("utf-16")), ["not UTF-8: byte 0"]),
    "a function": (("table1a", b"a: !!python/name:os.system"), ["line 1", "os.system"]),
    "a call": (("table1a", b"!!python/object/apply:os.system ['touch x']"), ["line 1", "constructor"]),
    "extends a list": (("recipe", b"boxinst: {extends: [1]}"), ["boxinst.extends", "[1]"]),
    "recipe a text": (("recipe", b"boxinst: hello"), ["recipes.boxinst", "object", "'hello'"]),
    "recipe unused": (("recipe", acts.good("recipe") + b"\na: {method: nope}"), ["a: method", "'nope'"]),
    "base elsewhere": (table(row_base="../../etc/passwd"), ["rows.", "no recipes of a paper 'etc'"]),
    "a text": (("table1a", b"hello"), ["(top level)", "object"]),
    "two documents": (("table1a", b"a: 1\n---\nb: 2"), ["line 2", "another document"]),
    "list as key": (("table1a", b"? [1, 2]\n: 3"), ["line 1", "unhashable key"]),
    "itself in a list": (("table1a", b"a: &a [*a]"), ["line 1", "contains itself: a"]),
    "itself in a mapping": (("table1a", b"&a {paper: *a}"), ["line 1", "contains itself: a"]),
    "a bomb": (("table1a", lines(9, 9)), ["line 7", "more than 200,000 keys and values"]),
    "a month 13": (("table1a", b"paper: 2021-13-45"), ["month must be in 1..12"]),
    "many digits": (("table1a", b"paper: " + b"9" * 5000), ["line 1", "a number of 5000 digits"]),
    "sexagesimal": (("table1a", b"paper: " + b"1:" * 100_000 + b"1"), ["line 1", "digits"]),
    "seeds below 0": (scale(seeds=[-1]), ["seeds.0", "greater than or equal to 0", "-1"]),
    "scale sets the unknown": (scale(set={"nope.key": 1}), ["smoke.yaml: set: nope", "unknown key"]),
    "scale sets nothing": (scale(set={"model": {}}), ["set: model: an empty mapping"]),
    "scale extends a list": (scale(extends=[1]), ["extends: expected a scale's name, got [1]"]),
    "no values": (table(row_values=[]), ["0 values, expected 7"]),
    "values are true": (table(row_values=[True] * 7), ["rows.0.values.0", "valid number", "True"]),
    "values of 1e308": (table(row_values=[1e308] * 7), ["rows.0.values.0", "less than or equal", "1e+308"]),
    "values are NaN": (table(row_values=[float("nan")] * 7), ["rows.0.values.0", "finite number"]),
    "values are texts": (table(row_values=["abc"] * 7), ["rows.0.values.0", "valid number", "'abc'"]),
    "unknown key": (table(foo=1), ["foo: unknown key (there are: "]),
    "unknown key of a row": (table(row_foo=1), ["rows.0.foo: unknown key (there are: "]),
    "a key of dots": (table(row_train={".": 1}), ["rows.fully-sup..train", "unknown key"]),
    "a key without an end": (table(row_train={"a." * 5000: 1}), ["rows.0.train", "at most 200 characters"]),
    "tau of 1e300": (trained(loss__pairwise__tau=1e300), ["loss.pairwise.tau", "less than or equal to 1"]),
    "tau is NaN": (trained(loss__pairwise__tau=float("nan")), ["loss.pairwise.tau", "finite number"]),
    "batch below 0": (trained(schedule__batch=-1), ["schedule.batch", "greater than 0", "-1"]),
    "endless schedule": (trained(schedule__length=1e308), ["schedule.length", "less than or equal to 1000"]),
    "keys in a number": (trained(seed__x=1), ["seed", "valid integer"]),
    "a number as key": (table(row_train={5: 1}), ["rows.fully-sup..train", "5: unknown key"]),
    "split elsewhere": (trained(data__train="../../etc"), ["data.train", "pattern", "'../../etc'"]),
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
def test_a_declaration_is_refused_in_a_line(name, tmp_path):
    given, words = SAMPLES[name]
    line = acts.outcome(acts.declare, tmp_path, *given)
    assert line is not None and "\n" not in line
    for word in (f"{given[0].replace('scale', 'smoke')}", *words):
        assert word in line, line


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"set": {"schedule.iterations": "1e4", "schedule": 5}}, ["set: schedule"]),
        ({"set": {"schedule.batch": '"16"'}}, ["set: schedule.batch", "'16'"]),
        ({"set": {"schedule.batch": None}}, ["set: schedule.batch", "valid integer"]),
        ({"set": {"model": {}}}, ["set: model: an empty mapping"]),
        ({"set": {"model.weights": "\ud800"}}, ["set: model.weights"]),
        ({"set": {"a.b": "["}}, ["set: a.b", "can't be read as YAML"]),
        ({"set": {"schedule.lr": 10**400}}, ["set: schedule.lr", "bits"]),
        ({"set": deep(300)}, ["set: more than 40"]),
        ({"seeds": 10**5000}, ["seeds=a number of", "expected whole numbers"]),
        ({"seeds": "9" * 5000}, ["seeds=999", "expected whole numbers"]),
        ({"gpus": 1.0}, ["gpus=1.0: expected a whole number"]),
        ({"gpus": 10**9}, ["gpus=1000000000: expected a whole number from 0 on"]),
        ({"scale": None}, ["scale=None: expected the name of a scale"]),
        ({"scale": "../../etc/passwd"}, ["no scale '../../etc/passwd'", "smoke"]),
        ({"scale": "x" * 5000}, ["no scale 'xxx"]),
        ({"costs": "~nobody-there/x"}, ["costs: ~nobody-there/x"]),
        ({"costs": "a\0b"}, [r"costs: a\x00b"]),
        ({"data_root": "x" * 5000}, ["data_root: xxx", "too long"]),
        ({"data_root": "{coco: [1]}"}, ["data_root: 'coco': [1]"]),
        ({5: 1}, ["unknown configuration: 5"]),
    ],
)
def test_a_configuration_is_refused_in_a_line(config, words, tmp_path):
    line = acts.outcome(acts.configure, tmp_path, config)
    assert line is not None and "\n" not in line
    for word in words:
        assert word in line, line


def test_what_it_starts_from_is_taken(tmp_path):
    for name in acts.FILES:
        assert acts.outcome(acts.declare, tmp_path, name, acts.good(name)) is None
    assert acts.outcome(acts.configure, tmp_path, {}) is None
