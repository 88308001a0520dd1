"""One image file read by this program, and its reading judged: right, a clean error, or wrong."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

import runtime
from runtime.convert import file
from runtime.convert.job import Job
from runtime.errors import HcflowError
from runtime.images.codecs import files, formats, strips
from tests.images import references
from tests.images.references import Look
from tests.support.one_model import OneModel

Outcome = Literal["right", "clean error", "wrong"]

MOST_MEAN = 2.0
"""Largest distance of mean colours from a reference's, of 255."""
MOST_CELL = 6.0
"""Largest distance of a cell's mean: readers upsample chroma and manage colour differently."""
MOST_LINE = 1000
"""Characters of an error's line."""


@dataclass(frozen=True)
class Verdict:
    """What became of a file; `why` is the error's line, or what is wrong."""

    name: str
    kind: str
    outcome: Outcome
    why: str = ""


def judge(path: Path, model: runtime.Model | None = None) -> Verdict:
    """Read a file whole and, where it can be, by strips; with a model also upscale it."""
    kind = path.suffix.lower() or "no suffix"
    outcome, why = _judged(path, model)
    return Verdict(path.name, kind, outcome, why)


def _judged(path: Path, model: runtime.Model | None) -> tuple[Outcome, str]:
    try:
        photo = files.read(path)
        why = _misread(path, photo)
        why = why or _by_strips(path, photo) or (_converted(path, photo, model) if model else "")
    except HcflowError as error:
        text = str(error)
        is_clean = text.isprintable() and len(text) <= MOST_LINE and path.name in text
        return ("clean error", text) if is_clean else ("wrong", f"no clean line: {text!r}")
    except Exception as error:  # judged
        return "wrong", f"{type(error).__name__}: {error}"
    return ("wrong", why) if why else ("right", "")


def _misread(path: Path, photo: formats.Photo) -> str:
    """What differs from every reference; empty where one of them agrees."""
    ours, others = _look(photo), list(references.looks(path))
    if not others:
        return "read, but neither by Pillow nor by libvips"
    told = [f"{other.reader}: {_differences(ours, other)}" for other in others]
    return "" if any(each.endswith(": ") for each in told) else "; ".join(told)


def _look(photo: formats.Photo) -> Look:
    image = photo.image
    if not isinstance(image, Image.Image):
        return references.look("ours", image)
    mode = photo.result_mode
    if mode.startswith("I"):
        return references.look("ours", np.clip(np.asarray(image), 0, 65535).astype(np.uint16))
    return references.look("ours", np.asarray(image if image.mode == mode else image.convert(mode)))


def _differences(ours: Look, other: Look) -> str:
    """What differs from a reference, in words; empty where nothing does."""
    if ours.size != other.size:
        return f"{ours.size} for {other.size} pixels"
    found = []
    if ours.depth != other.depth:
        found.append(f"{ours.depth} for {other.depth} bits")
    if ours.has_alpha != other.has_alpha:
        found.append(f"alpha {ours.has_alpha} for {other.has_alpha}")
    if (off := float(np.abs(ours.mean - other.mean).max())) > MOST_MEAN:
        found.append(f"mean colour {off:.1f} off")
    if (off := float(np.abs(ours.cells - other.cells).max())) > MOST_CELL:
        found.append(f"a cell {off:.1f} off")
    return ", ".join(found)


def _by_strips(path: Path, photo: formats.Photo) -> str:
    """What differs where the file is read by strips."""
    found = strips.probe(path)
    if found is None:
        return ""
    rows = strips.Rows(path, found[0])
    form = rows.form
    parts = [rows.read(y, min(y + 64, form.height)) for y in range(0, form.height, 64)]
    told = _differences(references.look("strips", np.concatenate(parts)), _look(photo))
    if (form.density, form.icc) != (photo.density, photo.icc):
        told += ", other density or profile"
    return f"by strips: {told}" if told else ""


def _converted(path: Path, photo: formats.Photo, model: runtime.Model) -> str:
    """What is wrong with the upscaled file."""
    with tempfile.TemporaryDirectory() as folder:
        format_name = "TIFF" if photo.result_mode == "F" else "PNG"
        output = Path(folder) / f"out.{format_name.lower()}"
        job = Job("upscale", OneModel(model), round_trip=False, obey_record=False)
        file.convert_file(str(path), str(output), format_name, job, contextlib.nullcontext())
        result = files.read(output)
    width, height = photo.size
    told = []
    if result.size != (width * model.scale, height * model.scale):
        told.append(f"{result.size} from {photo.size} pixels")
    if result.result_mode != photo.result_mode:
        told.append(f"{result.result_mode} from {photo.result_mode}")
    if result.density != photo.density:
        told.append(f"{result.density} from {photo.density} dots per inch")
    return f"upscaled: {', '.join(told)}" if told else ""
