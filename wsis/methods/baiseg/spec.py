"""BAISeg's section of a recipe, each key with the paper's symbol or section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from wsis.declare.base import Count, Fraction, Positive, Spec, Weight


class BaisegSpec(Spec):
    """BAISeg's own knobs (Sec. 3.2 to 3.6). Defaults follow its errata."""

    # Network, Secs. 3.3 and 3.4
    cfm: bool = True
    dma: bool = True
    cascades: Positive = 4  # R
    dim: Positive = 128  # d, hidden channels of a CFM
    reduction: Positive = 16  # r: the channel attention's MLP has d / r hidden channels (Eq. 2)
    multi_scale: bool = False  # fuse all backbone stages (Table 6, starred backbones)
    stage_dim: Positive = 128  # channels each fused stage is reduced to (the column "dim" of Table 6)
    # Losses, Eqs. 1, 6 and 7
    ppc: bool = True
    temperature: Annotated[float, Field(gt=0, le=1e6)] = 0.2  # tau, Eq. 6
    samples: Positive = 1024  # pixels of a batch that the contrast compares; ContrastiveSeg's
    views: Positive = 100  # at most, of one class of an image
    contrast_warmup: Count = 5000  # iterations without L_P
    hardest: Annotated[float, Field(gt=0, le=1)] = 0.2  # share of the pixels in L_S; BESTIE's
    weight_ppc: Weight = 0.3  # alpha, Eq. 7
    weight_boundary: Weight = 50.0  # beta, Eq. 7
    weight_semantic: Weight = 1.0  # gamma, Eq. 7
    crop: Positive = 416  # side of a training crop, pixels (Sec. 4.2)
    photometric: bool = False  # brightness, contrast and hue of training images change at random; BESTIE's
    train_semantics: Literal["ground_truth", "ocrnet"] = "ground_truth"
    # Who makes those of another system: files of the root, or a network that is trained here before.
    maps: Literal["given", "trained"] = "given"
    # Mask extraction, Sec. 3.6
    # Whose boundary map: the others than the network's are controls; truth, the contours of the annotated
    # objects, is the upper bound of what is extracted from it.
    boundary: Literal["network", "gradient", "none", "truth"] = "network"
    threshold: Fraction | None = None  # of the boundary map; null: chosen on development images
    dev_images: Positive = 100  # at most; training images, where a root has no development split
    thin: bool = True  # non-maximum suppression
    seeds: Literal["semantic", "literal"] = (
        "semantic"  # components of one class, or of all that is no boundary
    )
    relief: Literal["boundary", "image"] = "boundary"  # what watershed floods
    min_area: Positive = 50  # pixels of a component
    refine: bool = True
    closing: Positive = 5  # side of the closing's square, pixels
    eval_semantics: Literal["predicted", "ground_truth", "mask2former"] = "predicted"
    mask_rcnn: bool = False  # train a Mask R-CNN on the predicted masks (the dagger rows)

    @model_validator(mode="after")
    def _widths_fit(self) -> BaisegSpec:
        if self.cfm and self.dma and self.dim % self.reduction:
            raise ValueError(f"reduction {self.reduction} does not divide dim {self.dim}")
        if self.closing % 2 == 0:
            raise ValueError(f"closing {self.closing}: an odd number of pixels")
        return self
