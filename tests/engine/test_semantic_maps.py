"""Semantic maps by a Mask2Former of transformers: against its equation, resumed, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file

from wsis.data.roots import open_root
from wsis.engine import semantic_maps
from wsis.engine.semantic_maps import class_values, make_maps
from wsis.errors import WsisError
from wsis.methods.baiseg.semantic import SemanticMaps
from wsis.signals import Interrupted

transformers = pytest.importorskip("transformers")
LABELS = ["sky", "circle", "square", "grass-merged", "triangle"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folder of a small Mask2Former with random weights and the classes of `shapes` among its own."""
    backbone = transformers.SwinConfig(
        embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4, image_size=64,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone, feature_size=32, mask_feature_size=32, hidden_dim=32, num_queries=9,
        encoder_feedforward_dim=16, dim_feedforward=16, encoder_layers=1, decoder_layers=2,
        num_attention_heads=2, id2label=dict(enumerate(LABELS)),
    )  # fmt: skip
    torch.manual_seed(0)
    network = transformers.Mask2FormerForUniversalSegmentation(config)
    decoder = network.model.transformer_module  # made loud enough for several classes to win somewhere
    for part in (network.class_predictor, decoder.queries_features, decoder.queries_embedder):
        torch.nn.init.normal_(part.weight, std=3.0)
    for parameter in decoder.decoder.mask_predictor.parameters():
        torch.nn.init.normal_(parameter, std=1.0)
    folder = tmp_path_factory.mktemp("mask2former")
    network.save_pretrained(folder)
    size = {"shortest_edge": 64, "longest_edge": 128}
    transformers.Mask2FormerImageProcessor(size=size, size_divisor=32).save_pretrained(folder)
    return folder


@pytest.fixture
def root(coco_root):
    """Three classes, images of two sizes."""

    def change(content):
        content["categories"] = [
            {"id": id, "name": name} for id, name in ((3, "Square"), (5, "circle"), (7, "triangle"))
        ]
        content["annotations"] = [a | {"category_id": 3} for a in content["annotations"]]
        content["images"][0] |= {"height": 30, "width": 20}

    coco_root(change, "val2017")
    root = coco_root(change)
    rng = np.random.default_rng(0)
    for split in ("train2017", "val2017"):
        for image in json.loads((root / f"annotations/instances_{split}.json").read_text())["images"]:
            pixels = rng.integers(0, 256, (image["height"], image["width"], 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / split / image["file_name"], format="PNG")
    return root


@torch.no_grad()
def expected(model, path) -> np.ndarray:
    """The classes of the largest sum over queries of class probability times mask probability."""
    network = transformers.Mask2FormerForUniversalSegmentation.from_pretrained(model).eval()
    processor = transformers.Mask2FormerImageProcessor.from_pretrained(model)
    image = np.asarray(Image.open(path))
    out = network(**processor(images=[image], return_tensors="pt"))
    classes, scores = out.class_queries_logits[0].softmax(1)[:, :-1], 0
    masks = F.interpolate(out.masks_queries_logits, (384, 384), mode="bilinear", align_corners=False)[0]
    for query in range(len(classes)):
        scores = scores + classes[query][:, None, None] * masks[query].sigmoid()
    scores = F.interpolate(scores[None], image.shape[:2], mode="bilinear", align_corners=False)[0]
    values = {"square": 1, "circle": 2, "triangle": 3}
    return np.array([values.get(label, 0) for label in LABELS])[scores.argmax(0).numpy()]


def test_maps_are_those_of_the_network_and_are_made_once(model, root, recipe):
    folder, made = make_maps(root, model, "mask2former", ["val2017"], batch=3)
    opened = open_root(recipe("coco"), root)
    assert (folder, made) == (root / "semantic" / "mask2former", len(opened.eval))
    maps, found = SemanticMaps(opened, "val2017", "mask2former"), set()
    for picture in opened.eval:
        semantic = maps.read(picture)
        assert np.mean(semantic != expected(model, picture.path)) < 0.01  # batches round otherwise
        found |= {*semantic.ravel().tolist()}
    assert len(found) == 4
    first, *_, last = sorted(folder.glob("*.png"))
    last.unlink()
    first.write_bytes(b"mine")
    assert make_maps(root, model, "mask2former", ["val2017"])[1] == 1
    assert first.read_bytes() == b"mine" and last.exists()
    assert not [path for path in folder.iterdir() if path.suffix != ".png"]


def test_a_time_limit_costs_no_map_that_is_finished(model, root, monkeypatch):
    batches, maps = [], semantic_maps._maps

    def told(network, images):
        batches.append([each.path.name for each in images])
        if len(batches) == 2:
            os.kill(os.getpid(), signal.SIGUSR1)
        return maps(network, images)

    monkeypatch.setattr(semantic_maps, "_maps", told)
    with pytest.raises(Interrupted, match=r"stopped after 1 of \d+ semantic maps"):
        make_maps(root, model, "m", ["train2017"], batch=1)
    make_maps(root, model, "m", ["train2017"], batch=1)
    assert batches[1] == batches[2] and len({*map(tuple, batches)}) == len(batches) - 1


def test_what_is_missing_is_named(model, root, tmp_path):
    with pytest.raises(WsisError, match=r"no split 'test' \(there are: train2017, val2017\)"):
        make_maps(root, model, "m", ["test"])
    with pytest.raises(WsisError, match=r"no config\.json"):
        make_maps(root, tmp_path, "m")
    transformers.BertConfig().save_pretrained(tmp_path)
    with pytest.raises(WsisError, match="a bert makes no semantic maps"):
        make_maps(root, tmp_path, "m")
    with pytest.raises(WsisError, match=r"--name \.\./m"):
        make_maps(root, model, "../m")


def test_classes_are_found_by_name():
    labels, classes = ["potted plant", "Sofa", "wall-other"], ["potted_plant", "couch"]
    assert class_values(labels, classes, {"couch": "sofa"}, "m").tolist() == [1, 2, 0]
    with pytest.raises(WsisError, match=r"m: does not know 1 of the root's 2 classes: couch; .*--rename"):
        class_values(labels, classes, {}, "m")
    with pytest.raises(WsisError, match="nothing would be background"):
        class_values(labels[:2], classes, {"couch": "sofa"}, "m")
    with pytest.raises(WsisError, match="--rename chair: no class of the root"):
        class_values(labels, classes, {"chair": "sofa"}, "m")


def test_classes_that_are_none_or_one_name_are_refused():
    with pytest.raises(WsisError, match="the root has no classes"):
        class_values(["sky"], [], {}, "m")
    with pytest.raises(WsisError, match="Square and square: both would be the network's 'square'"):
        class_values(["sky", "square"], ["Square", "square"], {}, "m")


def change_weights(change):
    def harm(folder):
        weights = load_file(folder / "model.safetensors")
        save_file(change(weights), folder / "model.safetensors", metadata={"format": "pt"})

    return harm


def change_config(**keys):
    def harm(folder):
        content = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(content | keys))

    return harm


