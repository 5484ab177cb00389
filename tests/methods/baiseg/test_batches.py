"""Crops with semantic maps: determinism, alignment, what is refused; evaluation and development images."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle

from tests.methods.baiseg.scenes import network
from tests.methods.baiseg.semantic_streams import alike, baiseg, painted_root, same, take
from wsis.data.roots import open_root
from wsis.data.structures import PADDING
from wsis.errors import WsisError
from wsis.methods.baiseg.batches import dev_samples, semantic_samples
from wsis.methods.baiseg.dense import build_dense
from wsis.methods.baiseg.semantic import VOID, SemanticMaps
from wsis.methods.baiseg.spec import BaisegSpec

# The stream


@pytest.mark.parametrize("supervision", ["semantic", "masks"])
def test_a_stream_does_not_depend_on_where_it_is_entered(shapes, supervision):
    recipe = baiseg(supervision=supervision)
    whole = take(10, recipe, shapes)
    assert all(alike(whole[6:], take(4, recipe, shapes, start=6)))
    assert all(alike(whole, take(10, recipe, shapes, workers=3)))
    assert not any(alike(whole, take(10, baiseg(supervision=supervision, seed=1), shapes)))


def test_processes_and_micro_batches_share_one_stream(shapes):
    recipe = baiseg(supervision="masks")
    for t in range(3):
        (whole,) = take(1, recipe, shapes, start=t)[0]
        halves = [take(1, recipe, shapes, start=t, rank=rank, world=2)[0][0] for rank in (0, 1)]
        assert halves[0].ids + halves[1].ids == whole.ids
        for name in ("images", "semantic", "instances"):
            joined = torch.cat([getattr(half, name) for half in halves])
            assert torch.equal(joined, getattr(whole, name))
        assert all(
            same(a, b) for a, b in zip(take(1, recipe, shapes, start=t, micro=2)[0], halves, strict=True)
        )


def test_every_image_once_an_epoch_in_a_new_order(shapes):
    ids = [i for (batch,) in take(15, baiseg(), shapes) for i in batch.ids]  # 120 = two epochs of 60
    assert sorted(ids[:60]) == sorted(ids[60:]) == list(range(1, 61)) and ids[:60] != ids[60:]


def test_shapes_and_dtypes(shapes):
    (batch,) = take(1, baiseg(supervision="masks"), shapes)[0]
    assert batch.images.shape == (8, 3, 64, 64) and batch.images.dtype == torch.uint8
    assert batch.semantic.shape == (8, 64, 64) and batch.semantic.dtype == torch.uint8
    assert batch.instances.shape == (8, 64, 64) and batch.instances.dtype == torch.int16
    assert same(batch.to(torch.device("cpu")), batch)
    (batch,) = take(1, baiseg(), shapes)[0]
    assert batch.instances is None and batch.to(torch.device("cpu")).instances is None
    assert vars(batch).keys() == {"images", "semantic", "instances", "ids", "totals", "memo"}


# Cutting and mirroring


@pytest.fixture
def painted(coco_root):
    return painted_root(coco_root)


@pytest.mark.parametrize("augment", ["none", "flip", "dihedral"])
def test_maps_lie_on_their_images_however_they_are_cut(painted, augment):
    """The map can be read off the picture in every crop, orientation and padding; boundaries blur."""
    recipe = baiseg("coco", crop=32, short_side=(16, 28, 60), augment=augment, supervision="masks")
    padding, seen, padded = torch.tensor(PADDING, dtype=torch.uint8), set(), 0
    for (batch,) in take(12, recipe, painted):
        for image, semantic, instances in zip(batch.images, batch.semantic, batch.instances, strict=True):
            outside = (image == padding[:, None, None]).all(0)
            assert torch.equal(outside, semantic == VOID), "nothing else is void here"
            assert not instances[outside].any()
            padded += bool(outside.any())
            shown = torch.tensor([1, 2, 0])[image.long().argmax(0)]
            assert (shown[~outside] != semantic[~outside]).float().mean() < 0.08
            assert torch.equal((instances > 0) & ~outside, (semantic > 0) & ~outside)
            green = [torch.nonzero(semantic == k)[:, 1].float().mean() for k in (1, 2)]
            down = [torch.nonzero(semantic == k)[:, 0].float().mean() for k in (1, 2)]
            if (semantic == 1).sum() > 60 and (semantic == 2).sum() > 60:
                seen.add((bool(green[1] > green[0]), bool(down[1] > down[0])))
    assert padded > 10
    assert (
        seen
        == {
            "none": {(True, True)},
            "flip": {(True, True), (False, True)},
            "dihedral": {(x, y) for x in (True, False) for y in (True, False)},
        }[augment]
    )


def test_at_full_size_without_mirroring_the_stream_is_the_root(shapes):
    recipe = baiseg(crop=96, short_side=(96,), augment="none", supervision="masks")
    root = open_root(recipe, shapes)
    maps, pictures = SemanticMaps(root, "train"), {p.id: p for p in root.train}
    for (batch,) in take(3, recipe, root):
        for id, image, semantic, instances in zip(
            batch.ids, batch.images, batch.semantic, batch.instances, strict=True
        ):
            with Image.open(pictures[id].path) as file:
                assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(file.convert("RGB")))
            assert np.array_equal(semantic.numpy(), maps.read(pictures[id]))
            values = set()
            for instance in pictures[id].instances:
                found = set(instances.numpy()[rle.decode(instance.segmentation) > 0].tolist())
                assert len(found) == 1 and not found & values, "a number of its own for each object"
                values |= found
            assert values == set(range(1, len(pictures[id].instances) + 1))


def test_crops_are_placed_at_random(painted):
    """Where the first class starts, and where the image starts in a crop that it does not fill."""
    larger, smaller = set(), set()
    for (batch,) in take(12, baiseg("coco", crop=32, short_side=(60,), augment="none"), painted):
        assert not (batch.semantic == VOID).any()
        larger |= {hash(semantic.numpy().tobytes()) for semantic in batch.semantic}
    for (batch,) in take(30, baiseg("coco", crop=32, short_side=(16,), augment="none"), painted):
        inside = batch.semantic != VOID
        assert (inside.flatten(1).sum(1) == 16 * 24).all(), "the whole image"
        smaller |= {tuple(torch.nonzero(each)[0].tolist()) for each in inside}
    assert len(larger) > 50
    assert {y for y, _ in smaller} == set(range(17)) and {x for _, x in smaller} == set(range(9))


def test_distortion_changes_colours_and_no_crop(painted):
    """Off it is the same stream as ever; on, the same crops of the same images, padded with the mean."""
    recipe = {"dataset": "coco", "crop": 32, "short_side": (16, 28, 60), "supervision": "masks"}
    plain = take(6, baiseg(**recipe), painted)
    other = take(6, baiseg(**recipe, own={"photometric": True}), painted)
    assert all(alike(plain, take(6, baiseg(**recipe, own={"photometric": False}), painted)))
    assert all(alike(other[3:], take(3, baiseg(**recipe, own={"photometric": True}), painted, start=3)))
    changed = 0
    for (a,), (b,) in zip(plain, other, strict=True):
        assert a.ids == b.ids and torch.equal(a.semantic, b.semantic)
        assert torch.equal(a.instances, b.instances)
        outside = (a.semantic == VOID)[:, None].expand_as(a.images)
        assert torch.equal(a.images[outside], b.images[outside])
        changed += sum(not torch.equal(x, y) for x, y in zip(a.images, b.images, strict=True))
    assert 24 < changed < 48, "seven eighths of them"


def test_only_streams_that_are_alike_are_shared(painted):
    """Runs on one frozen base take each other's batches where `cut` says that they are the same."""
    root = open_root(baiseg("coco"), painted)
    settings = ({}, {"crop": 32}, {"photometric": True}, {"train_semantics": "ocrnet"})
    cuts = [network(**keys).cut(root) for keys in settings]
    assert len({*cuts}) == len(cuts) and network(temperature=0.7).cut(root) == cuts[0]


