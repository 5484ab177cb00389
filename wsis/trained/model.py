"""A trained run as a model: `wsis.load(folder).predict(image)`. It needs nothing but the run's folder.

h x w image, N instances.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from PIL import Image, ImageOps
from pycocotools import mask as rle

from wsis.card import ABOUT, known_categories
from wsis.data import structures
from wsis.data.pixels import ORIENTATION, PixelsRefused, eight_bit, orientation
from wsis.data.transforms import read_image
from wsis.declare.stored import stored_recipe
from wsis.engine.predict import predicted
from wsis.errors import WsisError
from wsis.methods import info_of
from wsis.methods.weights import trained_method

Picture = str | Path | np.ndarray | Image.Image
MISSING = object()


@dataclass(frozen=True)
class Instances:
    """The objects found in one image, or the masks of the boxes given with it; best first, or in their order.

    size:         (h, w) of the image
    boxes:        N x 4 float32, xyxy pixels, half-open
    labels:       N int64: positions in `Model.names`
    category_ids: N int64, as the training data numbers its classes
    names:        N class names
    scores:       N float32 in [0, 1]
    rles:         N compressed COCO run-length encodings; `masks` are these as pixels
    """

    size: tuple[int, int]
    boxes: np.ndarray
    labels: np.ndarray
    category_ids: np.ndarray
    names: tuple[str, ...]
    scores: np.ndarray
    rles: tuple[dict[str, Any], ...]

    def __len__(self) -> int:
        return len(self.scores)

    @cached_property
    def masks(self) -> np.ndarray:
        """N x h x w bool."""
        if not self.rles:
            return np.zeros((0, *self.size), bool)
        return np.ascontiguousarray(rle.decode(list(self.rles)).transpose(2, 0, 1)).astype(bool)

    def above(self, score: float) -> Instances:
        """Those with at least this score."""
        kept = np.flatnonzero(self.scores >= score)
        return Instances(
            self.size,
            self.boxes[kept],
            self.labels[kept],
            self.category_ids[kept],
            tuple(self.names[i] for i in kept),
            self.scores[kept],
            tuple(self.rles[i] for i in kept),
        )

    def coco(self, image_id: int) -> list[dict[str, Any]]:
        """COCO results: image_id, category_id, category_name, bbox (xywh), score, segmentation (RLE)."""
        rows = zip(self.category_ids.tolist(), self.names, self.boxes, self.scores, self.rles, strict=True)
        return [
            {
                "image_id": image_id,
                "category_id": category,
                "category_name": name,
                "bbox": [round(float(value), 2) for value in (x0, y0, x1 - x0, y1 - y0)],
                "score": round(float(score), 6),
                "segmentation": {"size": list(mask["size"]), "counts": _text(mask["counts"])},
            }
            for category, name, (x0, y0, x1, y1), score, mask in rows
        ]


class Model:
    """A trained run.

    folder:      the run's
    recipe:      all settings that it was trained with
    categories:  category id -> class name, in the order of the network's labels
    names:       the class names in this order
    fills_boxes: True: it gives a mask to each box that it is given; False: it finds the objects itself
    device:      torch device that it runs on
    """

    def __init__(self, folder: str | Path, device: str | None = None) -> None:
        """As `wsis.load`."""
        self.folder = Path(folder)
        if not (self.folder / "recipe.json").exists():
            raise WsisError(f"{self.folder}: no folder of a trained run: it has no recipe.json")
        if not (self.folder / ABOUT).exists():
            text = "a run of a former version; evaluate it once more by its id, which writes that file"
            raise WsisError(f"{self.folder}: no {ABOUT}: {text}")
        self.recipe = stored_recipe(self.folder)
        self.categories = known_categories(self.folder)
        self.names = tuple(self.categories.values())
        self.fills_boxes = info_of(self.recipe.method).fills_boxes
        self.device = _device(device)
        self.method, _ = trained_method(self.folder, self.recipe, len(self.names))
        self.method.to(self.device).eval()

    @overload
    def predict(self, images: Picture, boxes: Any = None, labels: Any = None) -> Instances: ...

    @overload
    def predict(
        self, images: Sequence[Picture], boxes: Any = None, labels: Any = None
    ) -> list[Instances]: ...

    def predict(self, images, boxes=None, labels=None):
        """The instances of an image, or a list with those of each image of a list.

        images: a file's path, a PIL image, or h x w x 3 uint8 RGB (h x w: grey). A file is turned as its EXIF
                orientation says.
        boxes, labels: where `fills_boxes`; as those of `masks_of`

        Raises WsisError for an image that can't be read, and where the method needs something else.
        """
        if boxes is not None and not self.fills_boxes:
            method = self.recipe.method
            raise WsisError(f"method '{method}' finds the objects itself; masks of given boxes: masks_of")
        if is_one(images):
            boxes = None if boxes is None else [boxes]
            return next(self.stream([images], boxes, None if labels is None else [labels]))
        return list(self.stream(images, boxes, labels))

    @overload
    def masks_of(self, images: Picture, boxes: Any, labels: Any = None) -> Instances: ...

    @overload
    def masks_of(self, images: Sequence[Picture], boxes: Any, labels: Any = None) -> list[Instances]: ...

    def masks_of(self, images, boxes, labels=None):
        """A mask for each given box, in the order of the boxes, and cut to it; every method gives them.

        images: as those of `predict`
        boxes:  n x 4, xyxy pixels, of the image; for a list of images one such an image
        labels: of these boxes, class names or positions in `names`, None where one is not known; for a list
                of images one list an image. None: no class is known, and the network says which it sees.
                Methods whose masks know no class say the first one.

        The scores say how certain the masks are. Raises WsisError as `predict`, and where the method can't.
        """
        if is_one(images):
            return next(self.stream([images], [boxes], None if labels is None else [labels]))
        return list(self.stream(images, boxes, labels))

    def stream(
        self, images: Iterable[Picture], boxes: Iterable | None = None, labels: Iterable | None = None
    ) -> Iterator[Instances]:
        """The instances of each image, or with boxes the masks of these; a few images are held at a time."""
        sizes: dict[int, tuple[int, int]] = {}

        def samples() -> Iterator[structures.Memo]:
            for number, (image, *given) in enumerate(beside(images, boxes, labels)):
                pixels = read_pixels(image)
                sizes[number] = pixels.shape[:2]
                yield self._sample(pixels, number, *given)

        for sample, instances in predicted(self.method, samples(), self.device, boxes is not None):
            yield self._public(instances, sizes.pop(sample.id))

    def _sample(self, pixels: np.ndarray, number: int, boxes: Any, labels: Any) -> structures.Memo:
        if boxes is None:
            return self.method.image_sample(pixels, number)
        try:
            given = np.asarray(boxes, np.float32).reshape(-1, 4)
        except (TypeError, ValueError):
            raise WsisError("boxes: expected n x 4 numbers, xyxy pixels") from None
        return self.method.box_sample(pixels, number, given, self._labels(labels, len(given)))

    def _labels(self, kinds: Sequence[str | int | None] | None, count: int) -> np.ndarray:
        """Positions in `names`, count int64; -1 for None."""
        kinds = [None] * count if kinds is None else list(kinds)
        if len(kinds) != count:
            raise WsisError(f"{len(kinds)} labels for {count} boxes")
        known = {None: -1, **{name: number for number, name in enumerate(self.names)}}
        for kind in kinds:
            if kind not in known and kind not in range(len(self.names)):
                raise WsisError(f"no class {kind!r} (there are: {', '.join(self.names)})")
        return np.array([known.get(kind, kind) for kind in kinds], np.int64)

    def _public(self, instances: structures.Instances, size: tuple[int, int]) -> Instances:
        labels = instances.labels.cpu().numpy()
        ids = np.array(list(self.categories), np.int64)
        return Instances(
            size,
            instances.boxes.float().cpu().numpy().reshape(-1, 4),
            labels,
            ids[labels],
            tuple(self.names[label] for label in labels),
            instances.scores.float().cpu().numpy(),
            tuple(instances.masks),
        )


def is_one(images: Any) -> bool:
    """Whether it is one image, as `Model.predict` takes it, and no list of them."""
    return isinstance(images, (str, Path, np.ndarray, Image.Image))


def beside(images: Iterable, *others: Iterable | None) -> Iterator[tuple]:
    """Each image with what the others have for it, None where they are None. WsisError where some lack."""
    iterators = [repeat(None) if each is None else iter(each) for each in others]
    for image in images:
        parts = [next(each, MISSING) for each in iterators]
        if any(part is MISSING for part in parts):
            raise WsisError("boxes and labels: give a list for each image")
        yield image, *parts


def read_pixels(image: Picture) -> np.ndarray:
    """h x w x 3 uint8 RGB of what `Model.predict` takes. Raises WsisError where it is none of that."""
    if isinstance(image, (str, Path)):
        return _read_upright(Path(image))
    if isinstance(image, Image.Image):
        try:
            return eight_bit(image, "RGB")
        except PixelsRefused as error:
            raise WsisError(f"an image of {error}") from None
    if not isinstance(image, np.ndarray):
        raise WsisError(f"{type(image).__name__}: expected a path, a PIL image or an array")
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise WsisError(f"array of {image.dtype} {image.shape}: expected h x w x 3 uint8 RGB, or h x w grey")
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, 2)


def _read_upright(path: Path) -> np.ndarray:
    """A file's pixels by the rule of all readers, then turned as its EXIF orientation says."""
    try:
        with Image.open(path) as file:
            (width, height), turn = file.size, orientation(file)
    except FileNotFoundError:
        raise WsisError(f"{path}: no such image") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise WsisError(f"{path}: is no image that can be read ({error})") from None
    picture = Image.fromarray(read_image(path, height, width))
    picture.getexif()[ORIENTATION] = turn
    return np.array(ImageOps.exif_transpose(picture))


def _device(name: str | None) -> torch.device:
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise WsisError(f"device {name}: {str(error).splitlines()[0]}") from None
    return torch.device(name)


def _text(counts: bytes | str) -> str:
    return counts.decode("ascii") if isinstance(counts, bytes) else counts
