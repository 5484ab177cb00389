"""What is known of BAISeg without torch."""

from wsis.methods.baiseg.declared import EXTRACTION, keep_proportions, stages, teacher
from wsis.methods.baiseg.measures import BOUNDARIES, COMPLEXITY
from wsis.methods.baiseg.spec import BaisegSpec
from wsis.methods.info import Info, Pictures

FEATURES = ("dense", "fused")

INFO = Info(
    name="baiseg",
    busy={"baiseg.threshold": 0.5},  # which is else chosen after training
    network="wsis.methods.baiseg.method:BAISeg",
    section=BaisegSpec,
    heads=("baiseg",),
    features=FEATURES,
    base=True,
    readings=EXTRACTION,
    keep_proportions=keep_proportions,
    stages=stages,
    teacher=teacher,
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
    fit="it learns from semantic masks, not from boxes; give them to a row of its tables:"
    " wsis train 'baiseg/3:CFM + DMA + PPC' --scale mini --data-root voc=ROOT",
)
