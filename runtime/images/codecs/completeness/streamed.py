"""How many rows of an incomplete file libvips finds: counted once reading it has failed."""

from __future__ import annotations

import contextlib
import io
import os
from typing import Any

import numpy as np

from runtime.images.codecs import opening, size_limits, vips
from runtime.images.codecs.completeness import jpeg_scan

_BLOCK = 64  # rows compared at a time


def rows_there(source: str | bytes, format_name: str) -> int:
    """The rows from the top that libvips decodes without an error."""
    pyvips = vips.require("counting rows")
    row = 0
    try:
        image = vips.load(source, format_name, access="sequential")
        salvaged = vips.load(source, format_name, access="sequential", salvage=True)
    except pyvips.Error:
        return 0
    region, others = pyvips.Region.new(image), pyvips.Region.new(salvaged)
    try:
        while row < image.height:
            region.fetch(0, row, image.width, 1)
            others.fetch(0, row, image.width, 1)
            row += 1
    except pyvips.Error:
        # An error costs all rows that libvips reads at once. Salvaging leaves the missing ones 0,
        # but gray in a JPEG.
        with contextlib.suppress(pyvips.Error):
            while format_name != "JPEG" and row < image.height:
                if not any(bytes(others.fetch(0, row, image.width, 1))):
                    break
                row += 1
    return row


@size_limits.any_size()
def jpeg_rows_there(path: str | os.PathLike[str]) -> int:
    """The rows of a JPEG that its data reach: libvips fills in the others with gray."""
    with open(path, "rb") as file:
        data = file.read()
    with opening.open_image(io.BytesIO(data), ["JPEG"]) as header:
        marked = jpeg_scan.with_noise(data)
        if marked is None:
            return header.height
        return jpeg_scan.whole_rows(_first_difference(data, marked), header)


def _first_difference(first: bytes, second: bytes) -> int:
    pyvips = vips.require("counting rows")
    images = [vips.load(data, "JPEG", access="sequential") for data in (first, second)]
    width, height = images[0].width, images[0].height
    regions: list[Any] = [pyvips.Region.new(image) for image in images]
    for top in range(0, height, _BLOCK):
        rows = min(_BLOCK, height - top)
        a, b = (np.frombuffer(r.fetch(0, top, width, rows), np.uint8) for r in regions)
        same = (a == b).reshape(rows, -1).all(axis=1)
        if not same.all():
            return top + int(np.argmin(same))
    return int(height)
