"""Images of noise."""

import numpy as np
from numpy.typing import NDArray


def noise(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    """The same for the same area: uint8 [height, width, channels]."""
    random = np.random.default_rng(height * width)
    return random.integers(0, 256, (height, width, channels), np.uint8)
