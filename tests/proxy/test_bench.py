"""The benchmark's two ways agree, and its numbers are there."""

from wsis.methods.boxcaseg.bench import measure, plain_merge, scene


def test_it_measures_and_checks_both_ways():
    result = measure(seconds=0.05, images=6)
    assert result["masks"] % 42 == 0
    assert result["masks_per_second"] > result["plain_masks_per_second"] > 0
    assert 0 < result["drop_rate"] < 1
    assert set(result["peak_kb"]) == {"6", "24"}


def test_the_scene_has_contested_pixels():
    images = [scene(id) for id in range(5)]
    changed = [
        entry["rle"]["counts"] != merged["counts"]
        for image in images
        for entry, merged in zip(image["objects"], plain_merge(image), strict=True)
    ]
    assert sum(changed) >= 5
