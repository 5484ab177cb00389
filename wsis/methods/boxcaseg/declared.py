"""BoxCaseg's rows as declared: their two stages, and what other data do to the share of salient images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsis.methods.boxcaseg.spec import BoxCasegSpec
from wsis.methods.info import Stages

if TYPE_CHECKING:
    from wsis.declare.recipe import Recipe

DUTS_SINGLE = 7991  # salient images of the paper (Sec. 4), which generated ones stand for
OBJECTS = {"voc": 25815, "coco": 860001}  # with boxes, in the training sets (Sec. 4)
# The masks' merging and dropping, and the Mask R-CNN on them: keys that the first stage has no use for.
SECOND = {
    "boxcaseg.merge": "proxy.merge",
    "boxcaseg.order": "proxy.order",
    "boxcaseg.drop": "proxy.drop",
    "boxcaseg.agreement": "proxy.agreement",
    "boxcaseg.proxy_backbone": "model.backbone",
    "boxcaseg.proxy_lr": "schedule.lr",
    "boxcaseg.proxy_batch": "schedule.batch",
    "boxcaseg.proxy_iterations": "schedule.iterations",
    "boxcaseg.proxy_milestones": "schedule.milestones",
}


def stages(recipe: Recipe) -> Stages:
    """The network, shared by rows that differ in merging, dropping and retraining alone; its Mask R-CNN."""
    given = recipe.boxcaseg.model_dump(mode="json")
    usual = BoxCasegSpec().model_dump(mode="json")
    names = {key: key.removeprefix("boxcaseg.") for key in SECOND}
    first = {key: usual[name] for key, name in names.items()} | {"boxcaseg.proxy": False}
    if not recipe.boxcaseg.proxy:
        return Stages(first)
    second = {SECOND[key]: given[name] for key, name in names.items()}
    return Stages(first, second, f"boxcaseg/mask-rcnn-{recipe.data.dataset}")


def keep_proportions(
    tree: dict[str, Any], published: Recipe, scale: dict[str, Any], user: dict[str, Any]
) -> None:
    """Keep the share of salient images that the published recipe has.

    `data.shapes.salient_images` stands for all 7991 beside VOC's objects. COCO has 33 times as many objects:
    random sampling there hardly finds a salient image (Sec. 4.2.3), and generated ones become fewer. A VOC
    list that is not the paper's has an unknown natural ratio: there a fixed ratio near the paper's (76 : 24)
    replaces random sampling.
    """
    here, spec, decided = tree["boxcaseg"], published.boxcaseg, scale | user
    data, drawn = published.data.dataset, tree["data"]["shapes"]["salient_images"]
    if tree["data"]["dataset"] == "shapes" and drawn and "boxcaseg.salient_images" not in decided:
        count = drawn * min(spec.salient_images / DUTS_SINGLE, 1.0)
        if spec.ratio == "random":
            count *= OBJECTS["voc"] / OBJECTS[data]
        here["salient_images"] = max(round(count), 1)
    other = tree["data"]["dataset"] == data == "voc" and tree["data"]["train"] != published.data.train
    if spec.ratio == "random" and other and "boxcaseg.ratio" not in decided:
        here["ratio"] = "12:4"