def test_the_long_side_is_limited(painted):
    recipe = baiseg("coco", crop=64, short_side=(60,), max_side=45, augment="none")
    inside = take(1, recipe, painted)[0][0].semantic != VOID
    assert (inside.flatten(1).sum(1) == 30 * 45).all()


# Other maps, and what is refused


def test_external_maps_and_images_that_are_all_void(shapes, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(shapes, root)
    recipe = baiseg(own={"train_semantics": "ocrnet", "eval_semantics": "mask2former"}, short_side=(96,))
    with pytest.raises(WsisError, match=r"semantic/ocrnet: missing; put there"):
        take(1, recipe, root)
    with pytest.raises(WsisError, match=r"semantic/mask2former: missing; put there"):
        semantic_samples(recipe, open_root(recipe, root))
    for source, split, value in (("ocrnet", "train", VOID), ("mask2former", "val", 2)):
        (root / "semantic" / source).mkdir()
        for file in (root / split).iterdir():
            Image.fromarray(np.full((96, 96), value, np.uint8)).save(root / "semantic" / source / file.name)
    assert all((batch.semantic == VOID).all() for (batch,) in take(8, recipe, root))
    assert all((sample.semantic == 2).all() for sample in semantic_samples(recipe, open_root(recipe, root)))


@pytest.mark.parametrize(
    ("backbone", "crop", "said"),
    [("hrnet-w48", 400, "multiple of 32"), ("tiny-hrnet-w32", 90, "set it to 96"), ("resnet50", 48, "of 32")],
)
def test_a_crop_must_suit_the_backbone(shapes, backbone, crop, said):
    with pytest.raises(WsisError, match=rf"baiseg\.crop {crop} is no .*{said}"):
        take(1, baiseg(backbone=backbone, crop=crop), shapes)
    fits = baiseg(backbone=backbone, crop=96, batch=2)
    assert take(1, fits, shapes)[0][0].images.shape == (2, 3, 96, 96)


@pytest.mark.parametrize("backbone", ["tiny-hrnet-w48", "tiny-hrnetv2-w48", "tiny-resnet50"])
def test_the_smallest_crop_that_is_taken_fits_the_network(shapes, backbone):
    recipe = baiseg(backbone=backbone, crop=16, batch=2)
    network = build_dense(recipe.model, "resnet" in backbone, 8)
    (batch,) = take(1, recipe, shapes)[0]
    assert network(batch.images.float()).shape[2:] == (16 // network.stride,) * 2


def test_what_is_refused(shapes, tmp_path):
    with pytest.raises(WsisError, match="8 images can't be split over 3 processes"):
        take(1, baiseg(), shapes, world=3)
    root = tmp_path / "copy"
    shutil.copytree(shapes, root)
    file = root / "semantic" / "train" / "000007.png"
    assert file.exists()
    for size, value, said in (((95, 96), 0, "is 96x95"), ((96, 96), 9, "that are no class")):
        Image.fromarray(np.full(size, value, np.uint8)).save(file)
        with pytest.raises(WsisError, match=rf"000007\.png: .*{said}"):
            take(8, baiseg(), root, workers=2)


# Evaluation and development images


def test_evaluation_samples(shapes):
    recipe = baiseg(eval_images=5, eval_short_side=48)
    predicted = list(semantic_samples(recipe, open_root(recipe, shapes)))
    assert [s.id for s in predicted] == [1, 2, 3, 4, 5] and all(s.semantic is None for s in predicted)
    recipe = baiseg(eval_images=5, own={"eval_semantics": "ground_truth"})
    root = open_root(recipe, shapes)
    parts = [list(semantic_samples(recipe, root, rank, 2)) for rank in (0, 1)]
    assert [[s.id for s in part] for part in parts] == [[1, 3, 5], [2, 4]]
    for sample, picture in zip(parts[0], root.eval[::2], strict=True):
        assert sample.image.shape == (3, 96, 96) and sample.image.dtype == torch.uint8
        assert sample.size == (96, 96), "original size, whatever eval_short_side is"
        assert np.array_equal(sample.semantic, SemanticMaps(root, "val").read(picture))


def test_development_images_are_training_images_or_a_split_of_their_own(shapes, tmp_path):
    recipe = baiseg(own={"dev_images": 7, "eval_semantics": "ground_truth"})
    found = dev_samples(recipe, open_root(recipe, shapes))
    assert [sample.id for _, sample in found] == [1, 2, 3, 4, 5, 6, 7]
    few = baiseg(train_images=3)
    assert len(dev_samples(few, open_root(few, shapes))) == 3, "those of the training"
    root = tmp_path / "copy"
    shutil.copytree(shapes, root)
    shutil.copytree(root / "val", root / "dev")
    shutil.copytree(root / "semantic" / "val", root / "semantic" / "dev")
    shutil.copyfile(*(root / "annotations" / f"instances_{split}.json" for split in ("val", "dev")))
    own = dev_samples(recipe, open_root(recipe, root))
    assert len(own) == 7 and all(picture.path.parent == root / "dev" for picture, _ in own)
    for picture, sample in [*found, *own]:
        assert picture.id == sample.id and picture.instances
        for instance in picture.instances:
            covered = sample.semantic[rle.decode(instance.segmentation) > 0]
            assert (covered == instance.label + 1).all()
    assert all(p.instances == [] for p in open_root(recipe, root).train), "those of the training stay unseen"


@pytest.mark.parametrize("dataset", ["coco", "voc"])
def test_real_images(shared, dataset):
    recipe = baiseg(dataset, batch=4, crop=128, short_side=(112, 160), supervision="masks")
    root = open_root(recipe, shared("coco" if dataset == "coco" else "voc_from_coco"))
    void = False
    for (batch,) in take(4, recipe, root):
        objects = (batch.semantic > 0) & (batch.semantic != VOID)
        assert objects.flatten(1).any(1).sum() >= 3
        assert (objects == (batch.instances > 0)).float().mean() > 0.98
        void |= bool((batch.semantic == VOID).any())
        assert batch.semantic[batch.semantic != VOID].max() <= root.num_classes
    assert void, "padding at least"
    found = dev_samples(recipe.model_copy(update={"baiseg": BaisegSpec(dev_images=3)}), root)
    assert [picture.id for picture, _ in found] == [picture.id for picture in root.train[:3]]
    for picture, sample in found:
        assert sample.image.shape == (3, picture.height, picture.width) and sample.semantic is None
        assert all(instance.segmentation is not None for instance in picture.instances)
