"""The entry of a compiled engine: what made it, for which GPUs and which shapes.

An engine is made by one version of a library for some GPUs and some shapes. Its entry, in the
manifest or in the sidecar of a cached engine, says all of that, so that an engine that does not fit
is refused with a reason before the library tries to load it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

from runtime.bundle.engines.program import Program
from runtime.bundle.graph_entry import (
    DIGEST,
    DIRECTIONS,
    PLAIN_NAME,
    PLAIN_WORD,
    PRECISIONS,
    Direction,
    Precision,
)
from runtime.bundle.json_reader import Field
from runtime.bundle.manifest import Manifest
from runtime.errors import BundleError

Library = Literal["tensorrt", "tensorrt-rtx"]
LIBRARIES: tuple[Library, ...] = ("tensorrt", "tensorrt-rtx")

Hardware = Literal["none", "ampere+", "same-capability"]
HARDWARE: tuple[Hardware, ...] = ("none", "ampere+", "same-capability")
"""GPUs beyond the one it was built on that a TensorRT engine may run on."""

Shape = tuple[int, ...]

_CAPABILITY = (r"[1-9]\d{0,8}\.\d", "a compute capability such as 8.9")


@dataclass(frozen=True)
class Range:
    """Shapes of one input that an engine accepts, and the one it is tuned for."""

    smallest: Shape
    best: Shape
    largest: Shape

    def holds(self, shape: Shape) -> bool:
        """Whether a shape lies between the smallest and the largest."""
        return len(shape) == len(self.smallest) and all(
            low <= size <= high
            for low, size, high in zip(self.smallest, shape, self.largest, strict=True)
        )


Profile = Mapping[str, Range]
"""Accepted range of every input by name."""


@dataclass(frozen=True)
class Memory:
    """Bytes of GPU memory as the compiler reported them; None where it did not."""

    scratch: int | None
    weights: int | None
    activations: int | None


@dataclass(frozen=True)
class Engine:
    """The entry of one engine file.

    Attributes:
        file, sha256, bytes: the engine.
        graph: SHA-256 of the ONNX graph it was compiled from.
        direction, precision, latents: of that graph.
        library: what compiled it and runs it, in `version`.
        compute_capabilities: GPUs it was compiled for; with TensorRT the one it was compiled on.
        profiles: accepted shapes.
        tf32: whether float32 convolutions may run in TF32.
        version_compatible: later versions of the library may run it.
        hardware: other GPUs that may run it.
        refittable: it accepts new weights.
        optimization_level: the builder's effort, None for its default.
        build_seconds: how long the compilation took.
        memory: see `Memory`.
        layers: how many convolutions run in each precision, by the engine inspector; None where
            unknown, as after a compilation without a GPU.
        program: its kernels; None where unknown, as for every engine of TensorRT.
        form: of the dense blocks that were compiled, `flat` as the graph has them.
    """

    file: str
    sha256: str
    bytes: int
    graph: str
    direction: Direction
    precision: Precision
    latents: bool
    library: Library
    version: str
    compute_capabilities: tuple[str, ...]
    profiles: tuple[Profile, ...]
    tf32: bool
    version_compatible: bool
    hardware: Hardware
    refittable: bool
    optimization_level: int | None
    build_seconds: float
    memory: Memory
    layers: Mapping[str, int] | None = None
    program: Program | None = None
    form: str = "flat"

    @classmethod
    def from_field(cls, field: Field) -> Engine:
        """Read an entry: a sidecar, or one of a manifest's `engines`.

        Raises:
            BundleError: a value is missing, or of a wrong type or range.
        """
        level, layers = field.get("optimization_level"), field.get("layers")
        memory, program, form = field["memory"], field.get("program"), field.get("form")
        return cls(
            file=field["file"].text(*PLAIN_NAME),
            sha256=field["sha256"].text(*DIGEST),
            bytes=field["bytes"].integer(1),
            graph=field["graph"].text(*DIGEST),
            direction=cast(Direction, field["direction"].choice(DIRECTIONS)),
            precision=cast(Precision, field["precision"].choice(PRECISIONS)),
            latents=field["latents"].flag(),
            library=cast(Library, field["library"].choice(LIBRARIES)),
            version=field["version"].text(r"\d{1,9}(\.\d{1,9})*", "a version of numbers and dots"),
            compute_capabilities=tuple(
                c.text(*_CAPABILITY) for c in field["compute_capabilities"].items()
            ),
            profiles=tuple(
                {name: _range(r) for name, r in p.members().items()}
                for p in field["profiles"].items()
            ),
            tf32=field["tf32"].flag(),
            version_compatible=field["version_compatible"].flag(),
            hardware=cast(Hardware, field["hardware"].choice(HARDWARE)),
            refittable=field["refittable"].flag(),
            optimization_level=level.integer(0) if level else None,
            build_seconds=field["build_seconds"].number(0),
            memory=Memory(*(_bytes(memory, k) for k in ("scratch", "weights", "activations"))),
            layers={k: v.integer(0) for k, v in layers.members().items()} if layers else None,
            program=Program.from_field(program) if program else None,
            form=form.text(*PLAIN_WORD) if form else "flat",
        )

    @classmethod
    def from_json(cls, text: str, where: str) -> Engine:
        """Parse a sidecar; `where` names it in errors. Raises `BundleError`."""
        try:
            return cls.from_field(Field(json.loads(text), where))
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{where} is not the sidecar of an engine: {error}") from None

    def to_mapping(self) -> dict[str, Any]:
        """The entry as a manifest's `engines` holds it; `from_field` gives an equal engine."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    def holds(self, shapes: Mapping[str, Shape]) -> int | None:
        """The first profile that holds these input shapes, or None."""
        for index, profile in enumerate(self.profiles):
            if all(name in profile and profile[name].holds(s) for name, s in shapes.items()):
                return index
        return None


def of_manifest(manifest: Manifest, where: str) -> list[Engine]:
    """The engines of a bundle; `where` names it in errors. Raises `BundleError`.

    Engines of graphs in a precision that this runtime does not know are left out.
    """
    fields = [
        Field(dict(entry), where, f"$.engines[{i}]") for i, entry in enumerate(manifest.engines)
    ]
    return [Engine.from_field(field) for field in fields if _is_known(field)]


def of_unknown_graphs(manifest: Manifest) -> list[Mapping[str, Any]]:
    """Entries of engines that `of_manifest` leaves out, as the manifest has them."""
    return [entry for entry in manifest.engines if entry.get("precision") not in PRECISIONS]


def _is_known(field: Field) -> bool:
    return field["precision"].text(*PLAIN_WORD) in PRECISIONS


def _range(field: Field) -> Range:
    return Range(
        *(
            tuple(size.integer(1) for size in field[key].items())
            for key in ("smallest", "best", "largest")
        )
    )


def _bytes(field: Field, key: str) -> int | None:
    found = field.get(key)
    return found.integer(0) if found else None
