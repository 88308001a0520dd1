"""A τ map sets the temperature at each place, the same in any window."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from runtime import ImageError, Model
from runtime.inference.tau_map import TauMap
from tests.support.noise import noise


def test_a_tau_map_sets_the_temperature_by_region(tiny_model: Model) -> None:
    image = noise(12, 16) / 255
    mask = np.zeros((12, 16), np.uint8)
    mask[:, 8:] = 255
    drawn = tiny_model.upscale(image, tau=0.4, tau_map=Image.fromarray(mask))
    calm, lively = tiny_model.upscale(image, tau=0.0), tiny_model.upscale(image, tau=0.4)
    np.testing.assert_array_equal(drawn[:, :28], calm[:, :28])
    np.testing.assert_array_equal(drawn[:, 36:], lively[:, 36:])
    white = Image.new("L", (3, 3), 255)
    np.testing.assert_array_equal(tiny_model.upscale(image, tau=0.4, tau_map=white), lively)
    colour = np.zeros((3, 3, 3), np.uint16)  # how a file of 16-bit colour is read
    for wrong in (Image.fromarray(noise(3, 3)), colour):
        with pytest.raises(ImageError, match="it must be a gray image without alpha"):
            tiny_model.upscale(image, tau=0.4, tau_map=wrong)


@given(
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    mask=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    corner=st.tuples(st.integers(0, 29), st.integers(0, 29)),
)
def test_a_tau_map_has_one_value_at_each_place(
    size: tuple[int, int], mask: tuple[int, int], corner: tuple[int, int]
) -> None:
    gray = Image.fromarray(noise(*mask, 1)[..., 0])
    tau_map = TauMap.of(gray, *size)
    whole = tau_map.window(*size, 0, 0, *size)
    top, left = min(corner[0], size[0] - 1), min(corner[1], size[1] - 1)
    part = tau_map.window(*size, top, left, size[0] - top, size[1] - left)
    np.testing.assert_array_equal(part, whole[top:, left:])
    assert 0 <= whole.min() <= whole.max() <= 1
