"""The manifest of a bundle: frozen dataclasses whose fields are the JSON's keys.

`Manifest.from_json` checks every type and range and names the JSON path of what is wrong; keys it
does not know are ignored, so that a later version may add some without a new schema. What an
earlier reader would refuse, or take for something else, is listed under keys that it ignores
(docs/bundle.md, 1).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NoReturn, cast

from runtime.bundle import graph_entry
from runtime.bundle.graph_entry import (
    ANY_MACHINE,
    DIGEST,
    DIRECTIONS,
    PLAIN_NAME,
    PLAIN_WORD,
    PRECISIONS,
    Direction,
    Graph,
    Numerics,
    Precision,
    RecordedGrid,
    Target,
)
from runtime.bundle.graph_figures import Deviation, Drift, Loss, Parity, Seam
from runtime.bundle.graph_kinds import Unknown, read_any
from runtime.bundle.json_reader import Field
from runtime.errors import BundleError

__all__ = [
    "ANY_MACHINE",
    "CONTRACT",
    "DIRECTIONS",
    "FILE_NAME",
    "PRECISIONS",
    "SCHEMA",
    "TASKS",
    "Checkpoint",
    "Deviation",
    "Direction",
    "Drift",
    "Graph",
    "Latents",
    "Level",
    "Loss",
    "Manifest",
    "Numerics",
    "Parity",
    "Precision",
    "RecordedGrid",
    "Seam",
    "Target",
    "Task",
    "Unknown",
    "Vectors",
]

FILE_NAME = "manifest.json"
SCHEMA = 2
"""Version of the manifest that this module writes; it reads this one and those before."""
OLDEST_READER = 1
"""Schema of the oldest runtime that reads what this module writes: a manifest's `schema`."""
CONTRACT = 1
"""The graph contract this runtime speaks: names, layouts and ranges of inputs and outputs."""

Task = Literal["rescaling", "sr"]
TASKS: tuple[Task, ...] = ("rescaling", "sr")

LARGEST_SCALE = 64
"""Beyond it a manifest is damaged or hostile: nothing is allocated for it."""


@dataclass(frozen=True)
class Level:
    """Shape of one latent: z_l is [N, channels, H·factor, W·factor] for an LR of H×W."""

    channels: int
    factor: int


@dataclass(frozen=True)
class Latents:
    """The latent scheme (`runtime.latents.SCHEME`) and the levels, finest first."""

    scheme: str
    levels: tuple[Level, ...]

    def shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """(channels, height, width) of z1 … zL for an LR image of height × width."""
        return [(z.channels, height * z.factor, width * z.factor) for z in self.levels]


@dataclass(frozen=True)
class Checkpoint:
    """SHA-256 of the checkpoint file a bundle was built from, and where that file came from."""

    sha256: str
    provenance: Mapping[str, str]


