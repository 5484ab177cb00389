"""BAISeg's losses: Eq. 7's terms against the paper's formulas, and which of them reach which parameters."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.methods.baiseg.scenes import (
    SIDE,
    VOID,
    batch_of,
    generator,
    network,
    past_warmup,
    recipe,
    scene,
    touching,
)
from wsis.errors import WsisError
from wsis.methods.baiseg import method as module
from wsis.methods.baiseg.contrast import contrast_loss
from wsis.methods.baiseg.method import BAISeg

KEYS = {"loss_boundary", "loss_semantic", "loss_contrast"}
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # ImageNet's


def literal_contours(semantic):
    """H x W: 1 edge, 0 none, -1 not valid, of one image, pixel by pixel (erratum boundary-labels)."""
    h, w = semantic.shape
    found = np.zeros((h, w), int)
    for y in range(h):
        for x in range(w):
            around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            labels = {int(semantic[a]) for a in around if 0 <= a[0] < h and 0 <= a[1] < w}
            found[y, x] = bool(labels - {int(semantic[y, x]), VOID})
            if (semantic[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4] == VOID).any():
                found[y, x] = -1
    return found


def literal_boundary(logits, semantic):
    """Eq. 1 in float64, a mean over an image's valid pixels and over the images with any."""
    each = []
    for values, labels in zip(logits, map(literal_contours, semantic), strict=True):
        valid, p = labels >= 0, 1 / (1 + np.exp(-values))
        edge, rest = (labels == 1) & valid, (labels == 0) & valid
        alpha = rest.sum() / valid.sum()
        total = -alpha * np.log(p[edge]).sum() - (1 - alpha) * np.log(1 - p[rest]).sum()
        each.append(total / valid.sum())
    return float(np.mean(each))


def literal_semantic(logits, semantic, hardest):
    """Mean of the largest cross entropies, a share `hardest` of all valid pixels."""
    terms = []
    for image, labels in zip(logits, semantic, strict=True):
        probabilities = np.exp(image) / np.exp(image).sum(0)
        ys, xs = np.nonzero(labels != VOID)
        terms += (-np.log(probabilities[labels[ys, xs], ys, xs])).tolist()
    kept = sorted(terms, reverse=True)[: round(hardest * len(terms))]
    return sum(kept) / len(kept)


def test_losses_are_the_papers_weighted():
    """Of logits at full size; in evaluation mode, so that the second pass has the same statistics."""
    weights = {"weight_boundary": 7.0, "weight_semantic": 0.4, "weight_ppc": 3.0}
    net = past_warmup(network(hardest=0.3, **weights)).eval()
    maps = [scene(0), scene(1)]
    given = batch_of(*maps)
    found = net.losses(given, generator())
    assert found.keys() == KEYS
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    with torch.no_grad():
        features = net.backbone((given.images.float() - mean) / std)
        logits, embedded = net.boundary(features)
        full = [
            F.interpolate(x, size=(SIDE, SIDE), mode="bilinear", align_corners=False).double().numpy()
            for x in (logits, net.semantic(features))
        ]
        labels = torch.from_numpy(np.stack([literal_contours(m) for m in maps]))
        contrast = contrast_loss(
            net.projection(embedded), logits[:, 0], labels == 1, labels >= 0, net.spec, generator()
        )
    assert found["loss_boundary"].item() == pytest.approx(7 * literal_boundary(full[0][:, 0], maps), rel=1e-4)
    assert found["loss_semantic"].item() == pytest.approx(
        0.4 * literal_semantic(full[1], maps, 0.3), rel=1e-4
    )
    assert found["loss_contrast"].item() == pytest.approx(3 * contrast.item(), rel=1e-5)
    assert contrast > 0


def test_without_contrast_there_is_neither_its_term_nor_its_projection():
    net = network(ppc=False)
    assert net.projection is None
    assert net.losses(batch_of(scene()), generator()).keys() == KEYS - {"loss_contrast"}


def test_the_contrast_begins_after_its_warm_up():
    net, given = network(contrast_warmup=2), batch_of(scene(0), scene(1))
    for step in range(4):
        net.zero_grad()
        loss = net.losses(given, generator())["loss_contrast"]
        loss.backward()
        moved = sum(p.grad.abs().sum() for p in net.parameters() if p.grad is not None)
        assert (loss > 0) == (moved > 0) == (step >= 2)
        net.on_step_end(step)
    assert net.state_dict()["iteration"] == 4, "a resumed training must know how far it is"


def test_each_term_moves_its_own_branch_and_the_backbone():
    net, given = past_warmup(network()), batch_of(scene(0), scene(1))
    parts = ("backbone", "boundary", "semantic", "projection")
    expected = {
        "loss_boundary": {"backbone", "boundary"},
        "loss_semantic": {"backbone", "semantic"},
        "loss_contrast": {"backbone", "boundary", "projection"},
    }
    for name, reached in expected.items():
        net.zero_grad()
        net.losses(given, generator())[name].backward()
        moved = {
            part
            for part in parts
            if any(p.grad is not None and p.grad.abs().sum() > 0 for p in getattr(net, part).parameters())
        }
        assert moved == reached, name


