"""Which bundle is meant: a folder, or a shipped model, built once into the user's cache."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hcflow.models import digests, extras
from hcflow.version import __version__
from runtime.bundle.manifest import FILE_NAME
from runtime.bundle.reader import Bundle
from runtime.errors import BundleError
from runtime.system import atomic
from runtime.system.cache import NO_CACHE, user_cache
from runtime.system.lock import locked

_logger = logging.getLogger(__name__)


def resolve(name_or_path: str | None = None) -> Path:
    """The folder of a bundle.

    Args:
        name_or_path: a bundle's folder or its manifest; a shipped model's name, which a folder
            without a manifest does not hide; `None` for the default model.

    Raises:
        BundleError: no such bundle or model, or it would have to be built and cannot be.
    """
    if name_or_path is None:
        return of_shipped()
    path = Path(name_or_path)
    if (path / FILE_NAME).exists() or (path.exists() and name_or_path not in shipped()):
        return path
    return of_shipped(name_or_path)


def of_shipped(name: str | None = None) -> Path:
    """The folder of a shipped model's bundle, whatever else is called so; None is the default.

    It is exported on first use, which needs the extra `export`, and found in the cache from then
    on.

    Raises:
        BundleError: no such model, or it would have to be built and cannot be.
    """
    weights = _shipped(name)
    folder = cache() / "bundles" / _folder_name(weights)
    if not (folder / FILE_NAME).is_file():
        _build(weights, folder)
    return folder


def _folder_name(weights: Path) -> str:
    return f"{weights.stem}-{digest(weights)[:12]}-{__version__}"


def cache() -> Path:
    """The folder of what this program can make again.

    Raises:
        BundleError: there is none, for want of a home folder.
    """
    found = user_cache()
    if found is None:
        raise BundleError(NO_CACHE)
    return found


def digest(weights: Path) -> str:
    """The SHA-256 of a shipped model's weights."""
    return digests.of(weights, cache() / "digests.json")


def shipped() -> dict[str, Path]:
    """The shipped models' weights by name."""
    from hcflow_ref.checkpoint.shipped import names, weights

    return {name: weights(name) for name in names()}


def _shipped(name: str | None) -> Path:
    from hcflow_ref.checkpoint.shipped import DEFAULT, FOLDER, names

    if name is None:
        name = DEFAULT
    if name not in names():
        raise BundleError(
            f"'{name}' is neither a bundle's folder nor a shipped model "
            f"({', '.join(names())}); `hcflow build` makes a bundle of a checkpoint"
        )
    return FOLDER / f"{name}.safetensors"


def ensure_int8(folder: Path) -> None:
    """Add INT8 graphs to a shipped model's bundle in the cache, if its calibration ships as well.

    Any other bundle is left as it is. Of several processes one builds and the others wait.

    Raises:
        HcflowError: they would have to be built and cannot be.
        OSError: the cache cannot be written.
    """
    from hcflow_ref.checkpoint.shipped import calibrations

    folder = folder.resolve()
    if folder.parent != (cache() / "bundles").resolve():
        return
    for name, weights in shipped().items():
        if folder.name == _folder_name(weights) and calibrations(name):
            if not os.access(folder, os.W_OK):
                raise BundleError(f"'{folder}' cannot be written, so that INT8 cannot be added")
            with locked(folder.parent):
                graphs = Bundle.open(folder).manifest.graphs
                if all(graph.precision != "int8" for graph in graphs):
                    _add_int8(weights, folder)
            return


def _add_int8(weights: Path, folder: Path) -> None:
    with _exporting(weights, "in INT8 "):
        from export.pipeline import Request, build
        from export.precision.calibration_cache import of_shipped
        from export.precision.evaluation import MOST_LOSS_DB
        from hcflow_ref.checkpoint.load import load
        from hcflow_ref.errors import CheckpointError
    try:
        checkpoint = load(weights)
    except CheckpointError as error:
        raise BundleError(str(error)) from error
    _logger.warning("building model '%s' in INT8 once, into %s", weights.stem, folder)
    cached = of_shipped(weights.stem, checkpoint.sha256)
    budget = MOST_LOSS_DB["int8"]
    build(
        checkpoint, folder, Request(weights.stem, int8_budget_db=budget, cached_calibrations=cached)
    )


@contextmanager
def _exporting(weights: Path, how: str = "") -> Iterator[None]:
    """Within, what only exporting needs is imported; a missing package is a line that names it."""
    try:
        yield
    except ImportError as error:
        raise BundleError(
            f"model '{weights.stem}' is not built {how}on this machine yet, and building it needs "
            f"'{error.name}': {extras.to_build()}, or give the folder of a bundle built elsewhere"
        ) from error


def _build(weights: Path, folder: Path) -> None:
    """Export a shipped model into the cache; of two builders at once the first to finish stays."""
    with _exporting(weights):
        from export.pipeline import Request, build
        from hcflow_ref.checkpoint.load import load
        from hcflow_ref.errors import CheckpointError
    _logger.warning("building model '%s' once, into %s", weights.stem, folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic.workspace(folder.parent) as workspace:
        built = workspace / "bundle"
        try:
            build(load(weights), built, Request(weights.stem))
        except CheckpointError as error:
            raise BundleError(str(error)) from error
        try:
            built.rename(folder)
        except OSError:
            if not (folder / FILE_NAME).is_file():  # not another builder's, so the error is real
                raise
            shutil.rmtree(built)
