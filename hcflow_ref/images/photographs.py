"""The four test photographs of scikit-image, which ship with this package too.

No network is ever trained, calibrated or selected on them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from hcflow_ref.images.pixels import Pixels, crop_to_multiple

FOLDER = Path(__file__).parent / "test_photographs"

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
"""Their names, in the order of every table."""


def photograph(name: str, scale: int = 1) -> Pixels:
    """The photograph as H×W×3 uint8 RGB, sides cropped to multiples of `scale`.

    Raises:
        ValueError: no such photograph.
    """
    if name not in PHOTOGRAPHS:
        raise ValueError(f"no photograph '{name}'; there are {', '.join(PHOTOGRAPHS)}")
    with Image.open(FOLDER / f"{name}.png") as image:
        return crop_to_multiple(np.asarray(image.convert("RGB")), scale)


def photographs(scale: int = 1) -> dict[str, Pixels]:
    """All four by name."""
    return {name: photograph(name, scale) for name in PHOTOGRAPHS}
