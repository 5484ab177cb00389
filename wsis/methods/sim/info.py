"""What is known of SIM without torch."""

from wsis.methods.info import Info, Pictures
from wsis.methods.sim.measures import PSEUDO_MASKS

INFO = Info(
    name="sim",
    network="wsis.methods.sim.method:SIM",
    benches={"step": "wsis.methods.sim.bench:bench"},
    pictures=(
        Pictures(
            words="maps, weights of positives, pasted images",
            draw="wsis.methods.sim.pictures:draw",
            rows=(("sim/3", "pseudo + paste"),),
        ),
    ),
    measures=(PSEUDO_MASKS,),
)
