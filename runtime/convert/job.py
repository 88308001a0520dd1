"""What is done to an image, or to every image of a folder: sent to the processes that do it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from PIL import Image

from runtime.bundle.manifest import Manifest
from runtime.images.files import MAX_PIXELS
from runtime.images.provenance import digest
from runtime.model import Model

Direction = Literal["upscale", "downscale"]


class Models(Protocol):
    """Opens models, all with the same `options`; pickled on its way to another process."""

    options: Mapping[str, Any]

    def open(self, name: str | None) -> Model:
        """The model of a bundle's folder or a model's name; None is the default.

        Raises:
            HcflowError: no such model, or it cannot be opened.
        """

    def find(self, checkpoint: str) -> str | None:
        """The folder of a model that is here, by its checkpoint's SHA-256."""


@dataclass(frozen=True)
class Job:
    """Everything that results depend on, apart from the images.

    `model` is a bundle's folder or a model's name for `models`, None the default; `options` those
    of `Model.upscale`; `obey_record` lets a small image's own record choose model and size;
    `strips` as in `streamable.wants_strips`; `force` lets a result replace its own image.
    """

    direction: Direction
    models: Models
    model: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    max_pixels: int = MAX_PIXELS
    round_trip: bool = True
    obey_record: bool = True
    strips: bool | None = None
    force: bool = False

    def identity(self, manifest: Manifest, version: str) -> dict[str, Any]:
        """The job for `record.Record`: what would change a result's bytes, or may have."""
        same: dict[str, Any] = {
            "direction": self.direction,
            "asked": self.model is not None,
            "round_trip": self.round_trip,
            "obey_record": self.obey_record,
            "strips": self.strips,
        }
        # Neither threads nor who compiled an engine changes what was asked for.
        same["load"] = {
            k: v for k, v in self.models.options.items() if k not in ("threads", "compile_engines")
        }
        images = {k: digest(v) for k, v in self.options.items() if isinstance(v, Image.Image)}
        same["options"] = {**self.options, **images}
        # Graphs that are added later, for another precision, change nothing; fp32 heals any other.
        precision = self.models.options.get("precision") or "fp32"
        used = ("int8", "fp32") if precision == "auto" else (precision, "fp32")
        graphs = {g.file: g.sha256 for g in manifest.graphs if g.precision in used}
        return {**same, "checkpoint": manifest.checkpoint.sha256, "graphs": graphs, "by": version}
