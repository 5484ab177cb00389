"""How a batch is split so that it fits into a device's memory, and what happens when it doesn't."""

from __future__ import annotations

from wsis.declare.specs.schedule import ScheduleSpec
from wsis.errors import WsisError


class OutOfMemory(WsisError):
    """A training step needed more memory than its device has."""


def split_batch(batch: int, devices: int, max_images: int) -> int:
    """The fewest micro-batches a device in which `batch` splits evenly, at most `max_images` images each.

    Raises WsisError when `batch` can't be split evenly over `devices`.
    """
    if batch % devices:
        raise WsisError(
            f"a batch of {batch} images can't be split evenly over {devices} devices;"
            f" use a number of devices that divides {batch}"
        )
    share = batch // devices
    return next(m for m in range(1, share + 1) if share % m == 0 and (share // m <= max_images or m == share))


def images_at_once(schedule: ScheduleSpec, devices: int, max_images: int | None = None) -> int:
    """Images in a micro-batch of one of `devices`. max_images: the most; None for the recipe's share."""
    most = max_images or max(1, schedule.batch // schedule.devices)
    return schedule.batch // devices // split_batch(schedule.batch, devices, most)


def fewer_images(schedule: ScheduleSpec, devices: int, max_images: int | None, error: OutOfMemory) -> int:
    """The `max_images` to go on with after running out of memory: half. Raises WsisError below one image."""
    images = images_at_once(schedule, devices, max_images)
    if images == 1:
        raise WsisError(f"one image at once doesn't fit: {error}; use a device with more memory") from None
    return images // 2
