"""What is known of BBTP without torch."""

from wsis.methods.info import Info

INFO = Info(
    name="bbtp",
    network="wsis.methods.bbtp.method:BBTP",
    heads=("mask_rcnn",),
    details=("own", "official", "maskrcnn-benchmark"),
    features=("pyramid",),
)
