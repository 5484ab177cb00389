"""What is known of GrabCut without torch."""

from wsis.methods.info import Info

INFO = Info(
    name="grabcut",
    network="wsis.methods.grabcut.method:GrabCut",
    heads=("none",),
    features=(),
    fills_boxes=True,
    fit="it has nothing to train",
)
