"""Images larger than memory: read by strips, computed by rows of tiles, encoded from raw rows.

A journal beside the result (`runtime.convert.journal`) lets a run that was killed resume at the
rows it had reached; the bytes are the same as of a run that was not.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from runtime.bundle.manifest import Direction
from runtime.convert import streamable
from runtime.convert.image import record_of
from runtime.convert.job import Job
from runtime.convert.journal import Journal
from runtime.convert.restore import Restoration, blame_record, restoration
from runtime.errors import ImageError
from runtime.images.codecs import formats, size_limits, strips
from runtime.images.codecs.lossy import Lossy
from runtime.images.codecs.metadata import provenance
from runtime.images.codecs.metadata.provenance import Provenance
from runtime.images.codecs.strips import Form, Rows
from runtime.images.pixels import resampling
from runtime.images.pixels.arrays import Canvas, Layout
from runtime.images.pixels.image_rows import ImageRows
from runtime.inference import streaming
from runtime.inference.cancel import check_of
from runtime.inference.plan import Plan, plan_for
from runtime.inference.report import Report
from runtime.inference.streaming import RowBlock
from runtime.model import Model
from runtime.system import atomic

# Not WebP: it gives back gray as RGB and drops alpha that hides nothing, so its pixels are not
# those of the raw file, of which the digest is taken.
_LOSSLESS = ("PNG", "TIFF")

_PIXELS = 2
"""Of docs/pixels.md: a journal begun by another version's arithmetic cannot go on."""

Progress = Callable[[int, int], None]
"""Called with (rows of tiles finished, rows of tiles in all)."""


@dataclass(frozen=True)
class Converted:
    """A finished result.

    Attributes:
        size: width and height.
        model: that computed it.
        record: read (up) or written (down).
        by_record: whether the image's record chose the model.
        runs: of the network.
    """

    size: tuple[int, int]
    model: Model
    record: Provenance | None
    by_record: bool = False
    runs: int = 1


def converted(size: tuple[int, int], found: Restoration) -> Converted:
    """The finished result of an upscale."""
    return Converted(size, found.model, found.record, found.chooser is not None, found.sizing.runs)


@dataclass(frozen=True)
class _Conversion:
    """How a file is upscaled or downscaled.

    Attributes:
        model: that computes it.
        direction: of the graph.
        size: (height, width) that the network gives.
        target: (height, width) of the result.
        blocks: computes output rows by a plan, from one of its rows of tiles on.
        rows: of the image, which finish those of the output.
        record: the record of an LR image.
        latents: whether the graph takes latents.
        settings: what else the result depends on, for the journal.
        chooser: the record of an LR image where that has chosen the model.
    """

    model: Model
    direction: Direction
    size: tuple[int, int]
    target: tuple[int, int]
    blocks: Callable[[Plan, int], Iterator[RowBlock]]
    rows: ImageRows
    record: Provenance | None = None
    latents: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    chooser: Provenance | None = None


def convert(
    job: Job,
    source: str,
    output: str,
    format_name: str,
    *,
    progress: Progress | None = None,
    report: Report | None = None,
) -> Converted:
    """Convert a file into another, by strips; the round trip is not measured.

    Args:
        job: without samples or a τ map.
        source: the image's file.
        output: the file to write.
        format_name: of it.
        progress: called after every row of tiles.
        report: filled while the image is computed.

    Raises:
        HcflowError: as `Model.upscale` and `Model.downscale`, or a damaged file.
        OSError: the disk is full.
    """
    found = strips.probe(source)
    if found is None:
        raise ImageError(streamable.not_by_strips(source))
    reader = Rows(source, found[0], salvage=job.salvage)
    form = reader.form
    formats.check_mode(form.mode, format_name)
    where = f"'{source}'"
    report = report or Report()
    conversion = (_downscale if job.direction == "downscale" else _upscale)(
        job, reader, where, format_name, report
    )
    height, width = conversion.size
    lossy = replace(form.lossy if job.direction == "upscale" else Lossy(), quality=job.quality)
    xmp = provenance.remove(form.xmp)
    result = replace(form, width=width, height=height, xmp=xmp, lossy=lossy)
    model, record = conversion.model, conversion.record
    with blame_record(conversion.chooser, where):
        plan = plan_for(
            model.network,
            conversion.direction,
            form.height,
            form.width,
            latents=conversion.latents,
            tiling=job.tiling,
        )
        settings = _dependencies(source, conversion, plan)
    settings |= {"salvage": True} if job.salvage else {}
    with Journal(output, settings) as journal, blame_record(conversion.chooser, where):
        _compute(conversion, result, plan, journal, progress)
        if job.direction == "downscale" and format_name in provenance.FORMATS:
            digest = _digest(journal.pixels, result) if format_name in _LOSSLESS else None
            record = record_of(model, (form.width, form.height), digest, None, plan.precision)
            result = replace(result, xmp=provenance.embed(result.xmp, record))
        check_of(job.cancel)()
        with (
            report.timed("encoding"),
            _of_size(journal.pixels, result, conversion.target, output) as (raw, form),
            atomic.replacement(output) as temporary,
        ):
            strips.encode(raw, form, temporary, format_name)
        journal.discard()
    by_record = conversion.chooser is not None
    return Converted((form.width, form.height), model, record, by_record)


