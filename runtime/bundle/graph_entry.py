"""What a manifest says of one graph: frozen dataclasses, and how they are read from its JSON."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from runtime.bundle import graph_figures
from runtime.bundle.graph_figures import Deviation, Drift, Loss, Parity, Seam
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
class RecordedGrid:
    """Tile and overlap of a grid in LR pixels, as in `runtime.inference.grid`."""

    tile: int
    overlap: int

    @property
    def window(self) -> int:
        """Largest side of a window in LR pixels."""
        return self.tile + 2 * self.overlap


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
    def window(self) -> int | None:
        """Largest side of a window in LR pixels; None for a graph that runs images whole."""
        return None if self.tile is None else RecordedGrid(self.tile, self.overlap or 0).window

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
        parity=tuple(graph_figures.parity(p) for p in field["parity"].items()),
        tile=tile,
        overlap=overlap,
        deviations=tuple(graph_figures.deviation(d) for d in _optional_items(field, "deviations")),
        casts=casts.integer(0) if (casts := field.get("casts")) else 0,
        losses=tuple(graph_figures.loss(row) for row in _optional_items(field, "losses")),
        report=report.text(*PLAIN_NAME) if (report := field.get("report")) else None,
        border=border.integer(0, MOST_BORDER) if (border := field.get("border")) else 0,
        drifts=tuple(graph_figures.drift(row) for row in _optional_items(field, "drifts")),
        grids=_grids(field, tile, overlap),
        tiled_losses=tuple(
            graph_figures.loss(row) for row in _optional_items(field, "tiled_losses")
        ),
        seams=tuple(graph_figures.seam(row) for row in _optional_items(field, "seams")),
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


def _optional_items(field: Field, key: str) -> list[Field]:
    found = field.get(key)
    return found.items() if found else []


def _optional_integer(field: Field, least: int) -> int | None:
    return None if field.is_null() else field.integer(least)
