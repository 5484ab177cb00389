"""What is known of Boxes without torch."""

from wsis.methods.info import Info

INFO = Info(
    name="boxes",
    network="wsis.methods.boxes.method:Boxes",
    heads=("none",),
    features=(),
    fills_boxes=True,
    fit="it has nothing to train",
)
