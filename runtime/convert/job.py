"""What is done to an image, or to every image of a folder: sent to the processes that do it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from runtime.backends import ON_GPU, targets_of
from runtime.bundle.manifest import Manifest
from runtime.convert.sizing import AS_THE_NETWORK, WantedSize
from runtime.images.codecs.files import MAX_PIXELS
from runtime.images.codecs.metadata.provenance import digest
from runtime.inference.cancel import Cancel
from runtime.inference.grid import DEFAULT_TILING, Tiling
from runtime.inference.latent_source import Sampling
from runtime.latents import fixed_seed
from runtime.model import Model

Direction = Literal["upscale", "downscale"]

ON_GPUS = "graphs_on_gpus"
"""Key of a job's identity: graphs that backend `auto` may take on a GPU, and on no processor."""


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

    Attributes:
        direction: which way.
        models: opens them.
        model: a bundle's folder or a model's name; None is the default.
        tau: temperature of an upscale; None is the model's.
        seed: of its latents; None draws one.
        samples: images to draw of each, at least 1.
        size: exact (height, width) of an upscale.
        wanted: its size where that is not exact (`runtime.convert.sizing`).
        quality: of a result in a lossy format, 1 to 100; None is the format's usual one.
        png_level: how hard a PNG is compressed, 0 to 9; None is the usual 6.
        tau_map: gray image of τ over the picture, as `Model.upscale` takes it.
        tiling: of either direction.
        max_pixels: largest input accepted.
        hr_pixels: largest HR side, all frames of a file together: what a downscale takes, what an
            upscale's network gives; None is no limit.
        round_trip: measure what upscaling a downscaled file gives, and record it.
        obey_record: let a small image's own record choose model and size.
        strips: convert by strips; None does so for large images, where that is possible.
        force: let a result replace its own image.
        salvage: read what is there of a file that lacks rows.
        cancel: ends the work, as `Model.upscale` takes it; not for a job that another process does.
    """

    direction: Direction
    models: Models
    model: str | None = None
    tau: float | None = None
    seed: int | None = 0
    samples: int = 1
    size: tuple[int, int] | None = None
    wanted: WantedSize = AS_THE_NETWORK
    quality: int | None = None
    png_level: int | None = None
    tau_map: Any = None
    tiling: Tiling = DEFAULT_TILING
    max_pixels: int = MAX_PIXELS
    hr_pixels: int | None = None
    round_trip: bool = True
    obey_record: bool = True
    strips: bool | None = None
    force: bool = False
    salvage: bool = False
    cancel: Cancel | None = None

    def sampling(self, model: Model) -> Sampling:
        """The latents of an upscale by a model, without a τ map.

        Raises:
            ParameterError: τ or seed out of range.
        """
        return Sampling(model.default_tau if self.tau is None else self.tau, fixed_seed(self.seed))

    def upscale_options(self) -> dict[str, Any]:
        """Keywords of `Model.upscale` and `Model.uncertainty`, without `report`."""
        return {
            "tau": self.tau,
            "seed": self.seed,
            "samples": self.samples,
            "size": self.size,
            "tau_map": self.tau_map,
            "cancel": self.cancel,
            **self.tiling_options(),
        }

    def tiling_options(self) -> dict[str, Any]:
        """Keywords of `Model.downscale`, without `report`."""
        return {"tile": self.tiling.tile, "overlap": self.tiling.overlap}

    def identity(self, manifest: Manifest, version: str) -> dict[str, Any]:
        """What would change the bytes of a result, or may have, for a folder's list of results."""
        options = {k: v for k, v in self.tiling_options().items() if v is not None}
        if self.direction == "upscale":
            options |= {"tau": self.tau, "seed": self.seed}
            options |= {"samples": self.samples, "size": self.size, **self.wanted.given}
        if self.quality is not None:
            options["quality"] = self.quality
        if self.tau_map is not None:
            options["tau_map"] = digest(self.tau_map)
        # Neither threads nor who compiled an engine changes what was asked for.
        unused = ("threads", "compile_engines")
        load = {k: v for k, v in self.models.options.items() if k not in unused}
        backend, precision = load.get("backend") or "auto", load.get("precision") or "fp32"
        graphs = _graphs(manifest, backend, precision)
        on_gpus = [_graphs(manifest, each, precision) for each in ON_GPU if backend == "auto"]
        more = {file: sha256 for each in on_gpus for file, sha256 in each.items()}
        more = {file: sha256 for file, sha256 in more.items() if file not in graphs}
        return {
            "direction": self.direction,
            "asked": self.model is not None,
            "round_trip": self.round_trip,
            "obey_record": self.obey_record,
            "strips": self.strips,
            **({"salvage": True} if self.salvage else {}),
            "load": load,
            "options": options,
            "checkpoint": manifest.checkpoint.sha256,
            "graphs": graphs,
            **({ON_GPUS: more} if more else {}),
            "by": version,
        }


def before_on_gpus(identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """A job's identity as it was written down before it had `ON_GPUS`; None where that is equal."""
    earlier = {key: value for key, value in identity.items() if key != ON_GPUS}
    return earlier if len(earlier) < len(identity) else None


def _graphs(manifest: Manifest, backend: str, precision: str) -> dict[str, str]:
    """SHA-256 by file of the graphs that a backend may compute with; for `auto` on a processor.

    Graphs that are added later, for another precision, change nothing; fp32 replaces any other
    where that fails.
    """
    low = ("fp16", "fp8") if backend in ON_GPU else ("int8",)
    used = (*low, "fp32") if precision == "auto" else (precision, "fp32")
    targets = targets_of(backend)
    return {
        graph.file: graph.sha256
        for graph in manifest.graphs
        if graph.target in targets and graph.precision in used
    }
