"""The four evaluation photographs, which ship inside scikit-image.

No network is ever trained, calibrated or selected on them.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
"""Names in scikit-image, in the order of every table."""


def crop_to_multiple(image: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """H×W×C cropped at the bottom and right so that both sides are multiples of `scale`."""
    height, width = image.shape[:2]
    return image[: height - height % scale, : width - width % scale]


def photograph(name: str, scale: int = 1) -> NDArray[np.uint8]:
    """The photograph as H×W×3 uint8 RGB, sides cropped to multiples of `scale`.

    Raises:
        ValueError: no such photograph.
    """
    import skimage.data  # noqa: PLC0415  (only who evaluates needs scikit-image)

    if name not in PHOTOGRAPHS:
        raise ValueError(f"no photograph '{name}'; there are {', '.join(PHOTOGRAPHS)}")
    image = np.asarray(getattr(skimage.data, name)(), dtype=np.uint8)[..., :3]
    return crop_to_multiple(image, scale)


def photographs(scale: int = 1) -> dict[str, NDArray[np.uint8]]:
    """All four by name."""
    return {name: photograph(name, scale) for name in PHOTOGRAPHS}


def to_tensor(image: NDArray[np.uint8]) -> Tensor:
    """H×W×3 uint8 → 1×3×H×W float32 in [0, 1]."""
    return torch.from_numpy(np.array(image, order="C")).permute(2, 0, 1)[None].float() / 255


def to_image(x: Tensor) -> NDArray[np.uint8]:
    """1×3×H×W or 3×H×W → H×W×3 uint8, clipped to [0, 1] and rounded.

    Raises:
        ValueError: a value is NaN or infinite, which clipping would hide.
    """
    if not torch.isfinite(x).all():
        raise ValueError("the image holds NaN or infinity")
    x = x.detach().reshape(x.shape[-3:]).double()
    image: NDArray[np.uint8] = (
        (x.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    )
    return image