def cut(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (
            change_weights(lambda all: {k: v for k, v in all.items() if "class_pred" not in k}),
            "lack 2 of the",
        ),
        (
            change_weights(lambda all: all | {"class_predictor.bias": torch.full((6,), torch.nan)}),
            r"class_predictor\.bias holds values that are not finite",
        ),
        (
            change_config(id2label=dict(enumerate([*LABELS, "sea"]))),
            r"have another shape of 3 of the network's weights \(class_predictor\.bias",
        ),
        (change_config(id2label=3), "transformers can't open it"),
        (cut, "transformers can't open it"),
    ],
)
def test_a_checkpoint_that_is_not_whole_makes_no_maps(model, root, tmp_path, harm, says):
    """transformers would draw what is missing at random."""
    other = shutil.copytree(model, tmp_path / "other")
    harm(other)
    with pytest.raises(WsisError, match=says):
        make_maps(root, other, "m")
    assert not (root / "semantic").exists()


def test_images_of_few_rows_are_no_channels(model, root):
    """An image of three rows could be one of three channels."""
    from wsis.engine.semantic_maps import Listed, _maps, opened

    network = opened(model, ["Square", "circle", "triangle"], {}, "cpu")
    for height in (3, 1):
        pixels = np.random.default_rng(1).integers(0, 256, (height, 3, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(root / "few.png")
        [found] = _maps(network, [Listed(root / "few.png", (height, 3), root / "map.png")])
        assert found.shape == (height, 3)
    Image.fromarray(np.zeros((1, 400, 3), np.uint8)).save(root / "few.png")
    with pytest.raises(WsisError, match=r"few\.png: the checkpoint's image processor refuses it"):
        _maps(network, [Listed(root / "few.png", (1, 400), root / "map.png")])
