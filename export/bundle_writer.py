"""Artifacts → bundle: a folder whose manifest, written last, commits it (docs/bundle.md, 4)."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from export.artifact import Artifact
from export.checks.reference_cases import Case
from export.errors import ExportError
from export.folded.fold import GraphSpec
from export.precision.report import page_of
from hcflow_ref.checkpoint.load import Checkpoint
from runtime.bundle.engines.entry import Engine, of_manifest, of_unknown_graphs
from runtime.bundle.manifest import FILE_NAME, OLDEST_READER, Latents, Level, Manifest, Vectors
from runtime.bundle.manifest import Checkpoint as CheckpointEntry
from runtime.bundle.reader import MOST_MANIFEST, Bundle
from runtime.errors import BundleError
from runtime.latents import SCHEME
from runtime.system import atomic
from runtime.system.lock import locked

_NAMES = re.compile(
    r"(?:(?:inverse|forward)\.[a-z0-9.]+|report\.[a-z]+\.[a-z0-9]+|vectors)"
    r"\.([0-9a-f]{12})\.(?:onnx|json|html|npz)"
)
"""Files that `write` writes before the manifest."""

TOOLS = ("hcflow-deploy", "torch", "onnx", "onnx-ir", "onnxruntime", "numpy")
"""Distributions whose versions a manifest records."""


def write(
    folder: Path,
    name: str,
    checkpoint: Checkpoint,
    default_tau: float,
    artifacts: Sequence[Artifact],
    cases: Sequence[Case],
) -> Manifest:
    """Write a bundle, or add graphs to one of the same checkpoint.

    Whatever dies before the manifest is replaced leaves the old bundle intact, and no new one.

    Args:
        folder: the bundle; made where it is missing.
        name: the model's name.
        checkpoint: what the graphs were made from.
        default_tau: temperature that the runtime uses by default.
        artifacts: graphs to write; each replaces the one of its specification.
        cases: test vectors of this bundle.

    Raises:
        ExportError: the folder is not such a bundle, `settle` refuses the temperature, or the
            manifest would be larger than the runtime reads.
        OSError: it cannot be written.
    """
    with _locked(folder):
        old = existing(folder, checkpoint)
        built = [artifact.entry for artifact in artifacts]
        replaced = {GraphSpec.of(graph) for graph in built}
        kept = [graph for graph in old.graphs if GraphSpec.of(graph) not in replaced] if old else []
        # An engine is of one graph's bytes: it stays as long as that graph does.
        digests = {graph.sha256 for graph in (*kept, *built)}
        kept_engines = [e.to_mapping() for e in _engines(old) if e.graph in digests] if old else []
        engines = (*kept_engines, *(of_unknown_graphs(old) if old else ()))
        vectors = _vectors(cases, folder, old)
        digest = hashlib.sha256(vectors).hexdigest()
        manifest = Manifest(
            schema=OLDEST_READER,
            name=name,
            task=checkpoint.config.task,
            scale=checkpoint.config.scale,
            default_tau=settle(old, replaced, default_tau),
            latents=Latents(
                SCHEME, tuple(Level(c, f) for c, f, _ in checkpoint.config.latent_shapes(1, 1))
            ),
            checkpoint=CheckpointEntry(checkpoint.sha256, dict(checkpoint.provenance)),
            tools=_tool_versions(),
            graphs=(*kept, *built),
            vectors=Vectors(f"vectors.{digest[:12]}.npz", digest),
            engines=engines,
            unknown=old.unknown if old else (),
        )
        text = manifest.to_json()
        Manifest.from_json(text, f"the manifest of '{name}'")  # what is written can be read
        if (size := len(text.encode())) > MOST_MANIFEST:
            raise ExportError(
                f"the manifest of '{name}' would have {size} bytes, more than {MOST_MANIFEST}: "
                "the checkpoint's metadata or the bundle's graphs are too many"
            )
        files = {a.entry.file: a.data for a in artifacts}
        files |= {name: data for a in artifacts for name, data in a.files.items()}
        files |= {manifest.vectors.file: vectors, FILE_NAME: text.encode()}
        before = _files(old) if old else set()
        _commit(folder, files, before)
        listed = _files(manifest)
        for path in folder.iterdir():
            if path.name in listed or atomic.is_temporary(path.name):
                continue
            if path.name in before or _is_ours(path):
                path.unlink(missing_ok=True)
        return manifest


def existing(folder: Path, checkpoint: Checkpoint) -> Manifest | None:
    """The manifest of a bundle of the same checkpoint; `None` for an empty or missing folder.

    Raises:
        ExportError: the folder holds anything else, or a damaged bundle.
    """
    if not folder.exists() or (folder.is_dir() and all(map(_is_ours, folder.iterdir()))):
        return None  # empty, or what a killed build has left
    if not (folder / FILE_NAME).is_file():
        raise ExportError(
            f"'{folder}' is not a bundle and not empty; give another --output or empty it"
        )
    try:
        manifest = Bundle.open(folder).manifest
    except BundleError as error:
        raise ExportError(_damaged(folder, error)) from error
    if manifest.checkpoint.sha256 != checkpoint.sha256:
        raise ExportError(
            f"'{folder}' is a bundle of another checkpoint ('{manifest.name}', "
            f"{manifest.checkpoint.sha256[:12]}…); give another --output or delete it"
        )
    return manifest


def _is_ours(path: Path) -> bool:
    """Whether a build has written a file: its name carries the digest of its content.

    Of a report's page it is the digest of the report. Temporary files count.
    """
    if path.is_symlink() or not path.is_file():
        return False
    named = _NAMES.fullmatch(path.name)
    if named is None or path.suffix == ".html":
        return named is not None or atomic.is_temporary(path.name)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(named[1])


def _damaged(folder: Path, error: BundleError) -> str:
    return f"'{folder}' is a damaged bundle ({error}); delete it or give another --output"


def settle(old: Manifest | None, specs: Collection[GraphSpec], asked: float) -> float:
    """The default τ of a bundle once graphs of these specifications are in it.

    The older bundle's where its graphs with latents stay and none is built: τ is theirs.

    Raises:
        ExportError: a graph that stays was measured at lower temperatures alone.
    """
    kept = [graph for graph in old.graphs if GraphSpec.of(graph) not in specs] if old else []
    with_latents = [graph for graph in kept if graph.direction == "inverse" and graph.latents]
    built = any(spec.direction == "inverse" and spec.latents for spec in specs)
    if old and with_latents and not built:
        return old.default_tau
    for graph in with_latents:
        # fp32 needs no measuring at τ, and of a graph without figures nobody knows.
        highest = max((row.tau for row in graph.losses), default=asked)
        if highest < asked:
            raise ExportError(
                f"the bundle's {graph.title} graph was chosen for τ up to {highest:g} and would "
                f"be run at {asked:g}: build it again as well, give --tau {highest:g}, or another "
                "--output"
            )
    return asked


def _engines(manifest: Manifest) -> list[Engine]:
    """The engines of an older manifest; none if they cannot be read."""
    with contextlib.suppress(BundleError):
        return of_manifest(manifest, f"'{manifest.name}'")
    return []


def _files(manifest: Manifest) -> set[str]:
    engines = {engine.file for engine in _engines(manifest)}
    engines |= {str(entry.get("file")) for entry in of_unknown_graphs(manifest)}
    reports = {graph.report for graph in manifest.graphs if graph.report is not None}
    graphs = {graph.file for graph in manifest.graphs}
    for unknown in manifest.unknown:
        graphs |= unknown.files
        reports |= {name for name in unknown.files if name.endswith(".json")}
    pages = {page_of(name) for name in reports}
    return {manifest.vectors.file} | graphs | reports | pages | engines


def _vectors(cases: Sequence[Case], folder: Path, old: Manifest | None) -> bytes:
    """The cases as .npz; directions that they do not cover keep the old bundle's vectors."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    built = {case.direction for case in cases}
    if old and any(graph.direction not in built for graph in old.graphs):
        try:
            stored = Bundle(folder, old).read_vectors()
        except BundleError as error:
            raise ExportError(_damaged(folder, error)) from error
        arrays |= {key: x for key, x in stored.items() if key.split("/")[0] not in built}
    for case in cases:
        prefix = f"{case.direction}/{case.name}, tau {case.tau:g}"
        arrays[f"{prefix}/tau"] = np.array(case.tau)
        arrays |= {f"{prefix}/in/{name}": x for name, x in case.inputs.items()}
        arrays |= {f"{prefix}/out/{name}": x for name, x in case.outputs.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _tool_versions() -> dict[str, str]:
    versions = {}
    for tool in TOOLS:
        with contextlib.suppress(PackageNotFoundError):  # a checkout that is not installed
            versions[tool] = version(tool)
    return versions


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a folder, made where it is missing; wait while another builder holds it.

    Without it two builds that add to one bundle would read the same old manifest, and the later
    would leave out the earlier's graph.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder):
            yield
    except BaseException:
        if made:
            with contextlib.suppress(OSError):  # another builder has put something there
                folder.rmdir()
        raise


def _commit(folder: Path, files: Mapping[str, bytes], kept: set[str]) -> None:
    """Write files in order, the manifest last; before it is there, a failure leaves none of them.

    Args:
        folder: the bundle.
        files: content by name.
        kept: names that an older manifest refers to, and that stay whatever happens.
    """
    try:
        for file, data in files.items():
            atomic.write(folder / file, data)
    except BaseException:
        manifest = folder / FILE_NAME
        with contextlib.suppress(OSError):  # what went wrong first is what matters
            if not (manifest.is_file() and manifest.read_bytes() == files[FILE_NAME]):
                for file in files.keys() - kept - {FILE_NAME}:
                    (folder / file).unlink(missing_ok=True)
        raise
