"""Test vectors of a bundle: small inputs and the float64 reference's outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import uint8_images
from runtime.bundle.manifest import DIRECTIONS, Direction, Graph
from runtime.bundle.reader import Bundle
from runtime.errors import BundleError


@dataclass(frozen=True)
class Case:
    """One run of the reference: `inputs` float32 and `outputs` float64, by graph name."""

    direction: Direction
    name: str
    tau: float
    inputs: Mapping[str, NDArray[np.float32]]
    outputs: Mapping[str, NDArray[np.float64]]

    def fits(self, graph: Graph) -> bool:
        """Whether a graph can be checked on this case: its direction, 8-bit images, τ = 0."""
        return (
            self.direction == graph.direction
            and (graph.direction == "forward" or graph.latents or self.tau == 0)
            and (graph.io != uint8_images.IO or uint8_images.fits(self.inputs))
        )


def read(bundle: Bundle) -> list[Case]:
    """The cases of a bundle.

    Raises:
        BundleError: the file is damaged, or has a key other than
            `{direction}/{case}/in/{name}`, `…/out/{name}` and `…/tau`.
    """
    found: dict[tuple[str, str], dict[str, NDArray[np.generic]]] = {}
    for key, value in bundle.read_vectors().items():
        direction, case, entry = (*key.split("/", 2), "", "")[:3]
        kind = entry.split("/")[0]
        if direction not in DIRECTIONS or kind not in ("in", "out", "tau"):
            raise BundleError(f"test vectors of '{bundle.folder}': unexpected key '{key}'")
        found.setdefault((direction, case), {})[entry] = value
    try:
        return [
            Case(
                direction=cast(Direction, direction),
                name=case,
                tau=float(entries["tau"].item()) if "tau" in entries else 0.0,
                inputs={k[3:]: v.astype(np.float32) for k, v in entries.items() if k[:3] == "in/"},
                outputs={
                    k[4:]: v.astype(np.float64) for k, v in entries.items() if k[:4] == "out/"
                },
            )
            for (direction, case), entries in found.items()
        ]
    except (TypeError, ValueError) as error:
        raise BundleError(f"test vectors of '{bundle.folder}' are not numbers: {error}") from error
