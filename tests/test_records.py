"""Small files that are empty, cut, of another type, out of range or another run's are refused with a line."""

import json
import math

import pytest

from wsis.errors import WsisError
from wsis.records import FORMS, ForeignFile, MeasuredRecord, read_record, sound, write_record

RUN, OTHER = "boxinst-0123456789", "sim-0123456789"
WHOLE = {
    "recipe.json": {"id": RUN, "scale": "tiny", "recipe": {"seed": 1}, "asked": {"set": {}}},
    "train.json": {"recipe": RUN, "seconds": 1.5, "data": {"root_name": "a", "fingerprint": "b"}},
    "finished.json": {"recipe": RUN, "seconds": 1, "parent": {"id": OTHER, "weights": "ab"}},
    "trained.json": {"recipe": RUN, "summary": {"seconds": 1.0}},
    "origin.json": {"parent": "ab", "proxies": None},
    "done.json": {"validations": [{"iteration": 5, "AP": 40.0}], "best": None},
    "metrics.json": {"recipe": RUN, "protocol": "coco", "metrics": {"AP": 40, "APL": None}, "groups": {}},
    "environment.json": {"run": RUN, "packages": {"torch": "2.7", "timm": None}, "cores": 2},
    "model.json": {"run": RUN, "categories": [{"id": 1, "name": "cup"}], "protocols": ["voc"]},
}  # fmt: skip
KINDS = {
    "empty": lambda text: b"",
    "cut": lambda text: text[: len(text) // 2],
    "a list": lambda text: b"[]",
    "a number": lambda text: b"3",
    "null": lambda text: b"null",
    "no text": lambda text: b"\xff\xfe\x00",
    "deep": lambda text: b"[" * 100_000,
    "NaN": lambda text: b'{"x": NaN, ' + text[1:],
    "infinite": lambda text: b'{"x": -Infinity, ' + text[1:],
    "values of another type": lambda text: json.dumps(dict.fromkeys(json.loads(text), 5.5)).encode(),
    "flipped": lambda text: text.replace(b"e", b"f", 1),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_whole_file_is_read_as_it_was_written(tmp_path, name):
    write_record(tmp_path / name, WHOLE[name])
    assert read_record(tmp_path / name, RUN) == WHOLE[name] and sound(tmp_path / name, RUN)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("summed", [False, True])
def test_a_damaged_file_is_refused_with_its_name(tmp_path, name, kind, summed):
    path = tmp_path / name
    write_record(path, WHOLE[name])
    content = KINDS[kind](path.read_bytes())
    if not summed:  # as of a former version
        (tmp_path / f".{name}.sha256").unlink()
    path.write_bytes(content)
    if kind == "flipped" and not summed:
        return
    with pytest.raises(WsisError) as refused:
        read_record(path, RUN)
    assert str(refused.value).startswith(f"{path}: ") and "\n" not in str(refused.value)
    assert not sound(path, RUN)


@pytest.mark.parametrize("name", [name for name, (_, key) in FORMS.items() if key])
def test_a_file_of_another_run_is_refused(tmp_path, name):
    write_record(tmp_path / name, WHOLE[name])
    with pytest.raises(ForeignFile, match=f"of {RUN}, not of {OTHER}"):
        read_record(tmp_path / name, OTHER)


@pytest.mark.parametrize(
    "change",
    [
        *({"metrics": {"AP": value}} for value in (100.01, -1, True, "40", [40], 10**400, math.nan)),
        {"groups": {"voc": {"AP": 300}}}, {"images": -1}, {"detections": 2.5}, {"protocol": None},
        {"also": []}, {"also": {"voc": {"protocol": "voc", "metrics": {"AP50": -0.1}}}},
    ],
)  # fmt: skip
def test_metrics_out_of_their_range_are_refused(tmp_path, change):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(WHOLE["metrics.json"] | change))
    with pytest.raises(WsisError, match=r"metrics\.json: "):
        read_record(path, RUN)


def test_measurements_have_a_form_too(tmp_path):
    path = tmp_path / "x.json"
    for values in ({"case": {"IoU": 3.0, "none": None}}, {}):
        path.write_text(json.dumps({"values": values}))
        assert read_record(path, form=MeasuredRecord)["values"] == values
    for content in ({}, {"values": [1]}, {"values": {"case": {"IoU": "x"}}}, {"values": {"case": 1}}):
        path.write_text(json.dumps(content))
        with pytest.raises(WsisError, match=r"x\.json: values"):
            read_record(path, form=MeasuredRecord)
