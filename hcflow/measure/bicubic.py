"""MATLAB's bicubic resizing (`imresize`) in NumPy: `hcflow_ref.images.bicubic` without PyTorch.

Antialiased, a = −0.5, symmetric border: what every published figure of this field means by
"bicubic".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

A = -0.5
"""The cubic kernel's free parameter."""


def resize(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize an image H×W×C to `height` × `width`, rounded and clipped to 8 bits."""
    rows, columns = _matrix(image.shape[0], height), _matrix(image.shape[1], width)
    resized = np.einsum("yh,hwc,xw->yxc", rows, image.astype(np.float64), columns, optimize=True)
    rounded: NDArray[np.uint8] = resized.round().clip(0, 255).astype(np.uint8)
    return rounded


def _matrix(inputs: int, outputs: int) -> NDArray[np.float64]:
    """The matrix, `outputs` × `inputs`, that resizes one axis; each row sums to 1.

    Downscaling widens the kernel by the scale; samples beyond a border are mirrored.
    """
    step = inputs / outputs
    stretch = max(step, 1.0)
    centre = (np.arange(outputs) + 0.5) * step - 0.5
    first = np.floor(centre - 2 * stretch)
    position = first[:, None] + np.arange(int(np.ceil(4 * stretch)) + 2)
    weight = _cubic(np.abs(centre[:, None] - position) / stretch)
    mirrored = position.astype(int) % (2 * inputs)
    mirrored = np.where(mirrored < inputs, mirrored, 2 * inputs - 1 - mirrored)
    matrix = np.zeros((outputs, inputs))
    np.add.at(
        matrix, (np.arange(outputs)[:, None], mirrored), weight / weight.sum(1, keepdims=True)
    )
    return matrix


def _cubic(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' kernel at distance `t`; 0 from 2 on."""
    near = (A + 2) * t**3 - (A + 3) * t**2 + 1
    far = A * t**3 - 5 * A * t**2 + 8 * A * t - 4 * A
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))
