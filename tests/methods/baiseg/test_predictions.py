"""BAISeg's maps and instances of an image: frames, batches, what is given, and controls without a network."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pycocotools import mask as rle

from tests.methods.baiseg.scenes import SIDE, VOID, network, sample, scene, touching
from wsis.data.structures import SemanticSample
from wsis.data.transforms import padded
from wsis.errors import WsisError
from wsis.methods.baiseg.dense import DenseFeatures
from wsis.methods.baiseg.extract.gradient import colour_gradient

SIZES = [(64, 32), (37, 53), (50, 97), (33, 31), (5, 70)]


def ready(**baiseg):
    return network(**({"threshold": 0.5} | baiseg)).eval()


def resized(semantic, size):
    rows, columns = (np.arange(n) * m // n for n, m in zip(size, semantic.shape, strict=True))
    return semantic[rows[:, None], columns]


def predicts_classes(net):
    """Let its semantic head know the colours of `scenes.painted`, so that there is something to extract."""
    colours = torch.tensor([[60.0, 60, 60], [200, 60, 60], [60, 200, 60], [60, 60, 200]])

    class Colours(torch.nn.Module):
        def forward(self, features):
            shrunk = F.interpolate(self.image, size=features.shape[-2:], mode="area")
            return -(shrunk[:, None] - colours[None, :, :, None, None]).square().sum(2) / 400

    head = Colours()
    original = net.backbone.forward

    def backbone(images):
        head.image = images * net.std + net.mean
        return original(images)

    net.backbone.forward, net.semantic = backbone, head
    return net


@pytest.mark.parametrize("given", [False, True], ids=["predicted", "given"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_maps_and_instances_have_the_original_frame(size, given):
    net, semantic = predicts_classes(ready(seeds="semantic")), resized(scene(), size)
    one = sample(semantic, given)
    (maps,) = net.maps([one])
    assert np.array_equal(maps.image, one.image.permute(1, 2, 0).numpy())
    for array, kind in ((maps.boundary, np.float32), (maps.certainty, np.float32), (maps.semantic, np.uint8)):
        assert array.shape == size and array.dtype == kind
    assert maps.semantic.max() <= 3 or given
    (found,) = net.predict([one])
    assert len(found.masks) == len(found.labels) == len(found.scores) == len(found.boxes)
    assert found.masks or min(size) < 30
    assert (found.scores[:-1] >= found.scores[1:]).all()
    for box, label, mask in zip(found.boxes.tolist(), found.labels.tolist(), found.masks, strict=True):
        assert mask["size"] == list(size)
        pixels = rle.decode(mask).astype(bool)
        ys, xs = np.nonzero(pixels)
        assert box == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        assert (maps.semantic[pixels] == label + 1).all(), "refined masks keep to their class"


@pytest.mark.parametrize("size", [(37, 53), (64, 96)], ids=str)
def test_an_object_is_found_where_it_is(size):
    """Nothing is shifted on the way through the network's size and back."""
    semantic = np.zeros(size, np.uint8)
    semantic[9:30, 11:40] = 2
    net = predicts_classes(ready(boundary="none"))
    ((box, label),) = [(f.boxes[0], f.labels[0]) for f in net.predict([sample(semantic)])]
    assert label == 1
    assert (box - torch.tensor([11, 9, 40, 30])).abs().max() <= 1


