"""Bicubic is MATLAB's, the metrics are scikit-image's, and the shared table comes out again."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from hcflow_ref.evaluation import metrics
from hcflow_ref.images import bicubic
from hcflow_ref.images.photographs import PHOTOGRAPHS, photograph, photographs
from hcflow_ref.images.tensors import to_image, to_tensor


def nchw(x):
    return torch.from_numpy(x).permute(2, 0, 1)[None]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_bicubic_is_matlabs(dtype):
    golden = np.load("tests/golden/bicubic_io.npz")
    tolerance = 1e-14 if dtype == torch.float64 else 1e-6
    x, down4 = nchw(golden["x"]).to(dtype), nchw(golden["down4"]).to(dtype)
    for made, expected in (
        (bicubic.downscale(x, 4), "down4"),
        (bicubic.downscale(x, 8), "down8"),
        (bicubic.upscale(down4, 4), "up4_of_down4"),
    ):
        assert made.dtype == dtype
        torch.testing.assert_close(made, nchw(golden[expected]).to(dtype), atol=tolerance, rtol=0)


def test_bicubic_keeps_a_constant_and_refuses_a_side_that_does_not_divide():
    flat = torch.full((1, 1, 8, 12), 0.3, dtype=torch.float64)
    assert (bicubic.downscale(flat, 4) - 0.3).abs().max() < 1e-15
    with pytest.raises(ValueError, match="multiple"):
        bicubic.downscale(flat, 5)


def noisy(image, seed=0):
    noise = np.random.default_rng(seed).normal(0, 12, image.shape)
    return np.clip(image + noise, 0, 255).round().astype(np.uint8)


def test_psnr_is_scikit_images_inside_the_border():
    truth = photograph("chelsea")[:64, :80]
    image = noisy(truth)
    got = metrics.fidelity(image, truth, 4)
    a, b = image[4:-4, 4:-4], truth[4:-4, 4:-4]
    assert got.psnr == pytest.approx(peak_signal_noise_ratio(b, a), abs=1e-10)
    assert got.psnr_y > got.psnr


def test_equal_images_have_infinite_psnr_and_ssim_one():
    truth = photograph("coffee")[:40, :40]
    same = metrics.fidelity(truth, truth, 4)
    assert (same.psnr, same.psnr_y) == (math.inf, math.inf)
    assert same.ssim == pytest.approx(1)


def test_luma_spans_16_to_235():
    black_and_white = np.array([[[0, 0, 0], [255, 255, 255]]], dtype=np.uint8)
    assert metrics.luma(black_and_white).ravel() == pytest.approx([16, 235])


def test_images_that_cannot_be_compared_are_refused():
    image = photograph("rocket")[:30, :30]
    with pytest.raises(ValueError, match="shape"):
        metrics.psnr(image, image[:20])
    with pytest.raises(ValueError, match="border"):
        metrics.fidelity(image, image, 15)
    with pytest.raises(ValueError, match="11×11"):
        metrics.fidelity(image, image, 12)


def test_diversity_is_the_mean_standard_deviation_and_zero_for_equal_samples():
    image = photograph("rocket")[:20, :20]
    assert metrics.diversity([image, image]) == 0
    assert metrics.diversity([np.zeros_like(image), np.full_like(image, 10)]) == 5


def test_bicubic_upscaling_is_consistent_and_another_image_is_not():
    truth = photograph("astronaut", 4)[100:228, 100:228]
    lr = metrics.bicubic_downscale(truth, 4)
    assert metrics.consistency(truth, lr, 4).psnr == math.inf
    assert metrics.consistency(truth[::-1], lr, 4).psnr < 20


def test_images_round_trip_and_nan_is_not_hidden():
    image = photograph("coffee")[:8, :12]
    assert (to_image(to_tensor(image)) == image).all()
    with pytest.raises(ValueError, match="NaN"):
        to_image(torch.full((3, 2, 2), torch.nan))


def test_photographs_are_cropped_to_the_scale():
    assert tuple(photographs(8)) == PHOTOGRAPHS
    for image in photographs(8).values():
        assert image.shape[0] % 8 == 0
        assert image.shape[1] % 8 == 0
    assert photograph("chelsea", 4).shape == (300, 448, 3)
    with pytest.raises(ValueError, match="astronaut"):
        photograph("lena")


SHARED_BICUBIC = {
    "astronaut": (25.34, 0.8144),
    "chelsea": (30.05, 0.7811),
    "coffee": (25.80, 0.7369),
    "rocket": (27.49, 0.8216),
}


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_the_bicubic_column_of_the_published_table_comes_out_again(name):
    truth = photograph(name, 4)
    up = metrics.bicubic_upscale(metrics.bicubic_downscale(truth, 4), 4)
    got = metrics.fidelity(up, truth, 4)
    psnr, ssim = SHARED_BICUBIC[name]
    assert got.psnr == pytest.approx(psnr, abs=0.0051)
    assert got.ssim == pytest.approx(ssim, abs=0.000051)
