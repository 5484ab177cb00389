"""OCRNet's section of a recipe, each key with the paper's symbol or section."""

from __future__ import annotations

from wsis.declare.base import Fraction, Positive, Spec, Weight


class OcrnetSpec(Spec):
    """OCRNet's own knobs (Secs. 3.2, 3.4 and 4.2)."""

    channels: Positive = 512  # of pixels, regions and their joint representations (x_i, f_k, z_i)
    key: Positive = 256  # of the transformed ones that are compared (phi and psi, Eq. 3)
    dropout: Fraction = 0.05  # of whole channels of z_i; the released code's
    weight_regions: Weight = 0.4  # of the loss of the soft object regions, beside 1 (Sec. 4.2)
    crop: Positive = 512  # side of a training crop, pixels; the paper's 520 is no multiple of 32 (Sec. 4.2)
    photometric: bool = False  # distort the colours of training images, as far as BAISeg's key of that name
