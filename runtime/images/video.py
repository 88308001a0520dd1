"""Video frames on a pipe: Y4M, or raw RGB and gray, to and from RGB arrays in [0, 1].

Y4M keeps its layout: chroma subsampling, depth, interlacing mark, rate. Chroma is interpolated
linearly to full resolution according to its siting, and averaged back to match.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ImageError, ParameterError

_logger = logging.getLogger(__name__)

Frame = NDArray[np.float32]
"""[H, W, 3] (gray: [H, W, 1]) in [0, 1]."""

# Kr and Kb of Y = Kr·R + (1 − Kr − Kb)·G + Kb·B (ITU-R BT.601, BT.709, BT.2020 non-constant).
MATRICES = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
RANGES = ("limited", "full")
KINDS = ("y4m", "rgb24", "rgb48le", "gray")

_HD_ROWS = 720
_INTERLACED = ("It", "Ib", "Im")
_LONGEST_LINE = 1024
# Colour space tag → horizontal and vertical subsampling, chroma between two luma columns.
_LAYOUTS = {
    "420jpeg": (2, 2, True),
    "420mpeg2": (2, 2, False),
    "420": (2, 2, True),
    "422": (2, 1, False),
    "444": (1, 1, False),
    "mono": (0, 0, False),
}


@dataclass(frozen=True)
class Stream:
    """The format of a stream and its frames.

    Attributes:
        kind: of `KINDS`.
        width: of a frame, in pixels.
        height: likewise.
        layout: the Y4M colour space without its depth (`420jpeg`, `444`, `mono`, …), or the kind.
        depth: bits a sample.
        matrix: of `MATRICES`.
        is_full: whether samples use the full range.
        tags: Y4M parameters that are passed on.
    """

    kind: str
    width: int
    height: int
    layout: str
    depth: int = 8
    matrix: str = "bt601"
    is_full: bool = False
    tags: tuple[str, ...] = ()

    def sized(self, width: int, height: int) -> Stream:
        """The same stream with frames of another size."""
        return replace(self, width=width, height=height)

    def header(self) -> bytes:
        """The bytes that the stream begins with."""
        if self.kind != "y4m":
            return b""
        tags = (f"W{self.width}", f"H{self.height}", *self.tags)
        return ("YUV4MPEG2 " + " ".join(tags) + "\n").encode("ascii", "surrogateescape")


def open_stream(
    source: BinaryIO,
    kind: str,
    *,
    size: tuple[int, int] | None = None,
    matrix: str | None = None,
    colour_range: str | None = None,
    max_pixels: int,
) -> Stream:
    """Read the header of a stream.

    Args:
        source: the pipe.
        kind: of `KINDS`.
        size: (height, width) of a raw stream's frames.
        matrix: of `MATRICES`; None is bt601 below 720 rows, else bt709.
        colour_range: of `RANGES`; None is what the stream states, else limited.
        max_pixels: most pixels of a frame.

    Raises:
        ParameterError: an argument out of its range.
        ImageError: not such a stream, or one of a layout that is not supported.
    """
    for name, value, known in (
        ("video kind", kind, KINDS),
        ("colour matrix", matrix, (None, *MATRICES)),
        ("colour range", colour_range, (None, *RANGES)),
    ):
        if value not in known:
            shown = ", ".join(str(k) for k in known if k is not None)
            raise ParameterError(f"unknown {name} '{value}': one of {shown}")
    if kind != "y4m":
        if size is None:
            raise ParameterError(f"a raw {kind} stream states no size: give --frame-size WxH")
        if matrix is not None or colour_range is not None:
            raise ParameterError(
                f"a raw {kind} stream is RGB or gray: leave out --matrix and --range"
            )
        stream = Stream(kind, size[1], size[0], kind, 16 if kind == "rgb48le" else 8)
    else:
        if size is not None:
            raise ParameterError("a Y4M stream states its own size: leave out --frame-size")
        stream = _parse(_line(source, "the Y4M header"))
        if matrix is None:
            matrix = "bt709" if stream.height >= _HD_ROWS else "bt601"
        is_full = stream.is_full if colour_range is None else colour_range == "full"
        stream = replace(stream, matrix=matrix, is_full=is_full)
    if 0 in (stream.width, stream.height):
        raise ParameterError(
            f"frames of {stream.width}×{stream.height} pixels: both sides must be 1 or more"
        )
    if stream.width * stream.height > max_pixels:
        raise ImageError(
            f"frames of {stream.width}×{stream.height} pixels, the limit is {max_pixels}: raise "
            "--max-pixels if you trust the stream"
        )
    return stream


def read_frame(source: BinaryIO, stream: Stream, index: int) -> bytes | None:
    """The samples of the next frame; None at the stream's end.

    Raises:
        ImageError: the stream ends within a frame, or a frame does not begin with its marker.
    """
    what = f"frame {index + 1}"
    if stream.kind == "y4m":
        line = _line(source, what, may_end=True)
        if line is None:
            return None
        if not (line == b"FRAME" or line.startswith(b"FRAME ")):
            raise ImageError(f"standard input: {what} does not begin with FRAME: not a Y4M stream")
    size = sum(h * w for h, w in _planes(stream)) * (2 if stream.depth > 8 else 1)
    data = source.read(size)
    if not data and stream.kind != "y4m":
        if index == 0:
            raise ImageError("standard input is empty: it ends before frame 1")
        return None
    if len(data) < size:
        raise ImageError(f"standard input ends within {what}: {len(data)} of {size} bytes")
    return data


def decode(data: bytes, stream: Stream) -> Frame:
    """A frame's samples as RGB or gray in [0, 1]."""
    peak = (1 << stream.depth) - 1
    values = np.frombuffer(data, "<u2" if stream.depth > 8 else np.uint8).astype(np.float32)
    height, width = stream.height, stream.width
    if stream.kind != "y4m":
        return _frame(values.reshape(height, width, -1) / np.float32(peak))
    low, luma, chroma = _levels(stream)
    planes, at = [], 0
    for shape in _planes(stream):
        count = shape[0] * shape[1]
        planes.append(values[at : at + count].reshape(shape))
        at += count
    y = (planes[0] - low) / luma
    if stream.layout == "mono":
        return _frame(y[..., None])
    across, down, centred = _LAYOUTS[stream.layout]
    mid = np.float32(1 << (stream.depth - 1))
    cb, cr = (_spread((p - mid) / chroma, across, down, centred, y.shape) for p in planes[1:])
    kr, kb = MATRICES[stream.matrix]
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    return _frame(np.stack([red, green, blue], axis=-1))


