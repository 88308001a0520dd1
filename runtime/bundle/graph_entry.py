"""What a manifest says of one graph: frozen dataclasses, and how they are read from its JSON."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from runtime.bundle.json_reader import Field

Direction = Literal["inverse", "forward"]
Precision = Literal["fp32", "fp16", "int8", "fp8"]
Target = Literal["rtx"]
DIRECTIONS: tuple[Direction, ...] = ("inverse", "forward")
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8", "fp8")
TARGETS: tuple[Target, ...] = ("rtx",)
"""What a graph may be made for, beside any machine: TensorRT-RTX and, where it takes them,
TensorRT."""

ANY_MACHINE: tuple[Precision, ...] = ("fp32", "fp16", "int8")
"""Precisions that run on any machine, and that every runtime knows: schema 1 has no others."""

DIGEST = (r"[0-9a-f]{64}", "a SHA-256: 64 lower-case hexadecimal digits")
PLAIN_NAME = (r"[A-Za-z0-9][A-Za-z0-9._+-]*", "a plain file name inside the bundle")
PLAIN_WORD = (r"[A-Za-z0-9_./-]+", "a plain word")

IMAGES = ("hr", "lr")
"""Inputs and outputs that are images; every other is a latent (z1 … zL) or a number (logp)."""

MOST_BORDER = 64
"""Largest border in LR pixels: a small image would be little beside it."""

MOST_OVERLAP = 4
"""Largest overlap, as a multiple of the tile: there every pixel is computed 81 times."""


@dataclass(frozen=True)
class Numerics:
    """What a backend must do for the parity figures to hold."""

    tf32: bool
    accumulation: str
    openvino_precision_hint: str


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
class RecordedGrid:
    """Tile and overlap of a grid in LR pixels, as in `runtime.inference.grid`."""

    tile: int
    overlap: int

    @property
    def window(self) -> int:
        """Largest side of a window in LR pixels."""
        return self.tile + 2 * self.overlap


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


@dataclass(frozen=True)
class Graph:
    """One ONNX file of a bundle.

    `bytes_per_lr_pixel` is the peak of live activations by liveness analysis; `latents` says
    whether the graph takes (inverse) or gives (forward) z1 … zL. `tile` and `overlap` are LR pixels
    (`runtime.inference.grid`); None means that the graph runs images whole. `border` is what an
    image is padded by on each side, in LR pixels, and `drifts` are why. `report` is the file of the
    bundle that says how the precision was chosen. `grids` are all recorded grids, that of `tile`
    and `overlap` first, then smaller ones for less memory. Of a graph below fp32, `tiled_losses`
    and `seams` are why, and `neighbours` is the largest difference between neighbouring tiles.
    `target` is what the graph was made for; None is any machine.
    """

    direction: Direction
    precision: Precision
    latents: bool
    io: str
    contract: int
    opset: int
    file: str
    sha256: str
    bytes: int
    nodes: int
    bytes_per_lr_pixel: int
    numerics: Numerics
    within_budget: bool
    parity: tuple[Parity, ...]
    tile: int | None = None
    overlap: int | None = None
    deviations: tuple[Deviation, ...] = ()
    casts: int = 0
    losses: tuple[Loss, ...] = ()
    report: str | None = None
    border: int = 0
    drifts: tuple[Drift, ...] = ()
    grids: tuple[RecordedGrid, ...] = ()
    tiled_losses: tuple[Loss, ...] = ()
    seams: tuple[Seam, ...] = ()
    neighbours: float | None = None
    target: Target | None = None

    @property
    def recorded_grids(self) -> tuple[RecordedGrid, ...]:
        """`grids`, or the one of an older manifest; none for a graph that runs images whole."""
        if self.grids or self.tile is None or self.overlap is None:
            return self.grids
        return (RecordedGrid(self.tile, self.overlap),)

    @property
    def window_classes(self) -> tuple[int, ...]:
        """Largest sides of windows in LR pixels, ascending: an engine has a profile for each.

        A window belongs to the first that is as large as both its sides, so that its size alone
        decides what computes it. Every window of a recorded grid belongs to one.
        """
        return tuple(sorted({grid.window for grid in self.recorded_grids}))

    @property
    def title(self) -> str:
        """Direction and precision; the kind of images where it is not float32; the target."""
        name = f"{self.direction} {self.precision}"
        name = name if self.io == "float32" else f"{name} {self.io}"
        return name if self.target is None else f"{name} for {self.target}"

    @property
    def is_of_schema_1(self) -> bool:
        """Whether every runtime takes it for what it is."""
        return self.precision in ANY_MACHINE and self.target is None

    @property
    def full_title(self) -> str:
        """`title`, and whether the graph is for τ = 0 only, or gives the LR image alone."""
        if self.latents:
            return self.title
        return self.title + (" τ = 0" if self.direction == "inverse" else " LR alone")


def read(field: Field, precisions: Sequence[Precision] = ANY_MACHINE) -> Graph:
    """A graph's entry, checked; raises `BundleError` with the JSON path of what is wrong."""
    tile = _optional_integer(field["tile"], 1)
    most = MOST_OVERLAP * (tile or 0)
    overlap = None if field["overlap"].is_null() else field["overlap"].integer(0, most)
    return Graph(
        direction=cast(Direction, field["direction"].choice(DIRECTIONS)),
        precision=cast(Precision, field["precision"].choice(precisions)),
        latents=field["latents"].flag(),
        io=field["io"].text(*PLAIN_WORD),
        contract=field["contract"].integer(1),
        opset=field["opset"].integer(1),
        file=field["file"].text(*PLAIN_NAME),
        sha256=field["sha256"].text(*DIGEST),
        bytes=field["bytes"].integer(1),
        nodes=field["nodes"].integer(1),
        bytes_per_lr_pixel=field["bytes_per_lr_pixel"].integer(0),
        numerics=Numerics(
            field["numerics"]["tf32"].flag(),
            field["numerics"]["accumulation"].text(),
            field["numerics"]["openvino_precision_hint"].text(),
        ),
        within_budget=field["within_budget"].flag(),
        parity=tuple(_parity(p) for p in field["parity"].items()),
        tile=tile,
        overlap=overlap,
        deviations=tuple(_deviation(d) for d in _optional_items(field, "deviations")),
        casts=casts.integer(0) if (casts := field.get("casts")) else 0,
        losses=tuple(_loss(row) for row in _optional_items(field, "losses")),
        report=report.text(*PLAIN_NAME) if (report := field.get("report")) else None,
        border=border.integer(0, MOST_BORDER) if (border := field.get("border")) else 0,
        drifts=tuple(_drift(row) for row in _optional_items(field, "drifts")),
        grids=_grids(field, tile, overlap),
        tiled_losses=tuple(_loss(row) for row in _optional_items(field, "tiled_losses")),
        seams=tuple(_seam(row) for row in _optional_items(field, "seams")),
        neighbours=worst.number(0) if (worst := field.get("neighbours")) else None,
        target=cast(Target, target.choice(TARGETS)) if (target := field.get("target")) else None,
    )


