"""What an image's own record (`runtime.images.provenance`) decides: model and exact size."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from runtime.convert.job import Models
from runtime.errors import BundleError, ImageError
from runtime.images import provenance
from runtime.images.provenance import Origin
from runtime.model import Model

_logger = logging.getLogger(__name__)


def model_for(record: Origin | None, asked: str | None, models: Models, where: str) -> str | None:
    """The model to enlarge an image with: the one asked for, else the one that made it.

    None is the default, also where the one that made the image is not found; `size_for` then warns.

    Raises:
        ImageError: a shipped model made it, which cannot be built here.
    """
    if asked is not None or record is None:
        return asked
    with blaming(record, where):
        return models.find(record.checkpoint)


def open_for(
    record: Origin | None,
    asked: str | None,
    models: Models,
    where: str,
) -> tuple[Model, Origin | None]:
    """The model of `model_for`, and the record where that has chosen it.

    Raises:
        HcflowError: as `models.open`; as `ImageError` where the record has chosen.
    """
    name = model_for(record, asked, models, where)
    chooser = None if name == asked else record
    with blaming(chooser, where):
        return models.open(name), chooser


@contextlib.contextmanager
def blaming(chooser: Origin | None, where: str) -> Iterator[None]:
    """Within, what is wrong with a model that a record has chosen is that image's error alone.

    Args:
        chooser: the record that chose the model; None for a model asked for, or the default.
        where: names the image.

    Raises:
        ImageError: in place of a `BundleError`, which says that no other image would fare better.
    """
    try:
        yield
    except BundleError as error:
        if chooser is None:
            raise
        raise ImageError(f"{where} was made by model '{chooser.model}': {error}") from error


def size_for(
    record: Origin | None,
    lr_size: tuple[int, int],
    model: Model,
    asked: tuple[int, int] | None,
    where: str,
) -> tuple[int, int] | None:
    """The (height, width) to restore, with warnings for what does not fit the record.

    Args:
        record: of the image, or None.
        lr_size: the image's width and height.
        model: the one that will enlarge it.
        asked: a size the user asked for, which wins; or None.
        where: names the image in warnings.
    """
    if record is None:
        return asked
    if model.manifest.checkpoint.sha256 != record.checkpoint:
        _logger.warning(
            "%s was made by model '%s' (checkpoint %s…), which is not '%s': give its bundle with "
            "--model",
            *(where, record.model, record.checkpoint[:12], model.manifest.name),
        )
    if asked is not None:
        return asked
    fits = model.scale == record.scale and lr_size == (
        -(-record.width // record.scale),
        -(-record.height // record.scale),
    )
    if not fits:
        _logger.warning(
            "%s is %d×%d, not what a reduction of %d×%d by %d gives: its size is not restored",
            *(where, *lr_size, record.width, record.height, record.scale),
        )
        return None
    return record.height, record.width


def check_pixels(record: Origin | None, image: Any, where: str) -> None:
    """Warn when the pixels are not those that were written with the record."""
    if record is not None and record.pixels not in (None, provenance.digest(image)):
        _logger.warning("%s was edited after '%s' made it", where, record.model)
