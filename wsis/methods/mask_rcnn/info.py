"""What is known of MaskRCNN without torch."""

from wsis.methods.info import Fit, Info

INFO = Info(
    name="mask_rcnn",
    network="wsis.methods.mask_rcnn.method:MaskRCNN",
    checkpoints="wsis.methods.mask_rcnn.checkpoints:SOURCES",
    providers={"detectron2": "wsis.methods.mask_rcnn.provided:Detectron2MaskRCNN"},
    heads=("mask_rcnn",),
    details=("own", "official", "maskrcnn-benchmark"),
    features=("pyramid",),
    base=True,
    fit=Fit("boxinst/mask-rcnn-r50-3x", "masks"),
)
