"""Semantic maps of a root's images: all that BAISeg trains on, and what it may be given at inference.

A map is uint8, of its image's size: 0 background, 1 to C the classes (label + 1), VOID where not known.
h x w image, C classes, n objects of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from wsis.data import voc
from wsis.data.annotations import Annotations, Picture
from wsis.data.masks import decode_mask
from wsis.data.roots import Root
from wsis.errors import WsisError

VOID = voc.VOID  # 255
BAND = 3.0  # pixels: half of the void band that VOC draws around each object
GROUND_TRUTH = "ground_truth"
FORMAT = "an 8-bit PNG of the image's size: 0 background, class position + 1, 255 unknown"

Mask = tuple[int, bool, list | dict]  # label, crowd, segmentation


class SemanticMaps:
    """The maps of one split, from the root's ground truth or another source.

    source "ground_truth": <root>/semantic/<split>/<stem>.png of `shapes`, SegmentationClass/<stem>.png of
    VOC; of COCO they are painted from the split's annotations (`paint_classes`). Any other source, whatever
    the data set: <root>/semantic/<source>/<stem>.png, for every split.
    Raises WsisError where the folder or the annotations are missing.
    """

    def __init__(self, root: Root, split: str, source: str = GROUND_TRUTH) -> None:
        self.classes, self.source = root.num_classes, source
        if self.classes >= VOID:
            raise WsisError(f"{root.path}: {self.classes} classes; a semantic map holds at most {VOID - 1}")
        self.painted = source == GROUND_TRUTH and root.dataset == "coco"
        self.banded = source == GROUND_TRUTH and root.dataset == "voc"
        self.known = np.isin(np.arange(256), [*range(self.classes + 1), VOID])
        if self.painted:
            self.folder = root.path / "annotations" / f"instances_{split}.json"  # for messages
            self.table = _checked(root, split, self.folder)
            self.labels_of = {id: label for label, id in enumerate(root.category_ids)}
            return
        if source != GROUND_TRUTH:
            self.folder = root.path / "semantic" / source
        elif root.dataset == "voc":
            self.folder = root.path / "SegmentationClass"
        else:
            self.folder = root.path / "semantic" / split
        if not self.folder.is_dir():
            raise WsisError(f"{self.folder}: missing; put there, for each image, <its name>.png, {FORMAT}")

    def read(self, picture: Picture) -> np.ndarray:
        """The picture's map, h x w uint8.

        Raises WsisError naming the file where it is missing, can't be read, is of another size than the
        image, or has values that are no class.
        """
        if self.painted:
            return self._paint(picture)
        path = self.folder / f"{picture.path.stem}.png"
        if not path.exists():
            raise WsisError(f"{path}: missing; put the semantic map of {picture.path.name} there, {FORMAT}")
        semantic = voc.read_indices(path)
        if semantic.shape != (picture.height, picture.width):
            raise WsisError(
                f"{path}: is {semantic.shape[1]}x{semantic.shape[0]} (width x height), its image"
                f" {picture.width}x{picture.height}; a semantic map has its image's size"
            )
        if not self.known[semantic].all():
            unknown = sorted(set(np.unique(semantic).tolist()) - set(np.flatnonzero(self.known).tolist()))
            raise WsisError(
                f"{path}: has values {unknown[:5]} that are no class; use 0, 1 to {self.classes}, and {VOID}"
            )
        return semantic

    def labels(self, picture: Picture) -> np.ndarray:
        """The map that is learnt from: as `read`, but without the bands of void around VOC's objects.

        Through them classes never touch, and no pixel would be a contour (erratum boundary-labels).
        """
        return self.filled(self.read(picture))[0]

    def filled(self, semantic: np.ndarray, *maps: np.ndarray) -> tuple[np.ndarray, ...]:
        """A map that was read and others of the image, such as its instances, all without VOC's bands."""
        return without_bands(semantic, *maps) if self.banded else (semantic, *maps)

    def _paint(self, picture: Picture) -> np.ndarray:
        table, row = self.table, int(np.searchsorted(self.table.ids, picture.id))
        if row == len(table.ids) or table.ids[row] != picture.id:
            return np.zeros((picture.height, picture.width), np.uint8)
        first, last = table.starts[row : row + 2].tolist()
        try:
            masks = [
                (self.labels_of[int(table.categories[at])], bool(table.crowd[at]), table.outline(at))
                for at in range(first, last)
            ]
            return paint_classes(masks, picture.height, picture.width)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise WsisError(
                f"{self.folder}: a segmentation of image {picture.id} can't be drawn ({error}); run"
                " `wsis data check` on the root"
            ) from None


