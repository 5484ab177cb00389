"""What is known of CondInst without torch."""

from wsis.methods.info import Fit, Info

INFO = Info(
    name="condinst",
    network="wsis.methods.condinst.method:CondInst",
    checkpoints="wsis.methods.condinst.checkpoints:SOURCES",
    heads=("condinst",),
    features=("pyramid",),
    base=True,
    fit=Fit("boxinst/fully", "masks"),
)
