"""Which images are shown: those whose boxes say that something can be seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from wsis.data.annotations import Instance, Picture
from wsis.pictures.choice import choose, contested


def picture(id: int, *objects: tuple[int, tuple[float, ...]]) -> Picture:
    """objects: label and box."""
    instances = [Instance(i, label, box, False, None) for i, (label, box) in enumerate(objects)]
    return Picture(id, Path("none.png"), 100, 100, instances)


def test_overlapping_objects_of_one_class_come_first():
    near = ((0, (10, 10, 50, 50)), (0, (30, 30, 70, 70)))
    other_class = ((0, (10, 10, 50, 50)), (1, (30, 30, 70, 70)))
    pictures = [
        picture(1, near[0]),
        picture(2, *other_class),
        picture(3, (2, (0, 0, 99, 99)), *near),
        picture(4, *near, (0, (80, 80, 83, 83))),  # one too small to see
        picture(5, (0, (80, 80, 83, 83))),
    ]
    chosen = choose(pictures)
    assert [p.id for p, _ in chosen] == [3, 4, 2, 1]
    assert [shown for _, shown in chosen] == [[1, 2], [0, 1], [0, 1], [0]]
    assert len(chosen[1][0].instances) == 2 and len(pictures[3].instances) == 3
    assert [p.id for p, _ in choose(pictures, 1)] == [3]
    crowd = replace(pictures[0].instances[0], crowd=True)
    assert choose([replace(pictures[0], instances=[crowd])]) == []


def test_images_with_contested_boxes_come_first_whatever_their_classes():
    apart = ((0, (0, 0, 20, 20)), (1, (50, 50, 90, 90)))
    touching = ((0, (0, 0, 40, 40)), (1, (38, 0, 80, 40)))
    over = ((0, (0, 0, 90, 90)), (1, (80, 80, 100, 100)))  # a quarter of the small one
    inside = ((0, (0, 0, 90, 90)), (1, (20, 20, 30, 30)))
    many = [(i % 2, (0, 0, 10 + i, 10)) for i in range(7)]
    pictures = [picture(1, *apart), picture(2), picture(3, *touching), picture(4, *many), picture(5, *inside)]
    pictures.append(picture(6, *over))
    assert [p.id for p in contested(pictures)] == [5, 4, 1, 3, 6]
    assert [p.id for p in contested(pictures * 2)] == [5, 5, 4, 4, 1, 3], "six at most"
    only = picture(7, (0, (0, 0, 50, 50)))
    only.instances[0].crowd = True
    assert contested([only]) == []
