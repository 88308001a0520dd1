"""The models that a server serves, by name: all opened at its start, and no others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hcflow.models.load import load
from runtime.bundle.manifest import Direction as GraphDirection
from runtime.convert.job import Direction
from runtime.errors import ParameterError
from runtime.model import Model
from runtime.system.arguments import shown

_GRAPHS: Mapping[Direction, GraphDirection] = {"upscale": "inverse", "downscale": "forward"}
_WARM_UP_SIDE = 32  # LR pixels


class ServedModels:
    """`runtime.convert.job.Models` of a fixed set.

    Args:
        bundles: folders or shipped names; the first is the default.
        options: of `hcflow.load`.

    Raises:
        HcflowError: one cannot be opened, or two have one name.
    """

    def __init__(self, bundles: Sequence[str], options: Mapping[str, Any]) -> None:
        self.options: Mapping[str, Any] = dict(options)
        self.by_name: dict[str, Model] = {}
        for bundle in bundles:
            model = load(bundle, **self.options)
            name = model.manifest.name
            if name in self.by_name:
                raise ParameterError(f"two models are named '{name}': serve one of them")
            self.by_name[name] = model

    @property
    def default(self) -> str:
        """The name of the model that is used where none is named."""
        return next(iter(self.by_name))

    @property
    def use_processors(self) -> bool:
        """Whether all of them are computed by this machine's processors."""
        return not any(model.network.may_use_gpu for model in self.by_name.values())

    def open(self, name: str | None) -> Model:
        """The model of a name; None is the default.

        Raises:
            ParameterError: no such model is served.
        """
        model = self.by_name.get(self.default if name is None else name)
        if model is None:
            names = ", ".join(self.by_name)
            raise ParameterError(f"model {shown(name)} is not served here: {names} are")
        return model

    def find(self, checkpoint: str) -> str | None:
        """The name of the model of a checkpoint, by its SHA-256; None where none is served."""
        for name, model in self.by_name.items():
            if model.manifest.checkpoint.sha256 == checkpoint:
                return name
        return None

    def warm_up(self) -> None:
        """Run every graph of every model once.

        Raises:
            HcflowError: one fails.
        """
        for model in self.by_name.values():
            if goes(model, "upscale"):
                model.upscale(np.zeros((_WARM_UP_SIDE, _WARM_UP_SIDE, 3), np.uint8))
            if goes(model, "downscale"):
                side = _WARM_UP_SIDE * model.scale
                model.downscale(np.zeros((side, side, 3), np.uint8))


def goes(model: Model, direction: Direction) -> bool:
    """Whether a model has a graph of a direction."""
    return any(graph.direction == _GRAPHS[direction] for graph in model.manifest.graphs)


def check_direction(model: Model, direction: Direction) -> None:
    """Raise `ParameterError` where a model has no graph of a direction."""
    if not goes(model, direction):
        raise ParameterError(f"model '{model.manifest.name}' was built without {direction}")
