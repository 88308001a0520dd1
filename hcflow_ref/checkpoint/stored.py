"""Tensors as a checkpoint describes them, before any of their numbers is read."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Storage:
    """Numbers that lie beside the pickle.

    Attributes:
        key: where they lie: the name of an archive's entry.
        number: PyTorch's name of their number format, such as "float32".
        location: the device that they were saved from.
    """

    key: str
    number: str
    location: str


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a storage.

    Attributes:
        storage: its numbers; `None` for kinds that are no weights (sparse, quantised, no data).
        number: PyTorch's name of its number format, such as "float32".
        offset: of its first number, in numbers.
        shape: its sizes.
        stride: steps of its axes, in numbers.
        layout: "strided", or what kind it is otherwise.
    """

    storage: Storage | None
    number: str
    offset: int = 0
    shape: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    layout: str = "strided"

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def device(self) -> str:
        """The device it was saved from; "meta" has no numbers."""
        return "meta" if self.storage is None else self.storage.location


@dataclass(eq=False)
class Opaque:
    """An object beside the weights that nobody looks into; `state` holds a module's attributes."""

    kind: str = ""
    state: dict[Any, Any] = field(default_factory=dict)
