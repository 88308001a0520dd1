"""Colour under transparency and neutral pictures: C++ gives the same bytes as Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import runtime
from tests.support import cpp_library
from tests.support.bundles import write_bundle

pytestmark = cpp_library.MARKS


def _text(height: int, width: int) -> np.ndarray:
    """Black text on white, stored as RGB."""
    strokes = np.random.default_rng(1).random((height, width, 1)) > 0.7
    return np.repeat(strokes.astype(np.float64), 3, axis=2)


def _logo(height: int, width: int) -> np.ndarray:
    """A red logo on a page of text, and an almost neutral border."""
    page = _text(height, width)
    page[40:60, 70:95] = [0.8, 0.1, 0.05]
    page[:, :3] = [0.512, 0.5, 0.5]
    return page


def _shape(height: int, width: int) -> np.ndarray:
    """A disc with a soft edge over other hidden colours, and an opaque strip at the border."""
    picture = np.random.default_rng(2).random((height, width, 4))
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - height / 2, x - width / 2)
    picture[..., 3] = np.clip((50 - distance) / 20, 0, 1)
    picture[..., :3][distance < 60] = _logo(height, width)[distance < 60]
    picture[height // 2 :, :20, 3] = 1
    return picture


def _gray_alpha(height: int, width: int) -> np.ndarray:
    picture = np.random.default_rng(3).random((height, width, 2))
    picture[: height // 2, :, 1] = 0
    picture[:, width // 2 :, 1] = 1
    return picture


PICTURES = {"text": _text, "logo": _logo, "shape": _shape, "gray and alpha": _gray_alpha}


@pytest.mark.parametrize("tiles", [{}, {"tile": 40, "overlap": 5}], ids=["whole", "tiled"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("kind", PICTURES)
def test_colour_is_the_same_as_in_python(
    installed: Path, tmp_path: Path, kind: str, dtype: str, tiles: dict[str, int]
) -> None:
    # Latents colour the output; what lies beyond the border mirrors colours after their spread.
    bundle = write_bundle(tmp_path / "tiny", default_tau=0.3, border=4, **tiles)
    ours = runtime.load(bundle, backend="openvino", threads=1)
    theirs = cpp_library.Model(next(installed.rglob("libhcflow.so")), bundle, "openvino")
    small, large = (_of_type(PICTURES[kind](*size), dtype) for size in ((111, 130), (203, 333)))
    for image, way in ((small, "upscale"), (large, "downscale")):
        one, two = (getattr(model, way)(image) for model in (theirs, ours))
        colours = image.shape[2] - (image.shape[2] % 2 == 0)  # for alpha see test_parity.py
        np.testing.assert_array_equal(one[..., :colours], two[..., :colours])
        if kind == "text":
            assert not np.ptp(one, axis=2).any()
        else:
            assert kind == "gray and alpha" or np.ptp(one[..., :3], axis=2).any()
    theirs.close()


def _of_type(picture: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "float32":
        return picture.astype(np.float32)
    return np.round(picture * np.iinfo(dtype).max).astype(dtype)
