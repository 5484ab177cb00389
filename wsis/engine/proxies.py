"""A run's masks of its training images, which another network learns from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from wsis.data.annotations import Picture
from wsis.data.roots import Root
from wsis.data.structures import Instances
from wsis.declare.stored import weights_file
from wsis.engine.predict import predicted
from wsis.engine.together import stop_together
from wsis.files import digest
from wsis.methods.base import Method
from wsis.proxy.folder import file_of, remove_others
from wsis.proxy.generate import write_proxies
from wsis.signals import StopRequest

IDS = 100_000  # ids for an image's detected instances: image id x IDS + number


class _Stopped(Exception):
    """A signal has reached this process."""


def make_proxies(method: Method, root: Root, folder: Path, fabric: Fabric, show: bool = True) -> None:
    """Write this process's share of the training images' masks; goes on where an earlier try stopped.

    Raises Interrupted after SIGTERM or SIGUSR1; what there is stays.
    """
    rank, world = fabric.global_rank, fabric.world_size
    mine = root.train[rank::world]
    stop = StopRequest()

    def images(ids: Sequence[int]) -> Iterator[dict[str, Any]]:
        left = mine[len(mine) - len(ids) :]
        samples = method.training_samples(root, left)
        for picture, (_, instances) in zip(left, predicted(method, samples, fabric.device), strict=True):
            yield {
                "image_id": picture.id,
                "file_name": picture.path.name,
                "height": picture.height,
                "width": picture.width,
                "objects": _objects(picture, instances, root.category_ids),
            }
            if stop.signal:  # when an image is written: every attempt makes progress
                raise _Stopped

    made_by = {"run": folder.name, "weights": digest(weights_file(folder)), **method.chosen()}
    title = f"{folder.name} proxies"
    with stop, suppress(_Stopped):
        path = file_of(folder, rank, world)
        write_proxies(path, mine.ids.tolist(), images, made_by, title, show and rank == 0)
    stop_together(fabric, stop.signal, f"{title}: stopped")
    fabric.barrier()
    if rank == 0:
        remove_others(folder, world)


def _objects(picture: Picture, instances: Instances, category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """The instances as `wsis.proxy.generate` takes them.

    Masks of annotated objects keep these objects' ids and boxes, detected ones get new ids.
    """
    ids, boxes = instances.annotation_ids, instances.boxes.tolist()
    if ids is None:
        ids = [picture.id * IDS + number for number in range(len(boxes))]
    else:
        annotated = {instance.id: instance.box for instance in picture.instances}
        boxes = [annotated[id] for id in ids]
    rows = zip(ids, boxes, instances.labels.tolist(), instances.masks, instances.scores.tolist(), strict=True)
    return [
        {
            "annotation_id": id,
            "category_id": category_ids[label],
            "bbox": [x0, y0, max(x1 - x0, 0.0), max(y1 - y0, 0.0)],
            "rle": mask,
            "certainty": score,
        }
        for id, (x0, y0, x1, y1), label, mask, score in rows
    ]
