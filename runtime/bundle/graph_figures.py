"""What was measured of a graph: frozen dataclasses, and how they are read from a manifest."""

from __future__ import annotations

import math
from dataclasses import dataclass

from runtime.bundle.json_reader import Field


@dataclass(frozen=True)
class Parity:
    """One output of one case against the float64 reference; figures as in `runtime.checks.parity`.

    `psnr_db` is None where infinite (identical), `max_rel` where the reference is all zero; JSON
    has neither infinity nor NaN, so such a figure is written as null; `ok` tells the two apart.
    """

    case: str
    tau: float
    output: str
    psnr_db: float | None
    max_abs: float | None
    max_rel: float | None
    ok: bool


@dataclass(frozen=True)
class Deviation:
    """Worst absolute difference of tiled and whole on one picture, at the graph's tile and overlap.

    Of the image output after clipping to [0, 1]; the budget is 1/255 (docs/tiles.md, 2). Infinite
    where the figure is null in JSON, which has neither infinity nor NaN.
    """

    case: str
    tau: float
    max_abs: float


@dataclass(frozen=True)
class Drift:
    """How far a graph's output is from a plain colour, at the image's edge and far from it.

    The largest difference at τ = 0 after clipping to [0, 1] of the pixels along the edge of an
    image padded by the graph's border (`edge`), of one that is not padded (`bare`), and of those
    that no edge reaches (`inside`). `edge` is at most `inside` and a quarter of 1/255.
    """

    case: str
    bare: float
    edge: float
    inside: float


@dataclass(frozen=True)
class Loss:
    """What a precision below fp32 costs on one photograph.

    `psnr_fp32_db` is the output against the fp32 graph's (None: identical); `loss_db` is the fall
    of PSNR against the ground truth, in dB, negative for a gain, infinite where it is null in JSON;
    `max_abs` is the largest difference from fp32 after clipping (None where it is not finite, or
    an older build did not record it).
    """

    case: str
    tau: float
    psnr_fp32_db: float | None
    loss_db: float
    max_abs: float | None = None


@dataclass(frozen=True)
class Seam:
    """Whether tile borders show in tiled images, by a permutation test over their lines.

    `figure` is what is compared: `difference` from the untiled image of the same graph, or `jump`
    from a line to the next, less that of the untiled image. `border` and `elsewhere` are its means
    at tile borders and at all lines between LR pixels, of 8-bit images in [0, 1]. `p` is the share
    of random choices of lines that reach what the tile borders have.
    """

    case: str
    tau: float
    figure: str
    border: float
    elsewhere: float
    p: float


def parity(field: Field) -> Parity:
    """A figure of `parity`; raises `BundleError`, as every reader here."""
    return Parity(
        case=field["case"].text(),
        tau=field["tau"].number(0),
        output=field["output"].text(),
        psnr_db=_optional_number(field["psnr_db"]),
        max_abs=_optional_number(field["max_abs"]),
        max_rel=_optional_number(field["max_rel"]),
        ok=field["ok"].flag(),
    )


def deviation(field: Field) -> Deviation:
    """A figure of `deviations`."""
    return Deviation(
        field["case"].text(), field["tau"].number(0), _infinite_if_null(field["max_abs"], 0)
    )


def drift(field: Field) -> Drift:
    """A figure of `drifts`."""
    figures = (_infinite_if_null(field[name], 0) for name in ("bare", "edge", "inside"))
    return Drift(field["case"].text(), *figures)


def loss(field: Field) -> Loss:
    """A figure of `losses` or `tiled_losses`."""
    return Loss(
        case=field["case"].text(),
        tau=field["tau"].number(0),
        psnr_fp32_db=_optional_number(field["psnr_fp32_db"]),
        loss_db=_infinite_if_null(field["loss_db"]),
        max_abs=worst.number(0) if (worst := field.get("max_abs")) else None,
    )


def seam(field: Field) -> Seam:
    """A figure of `seams`."""
    return Seam(
        case=field["case"].text(),
        tau=field["tau"].number(0),
        figure=field["figure"].text(),
        border=_infinite_if_null(field["border"]),
        elsewhere=_infinite_if_null(field["elsewhere"]),
        p=field["p"].number(0),
    )


def _optional_number(field: Field) -> float | None:
    return None if field.is_null() else field.number()


def _infinite_if_null(field: Field, least: float = -math.inf) -> float:
    """A figure; null stands for NaN and infinity and is read as infinite: within no budget."""
    return math.inf if field.is_null() else field.number(least)
