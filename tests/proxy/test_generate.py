"""Files of raw masks: round trips, interruptions at every byte, and what is refused."""

import gzip
import json

import numpy as np
import pytest

from wsis.checksums import DamagedFile
from wsis.errors import WsisError
from wsis.files import checksum_file
from wsis.growing import growing
from wsis.proxy.generate import read_head, read_proxies, write_proxies

BY = {"run": "boxcaseg-0123456789", "weights": "ab"}
IDS = [3, 1, 8, 5]


class Network:
    """Makes images and remembers which; stops before `stop`."""

    def __init__(self, image_of, stop=None):
        self.image_of, self.stop, self.yielded = image_of, stop, []

    def __call__(self, left):
        for id in left:
            if id == self.stop:
                raise KeyboardInterrupt
            self.yielded.append(id)
            yield self.image_of(id, objects=3)


@pytest.fixture(params=["raw.jsonl", "raw.jsonl.gz"])
def path(request, tmp_path):
    return tmp_path / "proxy" / request.param


def write(path, network, ids=IDS, by=BY):
    return write_proxies(path, ids, network, by, show=False)


def test_round_trip_in_order_with_text_counts(path, image_of):
    assert write(path, Network(image_of)) == 4
    images = list(read_proxies(path))
    assert [image["image_id"] for image in images] == IDS
    for image in images:
        expected = image_of(image["image_id"], objects=3)
        for entry in expected["objects"]:
            entry["rle"]["counts"] = entry["rle"]["counts"].decode()
        assert image == expected
    assert read_head(path)["made_by"] == BY
    assert {*path.parent.iterdir()} == {path, checksum_file(path)}


def test_a_finished_file_is_left_alone_and_one_of_another_network_replaced(path, image_of):
    write(path, Network(image_of))
    before = path.read_bytes()
    assert write(path, Network(image_of, stop=3)) == 0
    assert path.read_bytes() == before
    for change in ({"by": {"run": "other"}}, {"ids": IDS[:2]}):
        network = Network(image_of)
        write(path, network, **change)
        assert network.yielded == change.get("ids", IDS)


def test_an_interrupted_writing_continues(path, image_of):
    with pytest.raises(KeyboardInterrupt):
        write(path, Network(image_of, stop=8))
    assert not path.exists()
    with pytest.raises(WsisError, match="half-written"):
        list(read_proxies(path))
    network = Network(image_of)
    assert write(path, network) == 2
    assert network.yielded == [8, 5]
    whole = path.with_name(f"whole-{path.name}")
    write(whole, Network(image_of))
    assert path.read_bytes() == whole.read_bytes()


def test_cut_at_any_byte_it_continues_after_the_last_whole_image(tmp_path, image_of):
    whole, path = tmp_path / "whole.jsonl", tmp_path / "raw.jsonl"
    write(whole, Network(image_of))
    content = whole.read_bytes()
    part = path.with_name("raw.jsonl.part")
    head, *images = map(json.loads, content.splitlines())
    with growing(part, head) as file:
        for image in images:
            file.add(image)
    grown = part.read_bytes()
    for length in range(0, len(grown) + 1, 37):
        path.unlink(missing_ok=True)
        part.write_bytes(grown[:length])
        network = Network(image_of)
        write(path, network)
        assert path.read_bytes() == content
        assert network.yielded == IDS[max(grown[:length].count(b"\n") - 1, 0) :]


def test_a_part_of_another_network_is_begun_again(path, image_of):
    with pytest.raises(KeyboardInterrupt):
        write(path, Network(image_of, stop=8), by={"run": "other"})
    network = Network(image_of)
    write(path, network)
    assert network.yielded == IDS
    assert len(list(read_proxies(path))) == 4


