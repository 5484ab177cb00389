"""What is known of SIM without torch."""

from wsis.methods.info import Fit, Info, Pictures
from wsis.methods.sim.declared import VARIANTS, continues, keep_proportions
from wsis.methods.sim.measures import PSEUDO_MASKS
from wsis.methods.sim.spec import SimSpec

INFO = Info(
    name="sim",
    network="wsis.methods.sim.method:SIM",
    busy={"sim.tau_low": 0.5, "sim.tau_high": 0.5, "sim.bank": 8},  # else nothing is labelled or pasted
    checkpoints="wsis.methods.sim.checkpoints:SOURCES",
    benches={"bank": "wsis.methods.sim.bench:bench"},
    pictures=(
        Pictures(
            words="maps, weights of positives, pasted images",
            draw="wsis.methods.sim.pictures:draw",
            rows=(("sim/3", "pseudo + paste"),),
        ),
    ),
    measures=(PSEUDO_MASKS,),
    section=SimSpec,
    heads=("condinst", "mask2former"),
    networks={"mask2former": "wsis.methods.sim.queries:SIMQueries"},
    features=("pyramid",),
    supervision=("boxes",),
    variants=VARIANTS,
    of_heads={"mask2former": {"sim.momentum": "copy"}},  # the released one is a detector
    keep_proportions=keep_proportions,
    continues=continues,
    fit=Fit("sim/r50-1x"),
)
