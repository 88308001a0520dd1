"""Bicubic without PyTorch is the reference's bicubic."""

import numpy as np
import pytest
from numpy.typing import NDArray

from hcflow.measure import bicubic
from hcflow_ref.evaluation import metrics
from hcflow_ref.images.photographs import photograph


@pytest.mark.parametrize("scale", [4, 8])
def test_numpy_gives_the_bicubic_of_the_reference(scale: int) -> None:
    image = photograph("chelsea", scale)
    height, width = image.shape[:2]
    small = bicubic.resize(image, height // scale, width // scale)
    equal_but_for_ties(small, metrics.bicubic_downscale(image, scale))
    restored = bicubic.resize(small, height, width)
    equal_but_for_ties(restored, metrics.bicubic_upscale(small, scale))


def equal_but_for_ties(ours: NDArray[np.uint8], theirs: NDArray[np.uint8]) -> None:
    """The reference computes in float32: a value halfway between two levels may fall either way."""
    off = np.abs(ours.astype(int) - theirs)
    assert off.max() <= 1
    assert off.mean() < 1e-3
