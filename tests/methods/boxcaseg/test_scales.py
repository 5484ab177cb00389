"""What BoxCaseg's first stage takes in at the small scales and at the papers'."""

import pytest
import torch

from wsis.methods.boxcaseg.crops import normalise_patch
from wsis.plan import make_plan


def rules(scale):
    """How patches are normalised in all trained first stages of a scale, warm-ups among them."""
    recipes = (run.recipe for run in make_plan(scale, seeds=(0,)).runs.values())
    return {recipe.boxcaseg.normalise for recipe in recipes if recipe.method == "boxcaseg"}


def contrast(rule):
    """Deviation of the same pixels as a salient patch, over theirs as a box patch."""
    pixels = torch.randint(0, 256, (4, 3, 48, 48), generator=torch.Generator().manual_seed(0))
    return (normalise_patch(pixels, True, rule).std() / normalise_patch(pixels, False, rule).std()).item()


def test_from_scratch_both_kinds_of_patches_have_the_same_contrast():
    """Batch norm has statistics of both kinds together; at inference there are box patches alone."""
    (rule,) = rules("tiny")
    assert contrast(rule) == pytest.approx(1)


def test_the_papers_scale_keeps_the_released_normalisations():
    assert rules("paper") == {"two"}
    assert contrast("two") > 4
