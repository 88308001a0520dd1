"""Which bundle is meant: a folder, a model that ships ready to run, or one built from its weights.

The package holds ready bundles of `READY`, in folders beside this module, and the weights of more
models (`hcflow_ref/weights`), whose bundles `hcflow build --model NAME` writes to `bundles/NAME`.
"""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

from runtime.bundle.manifest import FILE_NAME
from runtime.bundle.reader import Bundle
from runtime.errors import BundleError

DEFAULT = "rescale_x4"
"""The model used when none is named."""

UPSCALES = "sr_x4"
"""The model that enlarges a file which no model here has made: `DEFAULT` undoes its own downscaling
only."""

READY = ("rescale_x4", "sr_x4")
"""Models whose bundles ship: fp32, fp16 and INT8 graphs of both directions."""

_HERE = Path(__file__).parent
_BUILT = Path("bundles")
"""Where `hcflow build` writes bundles unless told otherwise, from the current folder."""


def resolve(name_or_path: str | None = None) -> Path:
    """The folder of a bundle.

    Args:
        name_or_path: a bundle's folder or its manifest; a shipped model's name, which a folder
            without a manifest does not hide; `None` for the default model.

    Raises:
        BundleError: no such bundle or model, or a shipped model without a bundle.
    """
    if name_or_path is None:
        return of_shipped(DEFAULT)
    path = Path(name_or_path)
    # Of `os.path`: names that no system takes are files that do not exist.
    exists = os.path.exists
    if exists(path / FILE_NAME) or (exists(path) and name_or_path not in names()):
        return path
    return of_shipped(name_or_path)


def of_shipped(name: str) -> Path:
    """The folder of a shipped model's bundle, whatever else has that name.

    Raises:
        BundleError: no such model, or its bundle has not been built.
    """
    if name in READY:
        return _HERE / name
    if name not in names():
        raise BundleError(
            f"'{name}' is neither a bundle's folder nor a shipped model "
            f"({', '.join(names())}); `hcflow build` makes a bundle from a checkpoint"
        )
    built = _BUILT / name
    if not (built / FILE_NAME).is_file():
        raise BundleError(
            f"model '{name}' ships as weights: build its bundle once with "
            f"`hcflow build --model {name}`, which writes it to '{built}' in this folder"
        )
    return built


def names() -> list[str]:
    """Names of all shipped models, ready or not."""
    return sorted({*READY, *weights()})


def weights() -> dict[str, Path]:
    """The files of the shipped weights by name."""
    from hcflow_ref.checkpoint import shipped

    return {name: shipped.weights(name) for name in shipped.names()}


def by_checkpoint(sha256: str) -> Path | None:
    """The bundle of the shipped model with this checkpoint; None where no shipped model has it.

    Raises:
        BundleError: it is a shipped model whose bundle has not been built.
    """
    for name in READY:
        if Bundle.open(_HERE / name).manifest.checkpoint.sha256 == sha256:
            return _HERE / name
    for name, file in weights().items():
        if name not in READY and _digest(file) == sha256:
            return of_shipped(name)
    return None


@functools.cache  # a folder's images may all ask
def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
