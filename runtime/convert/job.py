"""What is done to every image of a folder, as it is sent to the processes that do it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image

from runtime.bundle.manifest import Manifest
from runtime.images.provenance import digest

Direction = Literal["upscale", "downscale"]


@dataclass(frozen=True)
class Recipe:
    """Everything that the results of a folder depend on, apart from the images.

    `model` is a bundle's folder or a model's name, None the default; `load` the options of
    `hcflow.load`; `options` those of `Model.upscale`; `obey_record` lets a small image's own record
    choose model and size; `strips` as in `streaming.wants_strips`; `force` lets a result replace
    its own image.
    """

    direction: Direction
    model: str | None
    load: Mapping[str, Any]
    options: Mapping[str, Any]
    max_pixels: int
    round_trip: bool = True
    obey_record: bool = True
    strips: bool | None = None
    force: bool = False

    def identity(self, manifest: Manifest, version: str) -> dict[str, Any]:
        """The recipe for `record.Record`: what would change a result's bytes, or may have."""
        same: dict[str, Any] = {
            "direction": self.direction,
            "asked": self.model is not None,
            "round_trip": self.round_trip,
            "obey_record": self.obey_record,
            "strips": self.strips,
        }
        # Neither threads nor who compiled an engine changes what was asked for.
        same["load"] = {
            k: v for k, v in self.load.items() if k not in ("threads", "compile_engines")
        }
        images = {k: digest(v) for k, v in self.options.items() if isinstance(v, Image.Image)}
        same["options"] = {**self.options, **images}
        # Graphs that are added later, for another precision, change nothing; fp32 heals any other.
        precision = self.load.get("precision") or "fp32"
        used = ("int8", "fp32") if precision == "auto" else (precision, "fp32")
        graphs = {g.file: g.sha256 for g in manifest.graphs if g.precision in used}
        return {**same, "checkpoint": manifest.checkpoint.sha256, "graphs": graphs, "by": version}
