"""What differs between Mask R-CNN for photographs and for 96-pixel synthetic images, recipe keys aside."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Details:
    """What no paper mentions of a Mask R-CNN, as one of its codes has it.

    exact_anchors: whether anchors keep sides that are no whole numbers
    aligned:       whether regions are pooled in half-pixel coordinates, with as many samples as they have
                   cells of the features; else half a cell further, with two samples a side of a cell
    padded:        whether pasted masks fall to zero beyond their outermost cells
    rpn_beta, box_beta: error at which the box losses turn from squared to absolute; 0: absolute throughout
    bias_lr, bias_decay: learning rate and weight decay of biases, times those of weights
    shared:        images whose number of proposals all images that a device holds at once share in training,
                   the best of all of them; None: each image has its own
    """

    exact_anchors: bool = False
    aligned: bool = False
    padded: bool = False
    rpn_beta: float = 1 / 9
    box_beta: float = 1 / 9
    bias_lr: float = 1.0
    bias_decay: float = 1.0
    shared: int | None = None


# `model.details`: torchvision's, detectron2's, and its forerunner's, which some papers' code is made of.
DETAILS = {
    "own": Details(),
    "official": Details(exact_anchors=True, aligned=True, padded=True, rpn_beta=0.0, box_beta=0.0),
    "maskrcnn-benchmark": Details(padded=True, box_beta=1.0, bias_lr=2.0, bias_decay=0.0, shared=2),
}


@dataclass(frozen=True)
class Layout:
    """Sizes of a Mask R-CNN; a level is one of the FPN's outputs, finest first.

    names:          backbone stages that enter the FPN
    strides:        input pixels a cell, of every level that has anchors
    pooled:         whether a coarsest level is subsampled from the last (anchors only, no RoIs)
    anchors:        square root of an anchor's area, pixels, one a level; each in ratios 1:2, 1:1 and 2:1
    rpn_samples:    anchors an image in the proposal network's loss, at most half of them positive
    proposals:      regions an image that reach the heads, in training and at inference
    pre_nms:        regions a level before non-maximum suppression, in training
    roi_samples:    regions an image in the box head's loss, at most a quarter of them positive
    box_roi, mask_roi:    cells a side of a RoI; the mask's logits have twice as many
    box_width:      hidden units of the box head
    mask_convs:     3x3 convolutions of the mask head, as wide as the FPN
    details:        what `model.details` says
    """

    names: tuple[str, ...]
    strides: tuple[int, ...]
    pooled: bool
    anchors: tuple[int, ...]
    rpn_samples: int
    proposals: int
    pre_nms: int
    roi_samples: int
    box_roi: int
    mask_roi: int
    box_width: int
    mask_convs: int
    details: Details = DETAILS["own"]


# As in the papers of FPN and Mask R-CNN, and in maskrcnn-benchmark, whose defaults BoxCaseg takes (Sec. 4).
RESNET = Layout(
    names=("c2", "c3", "c4", "c5"),
    strides=(4, 8, 16, 32, 64),
    pooled=True,
    anchors=(32, 64, 128, 256, 512),
    rpn_samples=256,
    proposals=1000,
    pre_nms=2000,
    roi_samples=512,
    box_roi=7,
    mask_roi=14,
    box_width=1024,
    mask_convs=4,
)

# 96-pixel images with objects of 20 to 60 pixels.
TINY = Layout(
    names=("c2", "c3", "c4"),
    strides=(4, 8, 16),
    pooled=False,
    anchors=(16, 32, 56),
    rpn_samples=64,
    proposals=100,
    pre_nms=300,
    roi_samples=32,
    box_roi=5,
    mask_roi=10,
    box_width=128,
    mask_convs=2,
)
