"""Settings for the size of the data and the device, each with the reason why.

A card gets the papers' network and rule of thumb: ResNet-50, SGD with a learning rate proportional to the
batch, dropped twice. A processor gets a small frozen backbone, whose features are computed once an image,
small images, and AdamW with a cosine, which needs fewer steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wsis.fit.facts import DataFacts, DeviceFacts
from wsis.nn.backbones import BACKBONES

CARD_IMAGES, CPU_IMAGES = 24000, 2400  # images that a training sees at least, counted with repetition
CARD_EPOCHS, CPU_EPOCHS = (12, 150), (6, 50)  # fewest and most epochs for that
VALIDATIONS = 3
FEW = 30  # objects of a class, up to which detection is called few-shot
WARMUP, PAIRWISE = 0.05, 1 / 9  # shares of the schedule; the papers ramp the pairwise term over a ninth
Settings = dict[str, Any]  # dotted keys of a recipe


@dataclass(frozen=True)
class Choice:
    """A setting, and why it has its value."""

    key: str
    value: Any
    why: str


def choose(data: DataFacts, device: DeviceFacts, supervision: str, given: Mapping[str, Any]) -> list[Choice]:
    """What is chosen for a method that learns from `supervision`, in the order in which it is told.

    given: the user's settings, dotted keys, and "epochs"; what follows from them follows the user's values.
    """
    backbone = given.get("model.backbone") or ("resnet50" if device.kind == "cuda" else "efficientnet_lite0")
    choices = [*_data(data, supervision), *_network(backbone, device, given)]
    batch = given.get("schedule.batch") or _batch(data, device)
    choices += [Choice("schedule.batch", batch, "fits this device and this number of images")]
    choices += _schedule(data, device, batch, given)
    return choices


def _data(data: DataFacts, supervision: str) -> list[Choice]:
    learnt = f"{data.objects} objects of {data.images} images, {data.classes} classes"
    return [
        Choice("data.dataset", data.dataset, "the layout of the folder"),
        Choice("data.train", data.train, learnt),
        Choice("data.eval", data.val or data.train, "evaluated on" if data.val else "there is no val split"),
        Choice("data.annotations", data.digest, "of these annotations; other data are another run"),
        Choice("data.supervision", supervision, "what the method learns from"),
    ]


def _network(backbone: str, device: DeviceFacts, given: Mapping[str, Any]) -> list[Choice]:
    kind = BACKBONES.get(backbone)
    chosen = [Choice("model.backbone", backbone, f"on a {_words(device)}")]
    beside = kind.beside if kind else {}
    chosen += [Choice(f"model.{key}", value, f"fits {backbone}") for key, value in beside.items()]
    if device.kind == "cpu":
        if beside.get("weights") != "none" and given.get("model.weights") != "none":
            why = "no card: its features are computed once an image and kept"
            chosen.append(Choice("model.frozen_backbone", True, why))
        chosen += [
            Choice("loss.proposals", "one", "no card: one mask an object and step"),
            Choice("loss.pairwise.colour", "pooled", "no card: colours of a quarter of the pixels"),
            Choice("predict.detections", 50, "no card: fewer masks to draw"),
        ]
    short = given.get("size") or (256 if device.kind == "cpu" else 640 if device.gigabytes >= 15 else 480)
    one = device.kind == "cpu" or given.get("size")
    sizes = [short] if one else [short + more for more in (-64, -32, 0, 32)]
    why = f"pixels of the short side, for a {_words(device)}"
    return [
        *chosen,
        Choice("data.short_side", sizes, why),
        Choice("data.eval_short_side", short, "as in training"),
        Choice("data.max_side", -(-short * 5 // 3), "5/3 of the short side"),
    ]


def _batch(data: DataFacts, device: DeviceFacts) -> int:
    if device.kind == "cpu":
        return max(1, min(4, data.images))
    return max(1, min(16 if device.gigabytes >= 30 else 8 if device.gigabytes >= 15 else 4, data.images))


def _schedule(data: DataFacts, device: DeviceFacts, batch: int, given: Mapping[str, Any]) -> list[Choice]:
    cpu = device.kind == "cpu"
    seen, (fewest, most) = (CPU_IMAGES, CPU_EPOCHS) if cpu else (CARD_IMAGES, CARD_EPOCHS)
    epochs = given.get("epochs") or min(max(seen / data.images, fewest), most)
    total = given.get("schedule.iterations") or max(round(epochs * data.images / batch), 1)
    why = f"{epochs:.3g} epochs of {data.images} images, {batch} a step"
    if cpu:
        lr = 2e-3 * (batch / 4) ** 0.5
        optimizer = [
            Choice("schedule.optimizer", "adamw", "no card: converges in fewer steps than SGD"),
            Choice("schedule.lr", round(lr, 6), f"0.002 for 4 images, by the root of the batch ({batch})"),
            Choice("schedule.weight_decay", 0.01, "AdamW's usual one"),
            Choice("schedule.decay", "cosine", "for a short schedule"),
        ]
    else:
        lr = 0.01 * batch / 16
        optimizer = [
            Choice("schedule.optimizer", "sgd", "as in the papers"),
            Choice("schedule.lr", lr, f"0.01 for 16 images, proportional to the batch ({batch})"),
            Choice("schedule.milestones", [round(total * 2 / 3), round(total * 8 / 9)], "as in the papers"),
        ]
    chosen = [
        Choice("schedule.iterations", total, why),
        Choice("schedule.length", 1.0, "iterations are those of the whole training"),
        *optimizer,
        Choice("schedule.warmup", round(total * WARMUP), f"{WARMUP:.0%} of the iterations"),
        Choice("schedule.clip", 10.0, "no step is ruined by one image"),
        Choice("schedule.devices", 1, "one device"),
        Choice("schedule.precision", "auto", "bf16 where the device has it, else float32"),
        Choice("loss.pairwise.warmup", round(total * PAIRWISE), "a ninth of the iterations"),
    ]
    if data.val_masks:
        every = -(-total // VALIDATIONS)
        why = f"{VALIDATIONS} validations in all; the best is kept"
        chosen.append(Choice("schedule.validate_every", every, why))
    return chosen


def warning(data: DataFacts, classes: str) -> str | None:
    """What the data are too few for, and what to do; None where they suffice. classes: the recipe's."""
    if classes == "one" or data.classes == 1 or data.typical >= FEW:
        return None
    return (
        f"{data.classes} classes, and half of them have {data.typical} objects or fewer in '{data.train}'"
        f" ({data.objects} objects of {data.images} images in all): too few to tell the classes apart,"
        " AP will be near 0; --classes one finds objects of any kind"
    )


def _words(device: DeviceFacts) -> str:
    return f"{device.name} with {device.gigabytes:.0f} GB" if device.kind == "cuda" else "processor"