def without_bands(semantic: np.ndarray, *maps: np.ndarray) -> tuple[np.ndarray, ...]:
    """h x w uint8 with each void pixel within BAND of a known one given the nearest one's label.

    Bands between two objects of one class become that class: no trace of a border between them is left.
    maps: h x w each, filled from the same pixels, so that their borders lie where the semantic map's do.
    """
    void = semantic == VOID
    if not void.any() or void.all():
        return semantic, *maps
    reach = int(BAND)
    apart = np.pad(void, reach, constant_values=True).ravel()  # outside of the image nothing is known
    width = void.shape[1] + 2 * reach
    rows, columns = void.nonzero()
    here = (rows + reach) * width + columns + reach
    nearest = here.copy()
    left = np.arange(len(here))
    for row, column in _near(reach):
        known = ~apart[here[left] + row * width + column]
        nearest[left[known]] += row * width + column
        left = left[~known]
    from_rows, from_columns = np.divmod(nearest, width)
    filled = [array.copy() for array in (semantic, *maps)]
    for array in filled:
        array[rows, columns] = array[from_rows - reach, from_columns - reach]
    return tuple(filled)


@cache
def _near(reach: int) -> list[tuple[int, int]]:
    """Moves by rows and columns of at most BAND pixels, the shortest first; of equal ones, up and left."""
    line = range(-reach, reach + 1)
    moves = [(row, column) for row in line for column in line if 0 < row**2 + column**2 <= BAND**2]
    return sorted(moves, key=lambda move: (move[0] ** 2 + move[1] ** 2, move))


def paint_classes(objects: Sequence[Mask], height: int, width: int) -> np.ndarray:
    """h x w uint8: smaller objects over larger ones, all of them over crowd regions, which are VOID.

    Only which masks there are counts, not their order or ids: of equal size, the higher label is on top.
    """
    areas = [(segmentation, label, crowd) for label, crowd, segmentation in objects]
    drawn = [
        (decode_mask(s, height, width), VOID if crowd else label + 1, crowd) for s, label, crowd in areas
    ]
    drawn.sort(key=lambda item: (not item[2], -int(item[0].sum()), item[1]))
    semantic = np.zeros((height, width), np.uint8)
    for mask, value, _ in drawn:
        semantic[mask] = value
    return semantic


def paint_instances(picture: Picture) -> np.ndarray:
    """h x w int16: 0 no object, 1, 2, ... the picture's objects, painted as `paint_classes` does.

    Crowd regions are no objects. Raises WsisError where a mask is hidden or can't be drawn.
    """
    height, width = picture.height, picture.width
    try:
        drawn = [
            (decode_mask(i.segmentation, height, width), i.label) for i in picture.instances if not i.crowd
        ]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise WsisError(
            f"{picture.path}: a mask of image {picture.id} is hidden or can't be drawn ({error}); use"
            " data.supervision 'masks', and run `wsis data check` on the root"
        ) from None
    drawn.sort(key=lambda item: (-int(item[0].sum()), item[1]))
    instances = np.zeros((height, width), np.int16)
    for number, (mask, _) in enumerate(drawn, 1):
        instances[mask] = number
    return instances


def _checked(root: Root, split: str, file: object) -> Annotations:
    """COCO's annotations, of whose masks only the classes are kept; each has to have both."""
    table = root.table(split)
    unknown, bare = ~np.isin(table.categories, root.category_ids), ~table.outlined
    for row in np.flatnonzero(unknown | bare)[:1]:
        number, image = table.numbers[row], table.ids[np.searchsorted(table.starts, row, "right") - 1]
        if unknown[row]:
            raise WsisError(
                f"{file}: annotation {number} has category {table.categories[row]}, which is not among the"
                " root's categories; run `wsis data check` on the root"
            )
        raise WsisError(
            f"{file}: annotation {number} has no mask to paint the semantic map of image {image} with; give"
            " its mask, or semantic maps as files"
        )
    return table
