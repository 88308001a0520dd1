"""HCFlow in production: load a model, upscale and downscale images.

    import hcflow

    model = hcflow.load()
    small = model.downscale(image)
    large = model.upscale(small, tau=0.0)

Importing this needs NumPy and Pillow only; a backend is imported when a graph is first run.
"""

from hcflow.files import downscale_file, upscale_file
from hcflow.models.load import load
from hcflow.version import __version__
from runtime import (
    BackendError,
    BundleError,
    Cancelled,
    FileError,
    HcflowError,
    ImageError,
    Model,
    ParameterError,
)

__all__ = [
    "BackendError",
    "BundleError",
    "Cancelled",
    "FileError",
    "HcflowError",
    "ImageError",
    "Model",
    "ParameterError",
    "__version__",
    "downscale_file",
    "load",
    "upscale_file",
]
