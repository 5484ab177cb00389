"""What is known of BAISeg without torch."""

from wsis.methods.baiseg.measures import BOUNDARIES, COMPLEXITY
from wsis.methods.info import Info, Pictures

INFO = Info(
    name="baiseg",
    network="wsis.methods.baiseg.method:BAISeg",
    benches={"extract": "wsis.methods.baiseg.bench:bench"},
    pictures=(
        Pictures(
            words="touching objects without and with PPC",
            draw="wsis.methods.baiseg.pictures:draw_contrast",
            rows=(("baiseg/3", "CFM + DMA + PPC"),),
            beside=("baiseg/3", "CFM + DMA"),
        ),
        Pictures(
            words="the way from boundaries to instances",
            draw="wsis.methods.baiseg.pictures:draw_steps",
            rows=(("baiseg/3", "CFM + DMA + PPC + refinement"),),
        ),
    ),
    measures=(BOUNDARIES, COMPLEXITY),
)