def _frame(values: NDArray[Any]) -> Frame:
    frame: Frame = np.clip(values, 0, 1).astype(np.float32)
    return frame


def encode(frame: Frame, stream: Stream) -> bytes:
    """A frame's bytes, with its marker, for a stream of the frame's size."""
    peak = (1 << stream.depth) - 1
    kind = "<u2" if stream.depth > 8 else np.uint8
    if stream.kind != "y4m":
        return np.rint(np.clip(frame, 0, 1) * peak).astype(kind).tobytes()
    low, luma, chroma = _levels(stream)
    if stream.layout == "mono":
        planes = [frame[..., 0] * luma + low]
    else:
        kr, kb = MATRICES[stream.matrix]
        red, green, blue = (frame[..., i] for i in range(3))
        y = kr * red + (1 - kr - kb) * green + kb * blue
        across, down, centred = _LAYOUTS[stream.layout]
        pair = (blue - y) / (2 * (1 - kb)), (red - y) / (2 * (1 - kr))
        mid = 1 << (stream.depth - 1)
        small = [_gather(plane, across, down, centred) * chroma + mid for plane in pair]
        planes = [y * luma + low, *small]
    samples = [np.clip(np.rint(plane), 0, peak).astype(kind).tobytes() for plane in planes]
    return b"FRAME\n" + b"".join(samples)


