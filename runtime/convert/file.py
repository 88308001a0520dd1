"""One file taken down or up into another: what folders' workers and the Python API share."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

import hcflow
from runtime.convert import image as convert
from runtime.convert import large_file, streamable
from runtime.convert.job import Direction, Recipe
from runtime.errors import ImageError, ParameterError
from runtime.images import files
from runtime.model import Model
from runtime.system import atomic

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Error numbers of a disk that takes no more."""


class Models:
    """Models opened once each; may be asked from many threads."""

    def __init__(self, load: Mapping[str, Any]) -> None:
        self._load = dict(load)
        self._opened: dict[str | None, Model] = {}
        self._opening = threading.Lock()

    def open(self, name: str | None) -> Model:
        """The model of a name or folder; None is the default.

        Raises:
            HcflowError: as `hcflow.load`.
        """
        with self._opening:
            if name not in self._opened:
                self._opened[name] = hcflow.load(name, **self._load)
            return self._opened[name]


def rehearse(model: Model, direction: Direction) -> None:
    """Run a model on the smallest image, so that what ails it shows before any work is done."""
    side = 1 if direction == "upscale" else model.scale
    dot = np.zeros((side, side, 3), np.uint8)
    if direction == "upscale":
        model.upscale(dot)
    else:
        model.downscale(dot)


def convert_file(
    source: str,
    output: str,
    format_name: str,
    recipe: Recipe,
    models: Models,
    gate: AbstractContextManager[object],
) -> dict[str, Any]:
    """Take one file down or up, whole or not at all; the result's figures by name.

    Raises:
        HcflowError: it cannot be read, computed or written, or the output is the input.
        OSError: the disk is full or not writable.
    """
    if not recipe.force and os.path.exists(output) and os.path.samefile(source, output):
        raise ImageError(f"'{output}' is the input itself: --force overwrites it")
    atomic.check_place(output)
    if streamable.wants_strips(source, output, recipe, format_name):
        with gate:
            streamed = large_file.convert(recipe, models.open, source, output, format_name)
        return {"model": streamed.model.manifest.name, "size": list(streamed.size)}
    photo = files.read(source, recipe.max_pixels)
    files.check_mode(photo.result_mode, format_name)
    if recipe.direction == "downscale":
        model = models.open(recipe.model)
        with gate:
            reduced = convert.reduce(
                model, photo, format_name, round_trip=recipe.round_trip, options=recipe.options
            )
        atomic.write(output, reduced.data)
        return {"model": model.manifest.name, **convert.figures_of(reduced)}
    small = convert.recalled(
        models.open,
        recipe.model,
        photo,
        f"'{source}'",
        recipe.options.get("size"),
        obey_record=recipe.obey_record,
        formats=(format_name,),
    )
    result = convert.enlarge(small, recipe.options, gate)
    (photo,) = result.photos
    files.write(photo, output, format_name)
    return {"model": result.model.manifest.name, "size": list(photo.size)}


_LOAD = ("backend", "precision", "threads", "io", "compile_engines")
_RECIPE = ("max_pixels", "round_trip", "obey_record", "strips", "force")


def convert_path(
    direction: Direction,
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    model: str | os.PathLike[str] | None,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """`hcflow.upscale_file` and `hcflow.downscale_file`."""
    image = {k: v for k, v in options.items() if k not in (*_LOAD, *_RECIPE)}
    known = {"tile", "overlap"} | ({"tau", "seed", "size"} if direction == "upscale" else set())
    if unknown := sorted(image.keys() - known):
        raise ParameterError(f"unknown option '{unknown[0]}' of {direction}_file")
    recipe = Recipe(
        direction,
        None if model is None else os.fspath(model),
        {k: options[k] for k in _LOAD if k in options},
        image,
        **{"max_pixels": files.MAX_PIXELS, **{k: options[k] for k in _RECIPE if k in options}},
    )
    source, output = os.fspath(source), os.fspath(output)
    format_name = files.format_of(output)
    return convert_file(
        source, output, format_name, recipe, Models(recipe.load), contextlib.nullcontext()
    )
