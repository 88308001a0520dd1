"""How runtimes of manifest schema 1 read a manifest: what they refuse, and what they ignore.

A copy of their rules, which later manifests must get past: such runtimes are in use, in Python and,
with the same rules, in C++.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from runtime.bundle.json_reader import Field
from runtime.errors import BundleError

PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class SeenGraph:
    direction: str
    precision: str
    file: str


def graphs(text: str) -> list[SeenGraph]:
    """The graphs that such a runtime finds; raises `BundleError` where it refuses the manifest."""
    root = Field(json.loads(text), "manifest")
    if root["schema"].integer(1) > 1:
        raise BundleError("made by a newer hcflow-deploy: upgrade")
    found = [_graph(graph) for graph in root["graphs"].items()]
    if not found:
        raise BundleError("$.graphs is empty")
    for engine in root["engines"].items():
        engine["precision"].choice(PRECISIONS)
    return found


def _graph(field: Field) -> SeenGraph:
    for key in ("latents", "within_budget"):
        field[key].flag()
    for key in ("contract", "opset", "bytes", "nodes"):
        field[key].integer(1)
    for key in ("tile", "overlap"):
        field[key].is_null()
    field["numerics"]["tf32"].flag()
    return SeenGraph(
        field["direction"].choice(("inverse", "forward")),
        field["precision"].choice(PRECISIONS),
        field["file"].text(),
    )
