"""A bundle on disk: its manifest, and the bytes of its files after their digest is checked."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import onnx_outline, uint8_images
from runtime.bundle.manifest import (
    CONTRACT,
    DIRECTIONS,
    FILE_NAME,
    PRECISIONS,
    Direction,
    Graph,
    Manifest,
    Precision,
    Target,
)
from runtime.errors import BundleError, one_line
from runtime.system import regular_file
from runtime.system.arguments import file_name, one_of, shown

IOS = ("float32", uint8_images.IO)
"""Kinds of images that a graph may take and give."""

# A key of every external tensor in ONNX (TensorProto.external_data), which our graphs never have.
_EXTERNAL = b"location"

MOST_MANIFEST = 4 << 20
"""Largest manifest in bytes, as in C++: a hundred times that of a bundle of all precisions."""

MOST_GRAPH = (1 << 31) - 1
"""Largest file in bytes: the largest ONNX file that its own format, protobuf, allows."""

MOST_VECTORS = 1 << 28
"""Largest test vectors in bytes, unpacked: hundreds of times what small images take."""

MOST_ARRAYS = 4096
"""Most arrays in the test vectors; NumPy's time to list them grows with their square."""

# Begins each entry of a zip's directory.
_ENTRY = b"PK\x01\x02"


@dataclass(frozen=True)
class Bundle:
    """An opened bundle: its folder and its manifest. Files are read and checked when used."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Bundle:
        """Open the bundle in a folder, given by its path or by the path of its manifest.json.

        Raises:
            BundleError: the path does not exist, is not a bundle, or its manifest cannot be used.
        """
        folder = Path(file_name("the bundle's path", path))
        # Of `os.path`: names that no system takes are files that do not exist.
        if folder.name == FILE_NAME and os.path.isfile(folder):
            folder = folder.parent
        if not os.path.exists(folder):
            raise BundleError(f"no bundle at '{folder}': the folder does not exist")
        if not os.path.isdir(folder):
            raise BundleError(f"'{folder}' is a file: give the bundle's folder")
        source = folder / FILE_NAME
        try:
            text = regular_file.read(source, MOST_MANIFEST).decode("utf-8")
        except FileNotFoundError:
            raise BundleError(f"'{folder}' is not a bundle: it has no {FILE_NAME}") from None
        except UnicodeDecodeError as error:
            raise BundleError(f"'{source}' is not a manifest: {error}") from None
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.EFBIG):
                reason = "it is not a file of at most 4 MiB"
                raise BundleError(f"'{source}' is not a manifest: {reason}") from None
            raise BundleError(f"cannot read '{source}': {error.strerror}") from error
        return cls(folder, Manifest.from_json(text, f"'{source}'"))

    def graph(
        self,
        direction: Direction,
        precision: Precision,
        latents: bool | None,
        io: str | None = None,
        targets: Sequence[Target | None] = (None,),
    ) -> Graph:
        """The graph with these properties.

        Args:
            direction: which way.
            precision: of its networks.
            latents: whether the graph takes or gives latents; None prefers one that does. True
                falls back to a graph without them where no other fits.
            io: `float32` or `uint8`; None takes either, float32 first.
            targets: what the graph may be made for, the best first; None is any machine.

        Raises:
            BundleError: the bundle has no such graph for these targets, or it needs a newer
                runtime.
        """
        one_of("direction", direction, DIRECTIONS)
        if not isinstance(precision, str) or precision not in PRECISIONS:
            names = ", ".join(PRECISIONS)
            raise BundleError(f"unknown precision {shown(precision)}: one of {names}")
        if io is not None:
            one_of("io", io, IOS)
        found = [g for g in self.manifest.graphs if g.direction == direction]
        if not found:
            raise BundleError(
                f"bundle '{self.manifest.name}' has no {direction} graph: "
                f"build it with --direction {direction} or --direction both"
            )
        fitting = [g for g in found if g.precision == precision and g.target in targets]
        if not fitting:
            raise BundleError(self._lacks(direction, precision, targets))
        if io is not None and all(g.io != io for g in fitting):
            raise BundleError(
                f"bundle '{self.manifest.name}' has no {direction} graph in {precision} with {io} "
                f"images: build it with --io {io}"
            )
        graph = min(
            fitting,
            key=lambda g: (
                latents is True and not g.latents,
                g.io != (io or "float32"),
                targets.index(g.target),
                g.latents != (latents is not False),
            ),
        )
        if graph.contract != CONTRACT or graph.io not in IOS:
            raise BundleError(
                f"'{graph.file}' follows graph contract {graph.contract} with {graph.io} images; "
                f"this runtime speaks contract {CONTRACT} with {' and '.join(IOS)}: upgrade "
                "hcflow-deploy"
            )
        return graph

    def _lacks(
        self, direction: Direction, precision: Precision, targets: Sequence[Target | None]
    ) -> str:
        """Why there is no graph in a precision, although there are graphs of its direction."""
        found = [g for g in self.manifest.graphs if g.direction == direction]
        for graph in found:
            if graph.precision == precision:
                return (
                    f"bundle '{self.manifest.name}' has its {direction} {precision} graph for "
                    f"{graph.target} alone: use --backend tensorrt-rtx or tensorrt, or another "
                    "--precision"
                )
        there = ", ".join(sorted({g.precision for g in found if g.target in targets}))
        name = self.manifest.name
        return f"bundle '{name}' has its {direction} graph in {there}, not in {precision}"

    def read(
        self, file: str, sha256: str, size: int | None = None, most: int = MOST_GRAPH
    ) -> bytes:
        """The bytes of one file of the bundle, checked against the manifest's size and digest.

        Args:
            file: its name in the bundle.
            sha256: its digest.
            size: its bytes, where the manifest states them.
            most: larger files are refused before they are read.

        Raises:
            BundleError: it is missing, outside the bundle, too large, or has another size or
                digest.
        """
        path = self.folder / file_name("file", file)
        try:
            inside = Path(os.path.realpath(path))  # which knows links that lead to themselves
            if not inside.is_relative_to(self.folder.resolve()):
                raise BundleError(f"'{path}' is a link that leaves the bundle: refused")
            with regular_file.open_file(path) as opened:
                found = os.fstat(opened.fileno()).st_size
                if size is not None and found != size:
                    raise BundleError(
                        f"'{path}' has {found} bytes, the manifest says {size}: "
                        "incomplete; fetch or build the bundle again"
                    )
                data = regular_file.read_open(opened, most)
        except FileNotFoundError:
            raise BundleError(f"'{path}' is missing: fetch or build the bundle again") from None
        except (OSError, ValueError) as error:  # ValueError: a name that no system takes
            reason = getattr(error, "strerror", None) or one_line(error)
            raise BundleError(f"cannot read '{path}': {reason}") from error
        # What is hashed is what is used: the file is never opened a second time.
        if not isinstance(sha256, str) or hashlib.sha256(data).hexdigest() != sha256:
            raise BundleError(
                f"'{path}' does not have the SHA-256 in the manifest: "
                "damaged or altered; fetch or build the bundle again"
            )
        return data

    def read_graph(self, graph: Graph) -> bytes:
        """The checked bytes of a graph's ONNX file, which refers to no other file.

        Raises:
            BundleError: as `read`; it has tensors in another file, whose digest is unknown; or it
                has control flow or functions (`onnx_outline`).
        """
        data = self.read(graph.file, graph.sha256, graph.bytes)
        if _EXTERNAL in data:
            raise BundleError(f"'{graph.file}' takes weights from outside itself: refused")
        onnx_outline.check(data, graph.file)
        return data

    def read_vectors(self) -> dict[str, NDArray[np.generic]]:
        """The checked test vectors by key (`runtime.bundle.test_vectors` gives them structure)."""
        vectors = self.manifest.vectors
        data = self.read(vectors.file, vectors.sha256, most=MOST_VECTORS)
        if data.count(_ENTRY) > MOST_ARRAYS:
            raise BundleError(f"'{vectors.file}' holds more than {MOST_ARRAYS} arrays: refused")
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > MOST_VECTORS:
                raise BundleError(f"'{vectors.file}' unpacks to {unpacked} bytes: refused")
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                return {key: arrays[key] for key in arrays.files}
        except BundleError:
            raise
        except Exception as error:  # damaged archives fail in many ways
            raise BundleError(f"'{vectors.file}' does not contain test vectors: {error}") from error