NOTHING = np.zeros((SIDE, SIDE), np.uint8)
UNKNOWN = np.full((SIDE, SIDE), VOID, np.uint8)


@pytest.mark.parametrize(
    "maps",
    [(NOTHING, NOTHING), (NOTHING + 2, NOTHING), (UNKNOWN, UNKNOWN), (UNKNOWN, scene()), (scene(), scene(1))],
    ids=["background", "one class", "void", "one void", "usual"],
)
@pytest.mark.parametrize("switches", [{}, {"ppc": False}, {"dma": False}, {"cfm": False}], ids=str)
def test_batches_without_edges_or_labels_give_finite_losses_and_gradients(maps, switches):
    net = past_warmup(network(**switches))
    losses = net.losses(batch_of(*maps), generator())
    assert all(torch.isfinite(value) and value.shape == () for value in losses.values())
    if not any(len(np.unique(m[m != VOID])) > 1 for m in maps):
        assert losses["loss_boundary"] == 0 and losses.get("loss_contrast", 0) == 0
    if all((m == VOID).all() for m in maps):
        assert losses["loss_semantic"] == 0
    sum(losses.values()).backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and torch.isfinite(p.grad).all(), name
    assert not net.idle


def test_void_images_change_nothing_for_the_others():
    net = past_warmup(network()).eval()
    alone = net.losses(batch_of(scene()), generator())
    beside = net.losses(batch_of(scene(), UNKNOWN), generator())
    for name in ("loss_boundary", "loss_semantic"):
        torch.testing.assert_close(beside[name], alone[name])


@pytest.mark.parametrize("supervision", ["boxes", "masks-voc", "proxy"])
def test_another_supervision_is_refused(supervision):
    with pytest.raises(WsisError, match=f"learns from semantic masks: data.supervision '{supervision}'"):
        BAISeg(recipe(supervision), 3)


def test_a_recipe_without_its_section_is_refused():
    with pytest.raises(WsisError, match="needs the section 'baiseg'"):
        BAISeg(recipe().model_copy(update={"baiseg": None}), 3)


def seen_edges(monkeypatch, net, given):
    """The edge labels that the boundary loss gets."""
    seen = []
    original = module.boundary_loss
    with monkeypatch.context() as patch:
        patch.setattr(
            module,
            "boundary_loss",
            lambda logits, edge, valid: seen.append(edge & valid) or original(logits, edge, valid),
        )
        net.losses(given, generator())
    return seen[0]


def test_contacts_within_a_class_are_edges_for_the_control_alone(monkeypatch):
    semantic, instances = touching()
    usual = seen_edges(monkeypatch, network(), batch_of(semantic))
    control = seen_edges(monkeypatch, network("masks"), batch_of(semantic, instances=[instances]))
    contact = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    contact[0, 17:31, 23:25] = True  # its ends are edges of the class already
    assert torch.equal(control & ~usual, contact)
    assert not (usual & ~control).any() and usual.any()


def test_the_control_ignores_void_too(monkeypatch):
    semantic, instances = touching()
    semantic[20:23, 20:28] = VOID  # objects have no pixels where the map is void
    instances[20:23, 20:28] = 0
    edges = seen_edges(monkeypatch, network("masks"), batch_of(semantic, instances=[instances]))[0]
    assert not edges[17:26, 17:31].any() and edges[26:31, 23:25].all()


def test_the_control_learns_contacts_that_semantic_maps_do_not_show():
    semantic, instances = touching()
    response = {}
    for supervision in ("semantic", "masks"):
        net = network(supervision, ppc=False)
        given = batch_of(semantic, instances=[instances] if supervision == "masks" else None)
        optimizer = torch.optim.Adam(net.parameters(), 0.01)
        for _ in range(40):
            optimizer.zero_grad()
            sum(net.losses(given, generator()).values()).backward()
            optimizer.step()
        with torch.no_grad():
            logits = net.boundary(net.backbone(net._normalised(given.images)))[0]
        learnt = F.interpolate(logits, size=(SIDE, SIDE), mode="bilinear")[0, 0].sigmoid()
        contour = learnt[18:30, 7:9].mean()
        assert contour > 0.7 and learnt[18:30, 12:19].mean() < 0.3
        response[supervision] = learnt[19:29, 23:25].mean()
    assert response["masks"] > 0.7 > 0.4 > response["semantic"]


def test_half_precision_is_close():
    net, given = past_warmup(network()).eval(), batch_of(scene(0), scene(1))
    plain = net.losses(given, generator())
    with torch.autocast("cpu", torch.bfloat16):
        half = net.losses(given, generator())
    for name in KEYS:
        assert half[name].dtype == torch.float32
        assert half[name].item() == pytest.approx(plain[name].item(), rel=0.1), name