def test_at_a_size_of_its_own_the_map_is_the_networks():
    net, one = ready(), sample(resized(scene(), (64, 96)))
    (maps,) = net.maps([one])
    with torch.no_grad():
        features = net.backbone((one.image[None].float() - net.mean) / net.std)
        logits = F.interpolate(net.boundary(features)[0], (64, 96), mode="bilinear", align_corners=False)
        classes = F.interpolate(net.semantic(features), (64, 96), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(maps.boundary, 1 / (1 + np.exp(-logits[0, 0].numpy())), atol=1e-6)
    exponents = np.exp(classes[0].double().numpy())
    probabilities = exponents / exponents.sum(0)
    np.testing.assert_allclose(maps.certainty, probabilities.max(0), atol=1e-6)
    chosen = np.take_along_axis(probabilities, maps.semantic[None].astype(int), 0)[0]
    np.testing.assert_allclose(chosen, probabilities.max(0), atol=1e-6)


def test_a_batch_has_the_maps_of_its_images_one_by_one(monkeypatch):
    """Images of one size at the network pass it together, whatever lies between them."""
    net, passed, forward = ready(), [], DenseFeatures.forward
    monkeypatch.setattr(DenseFeatures, "forward", lambda self, x: passed.append(len(x)) or forward(self, x))

    def several() -> list:
        cases = [*enumerate(SIZES), *enumerate(reversed(SIZES), len(SIZES))]
        return [sample(resized(scene(n), size), given=n % 2 == 0, seed=n) for n, size in cases]

    together = net.maps(several())
    assert sum(passed) == 2 * len(SIZES) and len(passed) == len({tuple(map(padded, size)) for size in SIZES})
    for one, maps in zip(several(), together, strict=True):
        (alone,) = net.maps([one])
        assert np.array_equal(maps.image, alone.image)
        for name in ("boundary", "certainty"):
            np.testing.assert_allclose(getattr(maps, name), getattr(alone, name), atol=1e-5, err_msg=name)
        assert (maps.semantic == alone.semantic).mean() > 0.999
    whole = net.predict(several())
    assert [f.masks for f in whole] == [net.predict([one])[0].masks for one in several()]


def test_given_semantics_are_taken_as_they_are():
    semantic = scene()
    (maps,) = ready().maps([sample(semantic, given=True)])
    assert np.array_equal(maps.semantic, semantic) and (semantic == VOID).any()
    assert (maps.certainty == 1).all()
    (own,) = ready().maps([sample(semantic)])
    assert np.array_equal(own.boundary, maps.boundary), "the boundary map doesn't depend on them"
    assert (own.certainty < 1).any()


@pytest.mark.parametrize("kind", ["none", "gradient"])
def test_controls_need_no_network_where_semantics_are_given(kind):
    def absent(*arguments):
        raise AssertionError("the network was asked")

    net = ready(boundary=kind)
    net.backbone.forward = net.boundary.forward = net.semantic.forward = absent
    semantic, _ = touching()
    one = sample(semantic, given=True)
    (maps,) = net.maps([one])
    if kind == "none":
        assert maps.boundary is None
        (found,) = net.predict([one])
        assert found.labels.tolist() == [1] and found.boxes.tolist() == [[8, 16, 40, 32]]
        assert np.array_equal(rle.decode(found.masks[0]), semantic == 2)
    else:
        assert np.array_equal(maps.boundary, colour_gradient(one.image.permute(1, 2, 0).numpy()))
    with pytest.raises(AssertionError, match="the network was asked"):
        net.maps([sample(semantic)])


def test_the_boundary_map_tells_touching_objects_apart():
    """A network that responds on the contact: two objects, each of its own pixels."""
    semantic, instances = touching(64)

    class Contact(torch.nn.Module):
        def forward(self, features):
            logits = torch.full((1, 1, 64, 64), -6.0)
            logits[..., 16:32, 23:25] = 3.0
            return logits, features

    net = ready()
    net.boundary = Contact()
    (found,) = net.predict([sample(semantic, given=True)])
    assert sorted(found.boxes.tolist()) == [[8, 16, 24, 32], [24, 16, 40, 32]]
    for box, mask in zip(found.boxes.tolist(), found.masks, strict=True):
        assert np.array_equal(rle.decode(mask), instances == (1 if box[0] == 8 else 2))


def test_nothing_to_find_is_no_instance():
    net = ready()
    for semantic in (np.zeros((40, 50), np.uint8), np.full((40, 50), VOID, np.uint8)):
        (found,) = net.predict([sample(semantic, given=True)])
        assert len(found.masks) == 0
        assert found.boxes.shape == (0, 4) and found.boxes.dtype == torch.float32
        assert found.labels.dtype == torch.int64


@pytest.mark.parametrize("boundary", ["network", "gradient"])
def test_without_a_threshold_nothing_is_extracted(boundary):
    net = network(boundary=boundary).eval()
    with pytest.raises(WsisError, match=r"no boundary threshold.*set baiseg\.threshold"):
        net.predict([sample(scene(), given=True)])
    net.threshold = 0.25  # as the engine does
    assert net.extraction.threshold == 0.25
    assert network(boundary="none").eval().predict([sample(scene(), given=True)])


def test_the_recipes_settings_are_the_extractions():
    own = {
        "threshold": 0.3, "thin": False, "seeds": "literal", "refine": False, "relief": "image",
        "closing": 7, "min_area": 9,
    }  # fmt: skip
    found = network(**own).extraction
    assert {key: getattr(found, key) for key in own} == own
    assert network(threshold=0.5, crop=SIDE).extraction.min_area == 4


def test_true_contours_need_no_network_and_cut_touching_objects_of_one_class():
    """The upper bound of the extraction: with contours and semantics given, every object comes back."""
    semantic = np.zeros((48, 80), np.uint8)
    semantic[8:40, 8:72] = 1
    instances = np.zeros((48, 80), np.int16)
    instances[8:40, 8:40], instances[8:40, 40:72] = 1, 2
    net = ready(boundary="truth", eval_semantics="ground_truth", seeds="semantic")
    net.backbone = net.boundary = net.semantic = None
    image = torch.zeros(3, 48, 80, dtype=torch.uint8)
    found = net.predict([SemanticSample(image, (48, 80), 1, semantic, instances)])[0]
    assert len(found.masks) == 2 and found.labels.tolist() == [0, 0]
    truth = [rle.encode(np.asfortranarray((instances == number).astype(np.uint8))) for number in (1, 2)]
    overlaps = rle.iou(found.masks, truth, [0, 0])
    assert sorted(overlaps.max(1) > 0.85) == [True, True] and overlaps.argmax(1).tolist() in ([0, 1], [1, 0])
