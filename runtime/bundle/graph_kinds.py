"""Which of several graphs a target takes, and kinds of graphs that this runtime does not know."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.bundle.graph_entry import PLAIN_WORD, PRECISIONS, TARGETS, Graph, Target, read
from runtime.bundle.json_reader import Field


def preferred(graphs: Iterable[Graph], targets: Sequence[Target | None]) -> list[Graph]:
    """The graphs for these targets; of those that differ in nothing else, the earlier target's."""
    found: dict[tuple[object, ...], Graph] = {}
    for graph in graphs:
        if graph.target not in targets:
            continue
        kind = (graph.direction, graph.precision, graph.latents, graph.io)
        other = found.setdefault(kind, graph)
        if targets.index(graph.target) < targets.index(other.target):
            found[kind] = graph
    return list(found.values())


@dataclass(frozen=True)
class Unknown:
    """A graph in a precision, or for a target, that this runtime does not know: it is skipped.

    `entry` is what the manifest says of it, kept so that a build does not lose it.
    """

    precision: str
    target: str | None
    entry: dict[str, Any]

    @property
    def title(self) -> str:
        """Its direction, precision and target, as far as they can be read."""
        name = f"{self.entry.get('direction', 'graph')} {self.precision}"
        return name if self.target is None else f"{name} for {self.target}"

    @property
    def files(self) -> set[str]:
        """The files that its entry names."""
        return {x for key in ("file", "report") if isinstance(x := self.entry.get(key), str)}


def read_any(field: Field) -> Graph | Unknown:
    """An entry of `more_graphs`: a graph, or one of a kind that only later runtimes know.

    Raises:
        BundleError: as `read`; of an unknown kind only the words of the kind are checked.
    """
    precision = field["precision"].text(*PLAIN_WORD)
    target = found.text(*PLAIN_WORD) if (found := field.get("target")) else None
    if precision in PRECISIONS and (target is None or target in TARGETS):
        return read(field, PRECISIONS)
    return Unknown(precision, target, {k: each.value for k, each in field.members().items()})
