"""Degraded LR images: blurred, downscaled and compressed, by chance but repeatably."""

from dataclasses import replace

import pytest
import torch

from hcflow_ref.errors import TrainingError
from hcflow_ref.images import bicubic
from hcflow_ref.network.lr_image import quantise
from hcflow_ref.training.config.toml_file import check
from hcflow_ref.training.data.degradation import Degradation, degraded, gaussian, jpeg
from hcflow_ref.training.distributed import Process
from hcflow_ref.training.setup import build
from tests.support.training_runs import small_run

CPU = Process(torch.device("cpu"))


def patches(count=1, side=32):
    coarse = torch.rand(count, 3, side // 4, side // 4, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, scale_factor=4, mode="nearest")


def test_without_blur_and_jpeg_it_is_the_bicubic_lr_image():
    hr = patches()
    assert torch.equal(degraded(hr, 4), quantise(bicubic.downscale(hr, 4)))


def test_the_blur_keeps_flat_fields_and_has_its_standard_deviation():
    flat = torch.full((1, 3, 20, 24), 0.3)
    torch.testing.assert_close(gaussian(flat, 2.0), flat)
    point = torch.zeros(1, 1, 41, 41)
    point[..., 20, 20] = 1
    at = torch.arange(41.0) - 20
    spread = (gaussian(point, 2.0).sum(2)[0, 0] * at.square()).sum().sqrt()
    assert spread.item() == pytest.approx(2.0, rel=0.02)
    assert gaussian(point, 0.0) is point


def test_lower_qualities_are_further_from_the_image():
    lr = quantise(patches())
    errors = [(jpeg(lr, quality) - lr).abs().mean().item() for quality in (95, 60, 20)]
    assert 0 < errors[0] < errors[1] < errors[2]
    assert torch.equal(quantise(jpeg(lr, 60)), jpeg(lr, 60))


def test_draws_follow_from_the_generator_and_leave_some_patches_clean():
    hr, drawn = patches(32), Degradation(blur=2.0, jpeg_quality=40)
    lr = drawn.draw(hr, 4, torch.Generator().manual_seed(1))
    assert torch.equal(lr, drawn.draw(hr, 4, torch.Generator().manual_seed(1)))
    assert not torch.equal(lr, drawn.draw(hr, 4, torch.Generator().manual_seed(2)))
    clean = quantise(bicubic.downscale(hr, 4))
    same = (lr == clean).flatten(1).all(1).sum()
    assert 2 <= same <= 16


def test_hcflow_plus_learns_from_the_degraded_and_keeps_its_own_lr_image():
    config = small_run("nll+l1", data={"jpeg_quality": 20, "batch": 4})
    state, losses = build(config, CPU)
    hr = patches(4)
    lr = quantise(bicubic.downscale(hr, 4))
    given = []
    real = state.model.inverse

    def inverse(lr, latents):
        given.append(lr)
        return real(lr, latents)

    state.model.inverse = inverse
    losses.objective("l1", hr, lr, torch.Generator().manual_seed(0))
    losses.objective("nll", hr, lr, torch.Generator().manual_seed(0))
    assert len(given) == 1
    assert not torch.equal(given[0], lr)


@pytest.mark.parametrize("values", [{"blur": 1.0}, {"jpeg_quality": 40}])
def test_other_objectives_are_given_no_lr_image_to_degrade(values):
    with pytest.raises(TrainingError, match=r"'rescaling' has none"):
        check(small_run("rescaling", data=values))


def test_a_quality_that_training_never_draws_is_refused():
    config = small_run("nll+l1")
    with pytest.raises(TrainingError, match=r"'data\.jpeg_quality' is 95, expected less than 95"):
        check(replace(config, data=replace(config.data, jpeg_quality=95)))
