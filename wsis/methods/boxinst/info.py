"""What is known of BoxInst without torch."""

from wsis.methods.boxinst.measures import AFFINITY
from wsis.methods.info import Fit, Info

INFO = Info(
    name="boxinst",
    network="wsis.methods.boxinst.method:BoxInst",
    checkpoints="wsis.methods.boxinst.checkpoints:SOURCES",
    benches={
        "pairwise": "wsis.methods.boxinst.bench:bench",
        "gradients": "wsis.methods.boxinst.gradients:bench",
    },
    measures=(AFFINITY,),
    heads=("condinst", "mask2former"),
    networks={"mask2former": "wsis.methods.boxinst.queries:BoxInstQueries"},
    features=("pyramid",),
    base=True,
    fit=Fit("boxinst/r50-1x"),
)
