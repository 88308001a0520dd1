"""What an engine's compiler made of its graph: convolutions, other kernels, bytes, operations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runtime.bundle.json_reader import Field


@dataclass(frozen=True)
class Program:
    """What the compiler made of the graph, read out of the engine.

    Sizes are those of the first profile's `best` shapes.

    Attributes:
        convolutions: how many read each type, `fp16`.
        fused: how many of them compute more than their bias: activation, cast or residual.
        others: every other kernel.
        bytes: of the activations that kernels read and write; None where not known.
        operations: of the convolutions by the type they read, a multiply-add being two; None where
            not known.
    """

    convolutions: Mapping[str, int]
    fused: int
    others: int
    bytes: int | None = None
    operations: Mapping[str, int] | None = None

    @property
    def kernels(self) -> int:
        """All launches."""
        return sum(self.convolutions.values()) + self.others

    @classmethod
    def from_field(cls, field: Field) -> Program:
        """Read the key `program` of an engine's entry. Raises `BundleError`."""
        moved, operations = field.get("bytes"), field.get("operations")
        return cls(
            convolutions=_counts(field["convolutions"]),
            fused=field["fused"].integer(0),
            others=field["others"].integer(0),
            bytes=moved.integer(0) if moved else None,
            operations=_counts(operations) if operations else None,
        )


def _counts(field: Field) -> dict[str, int]:
    return {key: value.integer(0) for key, value in field.members().items()}
