"""The benchmark's scenes are what it says, and its time does not grow with the square of the objects."""

import numpy as np

from wsis.methods.baiseg.bench import COUNTS, GOAL, HEIGHT, WIDTH, measure, scene


def test_scenes_have_touching_objects_and_maps_in_range():
    image, boundary, semantic = scene(0, 40)
    assert image.shape == (HEIGHT, WIDTH, 3) and image.dtype == semantic.dtype == np.uint8
    assert boundary.dtype == np.float32 and boundary.min() >= 0 and boundary.max() <= 1
    assert 0.3 < (semantic > 0).mean() < 0.6


def test_it_reaches_its_goal_and_grows_less_than_with_the_square():
    result = measure(images=2)
    for row in result["rows"]:
        assert row["images_per_second"] > GOAL
        assert 0.7 * row["objects"] <= row["found"] <= 1.3 * row["objects"]
        assert all(seconds > 0 for seconds in row["steps"].values())
    for growth in result["growth"].values():
        assert growth < COUNTS[-1] / COUNTS[0]