def test_a_copy_that_is_cut_short_is_refused(path, image_of):
    write(path, Network(image_of))
    content = path.read_bytes()
    for keep in (0.3, 0.9):
        path.write_bytes(content[: int(keep * len(content))])
        with pytest.raises(DamagedFile, match=path.name):
            list(read_proxies(path))
    checksum_file(path).unlink()  # a file of a former version
    with pytest.raises(WsisError, match=path.name):
        list(read_proxies(path))
    if path.suffix == ".jsonl":
        path.write_bytes(b"".join(content.splitlines(keepends=True)[:-1]))
        with pytest.raises(WsisError, match="holds 3 of 4 images"):
            list(read_proxies(path))


def test_several_files_of_one_network(tmp_path, image_of):
    first, second, other = (tmp_path / f"{n}.jsonl" for n in range(3))
    write(first, Network(image_of), ids=[1, 2])
    write(second, Network(image_of), ids=[7])
    write(other, Network(image_of), ids=[9], by={"run": "other"})
    assert [image["image_id"] for image in read_proxies(first, second)] == [1, 2, 7]
    with pytest.raises(WsisError, match="not made by the network"):
        list(read_proxies(first, other))


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "raw.jsonl"
    with pytest.raises(WsisError, match="no such file"):
        read_head(path)
    for text in ("", "[]\n", "not JSON\n", '{"images": []}\n'):
        path.write_text(text)
        with pytest.raises(WsisError, match="no file of proxy masks"):
            read_head(path)
    (tmp_path / "raw.gz").write_bytes(gzip.compress(b"x")[:9])
    with pytest.raises(WsisError, match="no file of proxy masks"):
        read_head(tmp_path / "raw.gz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [0, 0, -1, 2]}, "bbox"),
        ({"bbox": [0, 0, float("nan"), 2]}, "bbox"),
        ({"certainty": float("nan")}, "certainty nan"),
        ({"certainty": 1.5}, "certainty 1.5"),
        ({"rle": {"size": [13, 18], "counts": "0"}}, "RLE of size"),
        ({"rle": {"size": [13, 17], "counts": "0"}}, "covers 0 pixels"),
        ({"rle": {"size": [13, 17], "counts": "~"}}, "alphabet"),
    ],
)
def test_impossible_objects_are_refused_and_what_came_before_is_kept(tmp_path, image_of, change, message):
    def images(left):
        for id in left:
            image = image_of(id)
            if id == 8:
                image["objects"][1].update(change)
            yield image

    path = tmp_path / "raw.jsonl"
    with pytest.raises(WsisError, match=f"image 8, annotation 802: .*{message}"):
        write_proxies(path, IDS, images, BY, show=False)
    network = Network(image_of)
    write(path, network)
    assert network.yielded == [8, 5]


def test_missing_and_wrong_images_are_refused(tmp_path, image_of):
    path = tmp_path / "raw.jsonl"
    with pytest.raises(WsisError, match="expected the masks of image 8, got nothing"):
        write_proxies(path, IDS, lambda left: map(image_of, left[:2]), BY, show=False)
    with pytest.raises(WsisError, match="expected the masks of image 8, got image 5"):
        write_proxies(path, IDS, lambda left: map(image_of, left[::-1]), BY, show=False)


def test_no_image_no_object_and_crowd_regions(tmp_path):
    path = tmp_path / "raw.jsonl"
    assert write_proxies(path, np.zeros(0, int), lambda left: (), BY, show=False) == 0
    assert list(read_proxies(path)) == []
    crowd = {"annotation_id": 4, "category_id": 2, "bbox": [0.0, 0.0, 3.0, 2.0], "iscrowd": 1}
    empty = {"image_id": 1, "file_name": "1.jpg", "height": 5, "width": 6, "objects": []}
    images = [empty, {**empty, "image_id": 2, "objects": [crowd]}]
    write_proxies(path, [1, 2], lambda left: images, BY, show=False)
    assert list(read_proxies(path)) == images
    assert json.loads(path.read_text().splitlines()[0])["images"] == 2
