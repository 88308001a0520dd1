"""Neutral pictures in training: colour in their LR image costs, and is lost as in the runtime."""

import numpy as np
import pytest
import torch

from hcflow_ref.checkpoint.load import load
from hcflow_ref.images import bicubic
from hcflow_ref.network.lr_image import quantise
from hcflow_ref.training.data.gray import some_in_gray
from hcflow_ref.training.losses.neutral import colour_of_neutral, colour_share, keep_neutral, pull
from hcflow_ref.training.losses.objectives import Objective
from runtime.images.pixels import neutral
from tests.support.training_runs import small_run


def batch():
    hr = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return hr, quantise(bicubic.downscale(hr, 4))


def test_colour_in_the_lr_image_costs_only_where_the_bicubic_one_is_neutral():
    truth = torch.full((1, 3, 1, 2), 0.5)
    truth[:, 0, :, 1] = 0.6
    made = torch.full((1, 3, 1, 2), 0.7)
    assert colour_of_neutral(made, truth) == 0
    made[:, 2, :, 1] = 0.1
    assert colour_of_neutral(made, truth) == 0
    made[:, 2, :, 0] = 0.4
    assert colour_of_neutral(made, truth).item() == pytest.approx((0.1**2 * 2 + 0.2**2) / 6)


def test_a_neutral_weight_adds_the_colour_of_neutral_pictures_to_the_losses():
    model = load("tests/golden/rescale_x4_small.safetensors").model
    hr = batch()[0].mean(1, keepdim=True).expand(-1, 3, -1, -1)
    lr = quantise(bicubic.downscale(hr, 4))
    terms = [
        Objective(model, small_run(loss={"neutral_weight": weight}).loss)(
            "rescaling", hr, lr, torch.Generator().manual_seed(1)
        )
        for weight in (0.0, 50.0)
    ]
    assert terms[1].keys() - terms[0].keys() == {"neutral"}
    made = model(hr).lr
    expected = 50 * (made - made.mean(1, keepdim=True)).square().mean()
    assert terms[1]["neutral"].item() == pytest.approx(expected.item(), rel=1e-5)


def picture_with_a_coloured_corner() -> torch.Tensor:
    """One picture of 160×192, gray noise but for 24×24 pixels."""
    gray = torch.rand(1, 1, 160, 192, generator=torch.Generator().manual_seed(2))
    picture = gray.expand(-1, 3, -1, -1).clone()
    picture[:, :, :24, :24] = batch()[0][:1, :, :24, :24]
    return quantise(picture)


def test_training_keeps_as_much_colour_of_an_lr_image_as_the_runtime_does():
    hr = picture_with_a_coloured_corner()
    made = torch.rand(1, 3, 40, 48, generator=torch.Generator().manual_seed(3)) * 1.2 - 0.1
    share = colour_share(hr, 4)
    assert share.min() == 0
    assert share.max() == 1
    colours = neutral.ColourMap(40, 0, 4)
    colours.add(hr[0].numpy(), is_last=True)
    expected = made[0].numpy().copy()
    neutral.pull(expected, colours.weights(0, 40), neutral.FULL)
    np.testing.assert_allclose(
        keep_neutral(made, hr)[0].clamp(0, 1), expected.clip(0, 1), atol=2e-3
    )


def test_training_keeps_as_much_colour_of_a_restored_image_as_the_runtime_does():
    lr = picture_with_a_coloured_corner()
    made = torch.rand(1, 3, 640, 768, generator=torch.Generator().manual_seed(3))
    colours = neutral.ColourMap(160, 0, 1)
    colours.add(lr[0].numpy(), is_last=True)
    weights = neutral.enlarged(colours.weights(0, 160), 0, 0, 640, 4)
    expected = made[0].numpy().copy()
    neutral.pull(expected, weights, neutral.FULL * 4 * 4**2)
    np.testing.assert_allclose(
        keep_neutral(made, lr)[0].clamp(0, 1), expected.clip(0, 1), atol=2e-3
    )


def test_a_network_that_keeps_neutral_pictures_neutral_is_trained_without_their_chroma():
    model = load("tests/golden/rescale_x4_small.safetensors").model
    settings = small_run(loss={"keep_neutral": True, "tau": 0.0}).loss
    hr = batch()[0].mean(1, keepdim=True).expand(-1, 3, -1, -1)
    lr = quantise(bicubic.downscale(hr, 4))
    terms = Objective(model, settings)("rescaling", hr, lr, torch.Generator().manual_seed(1))
    given = quantise(pull(model(hr).lr, torch.zeros(1)))
    assert (given == given[:, :1]).all()
    made = pull(model.inverse(given, model.zero_latents(given)), torch.zeros(1))
    assert terms["hr"].item() == pytest.approx((made - hr).abs().mean().item(), rel=1e-5)


def test_so_many_patches_are_made_gray_by_their_luma():
    images = torch.rand(400, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    made = some_in_gray(images, 0.25, torch.Generator().manual_seed(1))
    gray = (made == made[:, :1]).flatten(1).all(1)
    assert 70 < gray.sum() < 130
    assert torch.equal(made[~gray], images[~gray])
    luma = (images * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    assert (made - luma)[gray].abs().max() <= 0.5 / 255 + 1e-6
    assert some_in_gray(images, 0.0, torch.Generator()) is images