def _grids(field: Field, tile: int | None, overlap: int | None) -> tuple[RecordedGrid, ...]:
    grids = []
    for row in _optional_items(field, "grids"):
        side = row["tile"].integer(1)
        grids.append(RecordedGrid(side, row["overlap"].integer(0, MOST_OVERLAP * side)))
    falling = all(low.tile < high.tile for high, low in itertools.pairwise(grids))
    if grids and not (falling and (grids[0].tile, grids[0].overlap) == (tile, overlap)):
        raise field["grids"].wrong("the graph's tile and overlap, then smaller tiles")
    return tuple(grids)


def _seam(field: Field) -> Seam:
    return Seam(
        case=field["case"].text(),
        tau=field["tau"].number(0),
        figure=field["figure"].text(),
        border=_infinite_if_null(field["border"]),
        elsewhere=_infinite_if_null(field["elsewhere"]),
        p=field["p"].number(0),
    )


def _deviation(field: Field) -> Deviation:
    return Deviation(
        field["case"].text(), field["tau"].number(0), _infinite_if_null(field["max_abs"], 0)
    )


def _drift(field: Field) -> Drift:
    figures = (_infinite_if_null(field[name], 0) for name in ("bare", "edge", "inside"))
    return Drift(field["case"].text(), *figures)


def _loss(field: Field) -> Loss:
    return Loss(
        case=field["case"].text(),
        tau=field["tau"].number(0),
        psnr_fp32_db=_optional_number(field["psnr_fp32_db"]),
        loss_db=_infinite_if_null(field["loss_db"]),
        max_abs=worst.number(0) if (worst := field.get("max_abs")) else None,
    )


def _optional_items(field: Field, key: str) -> list[Field]:
    found = field.get(key)
    return found.items() if found else []


def _parity(field: Field) -> Parity:
    return Parity(
        case=field["case"].text(),
        tau=field["tau"].number(0),
        output=field["output"].text(),
        psnr_db=_optional_number(field["psnr_db"]),
        max_abs=_optional_number(field["max_abs"]),
        max_rel=_optional_number(field["max_rel"]),
        ok=field["ok"].flag(),
    )


def _optional_number(field: Field) -> float | None:
    return None if field.is_null() else field.number()


def _infinite_if_null(field: Field, least: float = -math.inf) -> float:
    """A figure; null stands for NaN and infinity and is read as infinite: within no budget."""
    return math.inf if field.is_null() else field.number(least)


def _optional_integer(field: Field, least: int) -> int | None:
    return None if field.is_null() else field.integer(least)