def _upscale(job: Job, reader: Rows, where: str, format_name: str, report: Report) -> _Conversion:
    form = reader.form
    found = restoration(job, (form.width, form.height), form.xmp, where, (format_name,))
    if found.sizing.runs > 1:
        raise ImageError(
            f"{where}: by strips the network runs once, which gives at most {found.model.scale}×: "
            "use --no-strips"
        )
    sampling = job.sampling(found.model)
    read = report.timing("decoding", reader.read)
    rows = ImageRows(read, form.height, form.width, "inverse", found.model.scale)

    def blocks(plan: Plan, first_row: int) -> Iterator[RowBlock]:
        network = found.model.network
        return streaming.upscale(
            network,
            rows,
            sampling,
            plan=plan,
            first_row=first_row,
            report=report,
            cancel=job.cancel,
        )

    settings = {"tau": float(sampling.tau), "seed": sampling.seed, "size": found.sizing.full}
    return _Conversion(
        model=found.model,
        direction="inverse",
        size=found.sizing.full,
        target=found.sizing.target,
        blocks=blocks,
        rows=rows,
        record=found.record,
        latents=sampling.needs_latents,
        settings=settings,
        chooser=found.chooser,
    )


def _downscale(job: Job, reader: Rows, where: str, format_name: str, report: Report) -> _Conversion:
    form, model = reader.form, job.models.open(job.model)
    read = report.timing("decoding", reader.read)
    rows = ImageRows(read, form.height, form.width, "forward", model.scale)
    height, width = -(-form.height // model.scale), -(-form.width // model.scale)
    size_limits.check_sides(format_name, width, height)

    def blocks(plan: Plan, first_row: int) -> Iterator[RowBlock]:
        return streaming.downscale(
            model.network,
            rows,
            plan=plan,
            first_row=first_row,
            report=report,
            cancel=job.cancel,
        )

    size = height, width
    return _Conversion(model, "forward", size, size, blocks, rows)


def _compute(
    conversion: _Conversion, result: Form, plan: Plan, journal: Journal, progress: Progress | None
) -> None:
    """Put every block of rows that the journal does not have yet into it."""
    if journal.blocks >= plan.grid.rows:
        return
    layout = Layout(None, result.dtype, "HWC", result.channels)
    blocks = conversion.blocks(plan, journal.blocks)
    try:
        for block in blocks:
            rows = block.planes.shape[1]
            canvas = Canvas(layout, 1, min(rows, result.height - block.top), result.width)
            alpha = conversion.rows.finish(block.top, block.planes)
            canvas.paint(0, 0, block.planes, alpha)
            journal.append(np.ascontiguousarray(canvas.image()).tobytes())
            del block, canvas, alpha  # before the next one is computed
            if progress is not None:
                progress(journal.blocks, plan.grid.rows)
    finally:
        blocks.close()  # type: ignore[attr-defined]  # a generator: ends its workers


@contextlib.contextmanager
def _of_size(
    raw: Path, form: Form, target: tuple[int, int], output: str
) -> Iterator[tuple[Path, Form]]:
    """A raw file of rows resampled to (height, width), beside the output; itself where it fits."""
    size = form.height, form.width
    if size == target:
        yield raw, form
        return
    pixels = np.memmap(raw, form.dtype, "r", shape=(*size, form.channels))
    with atomic.scratch(output) as path:
        with path.open("r+b") as file:
            for _, rows in resampling.resized_rows(lambda a, b: pixels[a:b], size, target):
                file.write(rows.tobytes())
        yield path, replace(form, height=target[0], width=target[1])


def _dependencies(source: str, conversion: _Conversion, plan: Plan) -> dict[str, Any]:
    """What the blocks of a result depend on."""
    network, grid = conversion.model.network, plan.grid
    graph = network.graph(plan.direction, conversion.latents, plan.precision)
    with open(source, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        **conversion.settings,
        "input": digest,
        **network.computation(graph, *grid.window),
        "pixels": _PIXELS,
        "grid": [grid.height, grid.width, grid.tile, grid.overlap, grid.border],
        "bands": [grid.row(index).stop for index in range(grid.rows)],
    }


def _digest(raw: Path, form: Form) -> str:
    """`provenance.digest` of a raw file of rows."""
    channels = [] if form.channels == 1 else [form.channels]
    pixels = np.memmap(raw, form.dtype, "r", shape=(form.height, form.width, *channels))
    return provenance.digest(pixels)