def _parse(line: bytes | None) -> Stream:
    if line is None or not line.startswith(b"YUV4MPEG2 "):
        raise ImageError("standard input is not a Y4M stream: it does not begin with YUV4MPEG2")
    found: dict[str, str] = {}
    tags, is_full = [], False
    for word in line.decode("ascii", "surrogateescape").split()[1:]:  # tags pass as they are
        if word[0] in "WHC":
            found[word[0]] = word[1:]
        if word[0] not in "WH":
            tags.append(word)
        is_full |= word == "XCOLORRANGE=FULL"
        if word in _INTERLACED:
            _logger.warning(
                "the stream is interlaced (%s), and its two fields are processed as one picture: "
                "deinterlace it first",
                word,
            )
    match = re.fullmatch(
        r"(420jpeg|420mpeg2|420|422|444|mono)(?:p?(9|10|12|14|16))?", found.get("C", "420jpeg")
    )
    if match is None:
        raise ImageError(f"the colour space {found['C'][:20]!r} of the Y4M stream is not supported")
    if not all(re.fullmatch(r"[1-9]\d{0,5}", found.get(side, "")) for side in "WH"):
        raise ImageError("the Y4M header has no size (W and H)")
    width, height = int(found["W"]), int(found["H"])
    depth = int(match[2] or 8)
    return Stream("y4m", width, height, match[1], depth, is_full=is_full, tags=tuple(tags))


def _line(source: BinaryIO, what: str, may_end: bool = False) -> bytes | None:
    line = source.readline(_LONGEST_LINE)
    if not line and may_end:
        return None
    if not line:
        raise ImageError(f"standard input is empty: it ends before {what}")
    if not line.endswith(b"\n"):
        raise ImageError(f"standard input: {what} is cut off, or not a Y4M stream")
    return line[:-1]


def _planes(stream: Stream) -> list[tuple[int, int]]:
    """Shapes of a frame's planes; a raw frame is one plane of all samples."""
    height, width = stream.height, stream.width
    if stream.kind != "y4m":
        return [(height, width * {"gray": 1}.get(stream.kind, 3))]
    across, down, _ = _LAYOUTS[stream.layout]
    if not across:
        return [(height, width)]
    small = (-(-height // down), -(-width // across))
    return [(height, width), small, small]


def _levels(stream: Stream) -> tuple[float, float, float]:
    """Black, the span of luma, and the span of chroma, in sample values."""
    peak = (1 << stream.depth) - 1
    if stream.is_full:
        return 0.0, float(peak), float(peak)
    unit = 1 << (stream.depth - 8)
    return 16.0 * unit, 219.0 * unit, 224.0 * unit


def _spread(plane: Frame, across: int, down: int, centred: bool, shape: tuple[int, ...]) -> Frame:
    """A chroma plane at luma's resolution."""
    if down == 2:
        plane = _double(plane, True)
    if across == 2:
        plane = _double(plane.T, centred).T
    return plane[: shape[0], : shape[1]]


def _double(plane: Frame, centred: bool) -> Frame:
    """Twice the rows; samples lie between two rows (centred) or on every other row."""
    before, after = plane[[0, *range(len(plane) - 1)]], plane[[*range(1, len(plane)), -1]]
    out = np.empty((2 * len(plane), plane.shape[1]), np.float32)
    out[0::2] = 0.75 * plane + 0.25 * before if centred else plane
    out[1::2] = 0.75 * plane + 0.25 * after if centred else 0.5 * (plane + after)
    return out


def _gather(plane: Frame, across: int, down: int, centred: bool) -> Frame:
    """A plane at chroma's resolution."""
    if down == 2:
        plane = _halve(plane, True)
    return _halve(plane.T, centred).T if across == 2 else plane


def _halve(plane: Frame, centred: bool) -> Frame:
    if len(plane) % 2:
        plane = np.concatenate([plane, plane[-1:]])
    if centred:
        return 0.5 * (plane[0::2] + plane[1::2])
    before = plane[[0, *range(1, len(plane) - 1, 2)]]
    return 0.5 * plane[0::2] + 0.25 * (before + plane[1::2])


Convert = Callable[[Frame, int], Frame]
"""(frame, its index) → the frame made of it."""
