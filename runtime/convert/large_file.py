"""Images beyond memory: strips of a file through bands of tiles into a raw file, then encoded.

A journal beside the result (`runtime.convert.journal`) lets a run that was killed go on at the
band it had reached; the bytes are the same as of a run that was not.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from runtime.bundle.manifest import Direction as GraphDirection
from runtime.convert import restore, streamable
from runtime.convert.image import record_of
from runtime.convert.job import Job
from runtime.convert.journal import Journal
from runtime.errors import ImageError
from runtime.images import files, padding, provenance, size_limits, strips
from runtime.images.alpha_rows import MARGIN, Veil
from runtime.images.pixels import Canvas, Layout, Picture, Planes
from runtime.images.provenance import Origin
from runtime.images.strips import Form, Rows
from runtime.inference import streaming
from runtime.inference.grid import Tiling
from runtime.inference.latent_source import Sampling
from runtime.inference.plan import Plan, plan_for
from runtime.inference.streaming import RowBlock
from runtime.latents import fixed_seed
from runtime.model import Model
from runtime.system import atomic

# Not WebP: it gives back gray as RGB and drops alpha that hides nothing, so its pixels are not
# those of the raw file, of which the digest is taken.
_LOSSLESS = ("PNG", "TIFF")

Progress = Callable[[int, int], None]
"""Told (bands finished, bands in all)."""


@dataclass(frozen=True)
class Streamed:
    """A finished result: its size, the model, and the record read (up) or written (down)."""

    size: tuple[int, int]
    model: Model
    origin: Origin | None


def convert(
    job: Job, source: str, output: str, format_name: str, progress: Progress | None = None
) -> Streamed:
    """Convert a file into another, by strips; the round trip is not measured.

    Args:
        job: with options `tau`, `seed`, `size`, `tile`, `overlap`, `report` of `Model.upscale`, or
            the last three of `Model.downscale`.
        source: the image's file.
        output: the file to write.
        format_name: of it.
        progress: told of every band.

    Raises:
        HcflowError: as `Model.upscale` and `Model.downscale`, or a damaged file.
        OSError: the disk is full.
    """
    run = _downscale if job.direction == "downscale" else _upscale
    return run(job, source, output, format_name, progress)


def _upscale(
    job: Job, source: str, output: str, format_name: str, progress: Progress | None
) -> Streamed:
    options = job.options
    rows = _open(source)
    form = rows.form
    files.check_mode(form.mode, format_name)
    record = provenance.extract(form.xmp, f"'{source}'") if job.obey_record else None
    model, chooser = restore.open_for(record, job.model, job.models, f"'{source}'")
    blaming = functools.partial(restore.blaming, chooser, f"'{source}'")
    size = restore.size_for(record, (form.width, form.height), model, options.get("size"), source)
    height, width = padding.target_size(form.height, form.width, model.scale, size)
    size_limits.check_sides(format_name, width, height)
    tau = options.get("tau")
    tau = model.default_tau if tau is None else tau
    sampling = Sampling(tau, fixed_seed(options.get("seed", 0)))
    feed = _Feed(rows, MARGIN)

    def made(plan: Plan, start: int) -> Iterator[RowBlock]:
        return streaming.upscale(
            model.network,
            feed,
            sampling,
            plan=plan,
            first_row=start,
            report=options.get("report"),
        )

    def alpha(block: RowBlock) -> Planes:
        return feed.veil.enlarged(block.top, block.planes.shape[1], model.scale)

    forms = _Forms(form, replace(form, width=width, height=height, xmp=provenance.remove(form.xmp)))
    with blaming():
        plan = _plan(model, "inverse", form, sampling.needs_latents, options)
    drawn = {"tau": float(sampling.tau), "seed": sampling.seed}
    settings = _settings(source, model, plan, sampling.needs_latents, drawn)
    with Journal(output, {**settings, "size": [height, width]}) as journal, blaming():
        _compute(forms, plan, journal, made, alpha, progress)
        _finish(journal, forms.result, output, format_name)
    return Streamed((width, height), model, record)


def _downscale(
    job: Job, source: str, output: str, format_name: str, progress: Progress | None
) -> Streamed:
    model, options = job.models.open(job.model), job.options
    rows = _open(source)
    form = rows.form
    files.check_mode(form.mode, format_name)
    feed = _Feed(rows, model.scale)  # a row of blocks, as `Veil.reduced` wants it
    width, height = -(-form.width // model.scale), -(-form.height // model.scale)
    size_limits.check_sides(format_name, width, height)

    def made(plan: Plan, start: int) -> Iterator[RowBlock]:
        return streaming.downscale(
            model.network, feed, plan=plan, first_row=start, report=options.get("report")
        )

    def alpha(block: RowBlock) -> Planes:
        return feed.veil.reduced(block.top, block.planes.shape[1], model.scale)

    forms = _Forms(form, replace(form, width=width, height=height, xmp=provenance.remove(form.xmp)))
    plan = _plan(model, "forward", form, False, options)
    record = None
    with Journal(output, _settings(source, model, plan, False, {})) as journal:
        _compute(forms, plan, journal, made, alpha, progress)
        result = forms.result
        if format_name in provenance.FORMATS:
            lossless = format_name in _LOSSLESS
            size = form.width, form.height
            digest = _digest(journal.pixels, result) if lossless else None
            record = record_of(model, size, digest, None, plan.precision)
            result = replace(result, xmp=provenance.embed(result.xmp, record))
        _finish(journal, result, output, format_name)
    return Streamed((width, height), model, record)


@dataclass(frozen=True)
class _Forms:
    source: Form
    result: Form


class _Feed:
    """The rows of a file as a network wants them, with alpha set aside."""

    def __init__(self, rows: Rows, margin: int) -> None:
        self._rows, self._margin = rows, margin
        self.height, self.width = rows.form.height, rows.form.width
        self.veil = Veil(self.height)
        self._next: int | None = None

    def colour(self, start: int, stop: int) -> Planes:
        """Colour of rows [start, stop); follows the last call."""
        # After a resumption alpha needs some rows above those that the colour starts with.
        first = max(start - self._margin, 0) if self._next is None else start
        self._next = stop
        picture = Picture(self._rows.read(first, stop))
        alpha = picture.alpha()
        if alpha is not None:
            self.veil.add(first, alpha)
        return picture.colour(start - first, stop - first)


def _open(source: str) -> Rows:
    found = strips.probe(source)
    if found is None:
        raise ImageError(streamable.not_by_strips(source))
    return Rows(source, found[0])


def _plan(
    model: Model,
    direction: GraphDirection,
    form: Form,
    latents: bool,
    options: Mapping[str, Any],
) -> Plan:
    tiling = Tiling(options.get("tile"), options.get("overlap"))
    return plan_for(
        model.network, direction, form.height, form.width, latents=latents, tiling=tiling
    )


def _compute(
    forms: _Forms,
    plan: Plan,
    journal: Journal,
    made: Callable[[Plan, int], Iterator[RowBlock]],
    alpha: Callable[[RowBlock], Planes],
    progress: Progress | None,
) -> None:
    """Put every band that the journal does not have yet into it."""
    result = forms.result
    layout = Layout(None, result.dtype, "HWC", result.channels)
    has_alpha = result.channels in (2, 4)
    if journal.bands >= plan.grid.rows:
        return
    finished = made(plan, journal.bands)
    try:
        for block in finished:
            rows = min(block.planes.shape[1], result.height - block.top)
            canvas = Canvas(layout, 1, rows, result.width)
            canvas.paint(0, 0, block.planes, alpha(block) if has_alpha else None)
            journal.append(np.ascontiguousarray(canvas.image()).tobytes())
            del block, canvas  # before the next one is computed
            if progress is not None:
                progress(journal.bands, plan.grid.rows)
    finally:
        finished.close()  # type: ignore[attr-defined]  # a generator: ends its workers


def _finish(journal: Journal, result: Form, output: str, format_name: str) -> None:
    with atomic.replacement(output) as temporary:
        strips.encode(journal.pixels, result, temporary, format_name)
    journal.discard()


def _settings(
    source: str, model: Model, plan: Plan, latents: bool, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """What the bands of a result depend on."""
    graph = model.network.graph(plan.direction, latents, plan.precision)
    with open(source, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    grid = plan.grid
    return {
        **settings,
        "input": digest,
        "graph": graph.sha256,
        "backend": model.network.backend,
        "grid": [grid.height, grid.width, grid.tile, grid.overlap],
        "bands": [grid.row(index).stop for index in range(grid.rows)],
    }


def _digest(raw: Path, form: Form) -> str:
    """`origin.digest` of a raw file of rows."""
    channels = [] if form.channels == 1 else [form.channels]
    pixels = np.memmap(raw, form.dtype, "r", shape=(form.height, form.width, *channels))
    return provenance.digest(pixels)
