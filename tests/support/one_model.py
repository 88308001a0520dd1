"""One open model in place of those that a name would open."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runtime.model import Model


@dataclass(frozen=True)
class OneModel:
    """`runtime.convert.job.Models` that has one model under every name."""

    model: Model
    options: Mapping[str, Any] = field(default_factory=dict)

    def open(self, name: str | None) -> Model:
        """The model."""
        return self.model

    def find(self, checkpoint: str) -> str | None:
        """Nothing: no other is here."""
        return None
