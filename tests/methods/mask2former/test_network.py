"""The network against transformers' whole model, and in half precision."""

import torch
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

from tests.methods.scenes import batch, recipe
from wsis.methods import build_method
from wsis.methods.mask2former.network import QueryHead


def test_on_the_same_weights_it_is_the_package_s_whole_model():
    """Classes and masks of every prediction, on the features of the package's own backbone."""
    torch.manual_seed(0)
    stages = [f"stage{i}" for i in range(1, 5)]
    swin = SwinConfig(
        image_size=64,
        embed_dim=16,
        depths=[1] * 4,
        num_heads=[1, 1, 2, 2],
        window_size=4,
        out_features=stages,
    )
    sides = {"feature_size": 32, "mask_feature_size": 32, "hidden_dim": 32, "dim_feedforward": 48}
    layers = {"encoder_layers": 2, "decoder_layers": 4, "encoder_feedforward_dim": 48}
    config = Mask2FormerConfig(backbone_config=swin, num_queries=7, num_labels=5, **sides, **layers)
    whole = Mask2FormerForUniversalSegmentation(config).eval()
    pixels = whole.model.pixel_level_module
    head = QueryHead(config, pixels.encoder.channels, 5).eval()
    head.pixel_decoder.load_state_dict(pixels.decoder.state_dict())
    head.transformer_module.load_state_dict(whole.model.transformer_module.state_dict())
    head.class_predictor.load_state_dict(whole.class_predictor.state_dict())
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = whole(images, output_auxiliary_logits=True)
        found = head(list(pixels.encoder(images).feature_maps))
    predictions = [*expected.auxiliary_logits, expected]
    assert len(predictions) == len(found.masks) == len(found.classes) == 4
    for prediction, classes, masks in zip(predictions, found.classes, found.masks, strict=True):
        torch.testing.assert_close(classes, prediction["class_queries_logits"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(masks, prediction["masks_queries_logits"], rtol=1e-4, atol=1e-5)


def test_in_half_precision_losses_are_near_and_in_full_precision():
    torch.manual_seed(0)
    method = build_method(recipe(model__head="mask2former"), 3).eval()
    generator = torch.Generator()
    with torch.no_grad():
        full = method.losses(batch(), generator)
        with torch.autocast("cpu", torch.bfloat16):
            half = method.losses(batch(), generator)
    for name, value in full.items():
        assert half[name].dtype == torch.float32
        torch.testing.assert_close(half[name], value, rtol=0.05, atol=0.02)
