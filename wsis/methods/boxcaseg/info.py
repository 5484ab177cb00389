"""What is known of BoxCaseg without torch."""

from wsis.methods.boxcaseg.declared import SECOND, keep_proportions, stages
from wsis.methods.boxcaseg.measures import PROXY_MASKS
from wsis.methods.boxcaseg.spec import BoxCasegSpec
from wsis.methods.info import Info, Pictures

INFO = Info(
    name="boxcaseg",
    network="wsis.methods.boxcaseg.method:BoxCaseg",
    checkpoints="wsis.methods.boxcaseg.checkpoints:SOURCES",
    benches={"proxy": "wsis.methods.boxcaseg.bench:bench"},
    pictures=(
        Pictures(
            words="patches with their bags, maps of the heads",
            draw="wsis.methods.boxcaseg.pictures:draw",
            rows=(("boxcaseg/4", "Weak + salient + transferred"),),
        ),
        Pictures(
            words="masks merged and dropped",
            draw="wsis.methods.boxcaseg.proxy_pictures:draw",
            rows=(("boxcaseg/7", "PASCAL, merge, drop"),),
            of_masks=True,
        ),
    ),
    measures=(PROXY_MASKS,),
    section=BoxCasegSpec,
    heads=("boxcaseg",),
    features=("patch",),
    fills_boxes=True,
    sync_norm=True,
    keep_proportions=keep_proportions,
    stages=stages,
    second=SECOND,
    fit="it learns from images of single salient objects with masks beside the boxes, in two trainings;"
    " give both roots to a row of its tables: wsis train 'boxcaseg/7:COCO, merge, drop' --scale mini"
    " --data-root coco=ROOT,salient=ROOT",
)
