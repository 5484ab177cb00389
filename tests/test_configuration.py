"""The workflow's configuration: types, numbers, and several entries in one text."""

import pytest
import yaml

from wsis import configuration
from wsis.carried import carried
from wsis.configuration import entries, known, overrides, read_value, seeds, split, typed
from wsis.errors import WsisError


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"set": "hello"}, "set=hello: expected keys of a recipe"),
        ({"set": ["a"]}, "expected keys of a recipe"),
        ({"seeds": [1, 1]}, "1 is given twice"),
        ({"seeds": "1,1"}, "1 is given twice"),
        ({"seeds": [1.5]}, "expected whole numbers"),
        ({"seeds": [[1]]}, "expected whole numbers"),
        ({"seeds": -1}, "expected whole numbers"),
        ({"seeds": []}, "expected whole numbers"),
        ({"seeds": True}, "expected whole numbers"),
        ({"gpus": -1}, "gpus=-1: expected a whole number from 0 on"),
        ({"gpus": "many"}, "gpus=many: expected a whole number"),
        ({"gpus": True}, "expected a whole number"),
        ({"scale": 5}, "scale=5: expected the name of a scale"),
        ({"weights": 5}, "expected imagenet"),
        ({"data_root": ["a"]}, "expected a path"),
        ({"data_root": 2017}, "expected a path"),
        ({"gpu": 1}, "unknown configuration: gpu .there are: gpus, "),
    ],
)
def test_a_wrong_type_is_one_line_that_names_the_key(entry, complaint):
    with pytest.raises(WsisError, match=complaint):
        known(entry)


def test_what_is_right_is_left_alone():
    known({"scale": "tiny", "seeds": None, "data_root": None, "weights": None, "set": {}, "gpus": 0})
    assert seeds({"seeds": [1, "2"]}) == seeds({"seeds": "1,2"}) == (1, 2)
    assert overrides({"set": {"a": "1e-7"}, "weights": "none"}) == {"a": 1e-7, "model.weights": "none"}


def test_what_a_configuration_lacks_has_its_default():
    given = {"scale": "mini"}
    configuration.complete(given)
    assert given == {**yaml.safe_load((carried("config") / "config.yaml").read_text()), "scale": "mini"}


def test_numbers_of_json_are_numbers():
    values = {"1e4": 10000, "1e-7": 1e-7, "-2E+3": -2000, "1.5e-3": 0.0015, "1.0": 1.0, "7": 7, "0x1e4": 484}
    assert {text: read_value(text, "") for text in values} == values
    assert isinstance(read_value("1e4", ""), int)
    assert read_value('"1e4"', "") == "1e4" and read_value("1e4x", "") == "1e4x"
    assert yaml.safe_load("1e4") == "1e4"  # the loader of all others is as it was


def test_no_yaml_is_one_line():
    with pytest.raises(
        WsisError, match=r"a=\[1: can't be read as YAML: line \d, column 1: did not find expected"
    ) as error:
        entries(["a=[1"], "{}")
    assert "\n" not in str(error.value)
    with pytest.raises(WsisError, match="can't be read"):
        typed({"a": "{"}, "set")


def test_entries_of_one_text_keep_their_quotes_and_blanks():
    text = ' gpus=0 set={"schedule.lr": 1e-3, "model.weights": "a set of"}  data_root=coco=/my data '
    assert split(text) == [
        "gpus=0", 'set={"schedule.lr": 1e-3, "model.weights": "a set of"}', "data_root=coco=/my data",
    ]  # fmt: skip
    assert split("") == [] and split("hello") == ["hello"]


def test_predict_only_may_be_a_text():
    for given, expected in [(True, True), ("true", True), ("false", False), (False, False), (None, False)]:
        known({"predict_only": given})
        assert configuration.predict_only({"predict_only": given}) is expected
    with pytest.raises(WsisError, match="predict_only=maybe: expected true or false"):
        known({"predict_only": "maybe"})