@dataclass(frozen=True)
class Vectors:
    """The test vectors' .npz file and its SHA-256."""

    file: str
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Everything known of a bundle; immutable.

    `schema` is the oldest that a reader must know. `unknown` are graphs of kinds that this runtime
    does not know, which it skips; `engines` hold those of such graphs too.
    """

    schema: int
    name: str
    task: Task
    scale: int
    default_tau: float
    latents: Latents
    checkpoint: Checkpoint
    tools: Mapping[str, str]
    graphs: tuple[Graph, ...]
    vectors: Vectors
    engines: tuple[Mapping[str, Any], ...] = ()
    unknown: tuple[Unknown, ...] = ()

    @classmethod
    def from_json(cls, text: str, where: str) -> Manifest:
        """Parse and check a manifest; `where` names it in errors.

        Raises:
            BundleError: not JSON, a newer schema, or a value missing, of a wrong type or range.
        """
        try:
            root = Field(json.loads(text, parse_constant=_refuse_constant), where)
        except (ValueError, RecursionError) as error:
            raise BundleError(
                f"{where} is not a manifest: {error}; build the bundle again"
            ) from None
        schema = root["schema"].integer(1)
        if schema > SCHEMA:
            raise BundleError(
                f"{where} was made by a newer hcflow-deploy "
                f"(schema {schema}, this one reads {SCHEMA}): upgrade"
            )
        more = [read_any(g) for g in _optional_items(root, "more_graphs")]
        manifest = cls(
            schema=schema,
            name=root["name"].text(r"[^/\\\x00-\x1f\x7f-\x9f]+", "a name without slashes"),
            task=cast(Task, root["task"].choice(TASKS)),
            scale=root["scale"].integer(2, LARGEST_SCALE),
            default_tau=root["default_tau"].number(0),
            latents=_latents(root["latents"]),
            checkpoint=Checkpoint(
                root["checkpoint"]["sha256"].text(*DIGEST),
                _texts(root["checkpoint"]["provenance"]),
            ),
            tools=_texts(root["tools"]),
            graphs=(
                *(graph_entry.read(g) for g in root["graphs"].items()),
                *(graph for graph in more if isinstance(graph, Graph)),
            ),
            vectors=Vectors(
                root["vectors"]["file"].text(*PLAIN_NAME),
                root["vectors"]["sha256"].text(*DIGEST),
            ),
            engines=tuple(
                {k: v.value for k, v in e.members().items()}
                for e in (*root["engines"].items(), *_optional_items(root, "more_engines"))
            ),
            unknown=tuple(graph for graph in more if isinstance(graph, Unknown)),
        )
        if not manifest.graphs:
            raise BundleError(f"{where}: $.graphs is empty: build the bundle again")
        channels = 3 + sum(level.channels * level.factor**2 for level in manifest.latents.levels)
        if channels != 3 * manifest.scale**2:
            raise BundleError(
                f"{where}: $.latents.levels hold {channels - 3} values per LR pixel; "
                f"scale {manifest.scale} needs {3 * manifest.scale**2 - 3}"
            )
        return manifest

    def input_shapes(
        self, graph: Graph, n: int, height: int, width: int
    ) -> dict[str, tuple[int, ...]]:
        """Shapes of a graph's inputs, as float32 NCHW, for n LR images of height × width."""
        if graph.direction == "forward":
            return {"hr": (n, 3, self.scale * height, self.scale * width)}
        latents = self.latents.shapes(height, width) if graph.latents else []
        return {
            "lr": (n, 3, height, width),
            **{f"z{level}": (n, *shape) for level, shape in enumerate(latents, start=1)},
        }

    def to_json(self) -> str:
        """The manifest as indented JSON; `from_json` of it gives an equal manifest.

        Graphs of later schemas come back last, and with them the engines of such graphs.
        """
        keys = asdict(self)
        del keys["unknown"]
        known = [_without_absent_target(asdict(g)) for g in self.graphs if g.is_of_schema_1]
        more = [asdict(g) for g in self.graphs if not g.is_of_schema_1]
        more = [_without_absent_target(entry) for entry in more] + [g.entry for g in self.unknown]
        engines = [e for e in self.engines if e.get("precision") in ANY_MACHINE]
        more_engines = [e for e in self.engines if e not in engines]
        keys |= {"graphs": known, "engines": engines}
        if more or more_engines:
            keys |= {"schema_written": SCHEMA, "more_graphs": more, "more_engines": more_engines}
        return json.dumps(finite(keys), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _latents(field: Field) -> Latents:
    levels = tuple(
        Level(level["channels"].integer(1), level["factor"].integer(1))
        for level in field["levels"].items()
    )
    return Latents(field["scheme"].text(*PLAIN_WORD), levels)


def _optional_items(field: Field, key: str) -> list[Field]:
    found = field.get(key)
    return found.items() if found else []


def _without_absent_target(entry: dict[str, Any]) -> dict[str, Any]:
    """A graph's entry as bundles of schema 1 have it, where it is for any machine."""
    return {key: value for key, value in entry.items() if key != "target" or value is not None}


def _texts(field: Field) -> dict[str, str]:
    return {key: value.text() for key, value in field.members().items()}


def finite(value: Any) -> Any:
    """The same tree with null for every float that JSON cannot hold."""
    if isinstance(value, dict):
        return {key: finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
