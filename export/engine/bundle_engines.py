"""A bundle's graphs → engines, into the bundle or the user's cache, each with its entry."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from export.engine import layer_precision, nvidia_commands
from export.engine.compile import compile_graph
from export.engine.options import EngineOptions
from export.engine.profile import profile
from export.errors import ExportError
from export.forms.dense_blocks import find
from export.forms.rewrite import Form, rewrite
from runtime.backends import targets_of, tensorrt_engine
from runtime.backends.cuda.device import Device
from runtime.bundle.engines import cache
from runtime.bundle.engines.entry import Engine, Library, Profile, of_manifest, of_unknown_graphs
from runtime.bundle.graph_kinds import preferred
from runtime.bundle.manifest import FILE_NAME, Direction, Graph, Manifest, Precision
from runtime.bundle.reader import Bundle
from runtime.errors import HcflowError
from runtime.system import atomic
from runtime.system.lock import locked

_FLAGS = 2
"""Raised when the compiler's fixed flags change, so that engines of before are not taken."""

Progress = Callable[[str, str, float], None]
"""(graph, phase, share done in 0…1)."""


@dataclass(frozen=True)
class Made:
    """An engine, its file, and NVIDIA's own commands for it.

    Attributes:
        engine: its entry.
        path: the file.
        commands: the same compilation by `trtexec` (`tensorrt_rtx`) and `polygraphy`.
        warnings: what the compiler warned of.
        cached: whether it was there already.
    """

    engine: Engine
    path: Path
    commands: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    cached: bool = False


def compile_bundle(
    bundle: Bundle,
    options: EngineOptions,
    *,
    directions: Sequence[Direction] = ("inverse", "forward"),
    precisions: Sequence[Precision] | None = None,
    into_bundle: bool = False,
    again: bool = False,
    progress: Progress = lambda _graph, _phase, _share: None,
) -> list[Made]:
    """Compile a bundle's graphs.

    Args:
        bundle: whose graphs.
        options: what to compile for.
        directions: which graphs.
        precisions: which of their precisions; None means all.
        into_bundle: keep the engines in the bundle instead of the user's cache. The manifest is
            written once, last: a compilation that dies leaves the bundle as it was.
        again: compile also what the cache holds already.
        progress: see `Progress`.

    Raises:
        ExportError: no such graph, or `compile_graph` cannot compile it.
        BundleError: a graph is damaged.
        OSError: the engines cannot be written.
    """
    graphs = asked_for(bundle, directions, precisions, options.library)
    if precisions is None and len(graphs) > 1:  # of all graphs, those that these GPUs run
        graphs = [graph for graph in graphs if options.runs(graph.precision)]
    if not graphs:
        raise ExportError(
            f"bundle '{bundle.manifest.name}' has no {' or '.join(directions)} graph"
            + (f" in {' or '.join(precisions)}" if precisions else "")
        )
    built = []
    for graph in graphs:
        made, data = _compile(bundle, graph, options, again, progress)
        if not into_bundle and not made.cached:
            made = replace(made, path=cache.write(made.engine, data))
        built.append((made, data))
    if not into_bundle:
        return [made for made, _ in built]
    return add_to_bundle(bundle, built)


def asked_for(
    bundle: Bundle,
    directions: Sequence[Direction],
    precisions: Sequence[Precision] | None,
    library: Library,
) -> list[Graph]:
    """The graphs that a library runs of these directions and precisions; None is every precision.

    Of graphs that differ in their target alone, the one that is made for the library.
    """
    return [
        graph
        for graph in preferred(bundle.manifest.graphs, targets_of(library))
        if graph.direction in directions and (precisions is None or graph.precision in precisions)
    ]


def _compile(
    bundle: Bundle, graph: Graph, options: EngineOptions, again: bool, progress: Progress
) -> tuple[Made, bytes]:
    title, options = graph.title, options.for_precision(graph.precision)
    sizes = options.sizes.profiles_for(graph)
    sized = replace(options, sizes=sizes[-1])
    stored = onnx.load_from_string(bundle.read_graph(graph))
    form = options.form_of(graph.precision) if find(stored.graph) else "flat"
    model = rewrite(stored, form)
    profiles = tuple(profile(model, each) for each in sizes)
    lowered = model.SerializeToString()
    version = tensorrt_engine.version_of(tensorrt_engine.load_library(options.library))
    name = _cache_name(graph, profiles, sized, version, form)
    onnx_path = str(bundle.folder / graph.file)
    engine_path = str(Path(graph.file).with_suffix(".engine"))
    commands = tuple(
        tool(onnx_path, engine_path, profiles, sized)
        for tool in (nvidia_commands.trtexec, nvidia_commands.polygraphy)
    )
    if not again:
        for engine, path in cache.find(graph.sha256):
            if engine.file != name:
                continue
            try:
                data = cache.read(engine, path)
            except HcflowError:  # damaged: made again
                continue
            warnings = _fallen_back(engine, lowered, options)
            return Made(engine, path, commands, warnings, cached=True), data
    compiled = compile_graph(
        lowered,
        profiles,
        graph.precision,
        sized,
        lambda phase, share: progress(title, phase, share),
    )
    engine = Engine(
        file=name,
        sha256=hashlib.sha256(compiled.data).hexdigest(),
        bytes=len(compiled.data),
        graph=graph.sha256,
        direction=graph.direction,
        precision=graph.precision,
        latents=graph.latents,
        library=options.library,
        version=version,
        compute_capabilities=_capabilities(options),
        profiles=profiles,
        tf32=options.tf32,
        version_compatible=options.version_compatible,
        hardware=options.hardware,
        refittable=options.refittable,
        optimization_level=options.optimization_level,
        build_seconds=round(compiled.seconds, 3),
        memory=compiled.record.memory(),
        layers=compiled.layers,
        program=compiled.program.entry() if compiled.program else None,
        form=form,
    )
    warnings = (*compiled.record.warnings, *_fallen_back(engine, lowered, options))
    return Made(engine, Path(), commands, tuple(dict.fromkeys(warnings))), compiled.data


def _fallen_back(engine: Engine, graph: bytes, options: EngineOptions) -> tuple[str, ...]:
    """What `layer_precision.fallen_back` says of an engine whose program can be read."""
    if engine.library != "tensorrt-rtx":  # of TensorRT's layers the inspector tells
        return ()
    found = None if engine.program is None else engine.program.convolutions
    warning = layer_precision.fallen_back(found, graph, engine.precision, strict=options.strict)
    return () if warning is None else (f"{engine.direction} {engine.precision}: {warning}",)


def _capabilities(options: EngineOptions) -> tuple[str, ...]:
    if options.library == "tensorrt-rtx":
        return options.targets()
    return (Device.open(options.device).compute_capability,)


def _cache_name(
    graph: Graph,
    profiles: Sequence[Profile],
    options: EngineOptions,
    version: str,
    form: Form,
) -> str:
    """A name by everything that an engine depends on, so that equal requests meet."""
    facts = {
        "capabilities": _capabilities(options),
        "profiles": [
            {name: (r.smallest, r.best, r.largest) for name, r in ranges.items()}
            for ranges in profiles
        ],
        "flags": _FLAGS,
        "form": form,
        "options": (
            options.workspace,
            options.optimization_level,
            options.tf32,
            options.version_compatible,
            options.hardware,
            options.refittable,
        ),
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return f"{graph.sha256[:12]}.{options.library}-{version}.{key[:12]}.engine"


def add_to_bundle(bundle: Bundle, built: Sequence[tuple[Made, bytes]]) -> list[Made]:
    """Put engines into the bundle: files first, the manifest last, then the replaced files away.

    Builders of the same bundle wait. An engine of a graph that one has replaced is left out.
    """
    with locked(bundle.folder):
        return _add(bundle, built)


def _add(bundle: Bundle, built: Sequence[tuple[Made, bytes]]) -> list[Made]:
    manifest = Manifest.from_json(
        (bundle.folder / FILE_NAME).read_text(encoding="utf-8"), f"'{bundle.folder / FILE_NAME}'"
    )
    graphs = {graph.sha256 for graph in manifest.graphs}
    built = [(each, data) for each, data in built if each.engine.graph in graphs]
    made = [
        replace(each, engine=replace(each.engine, file=_bundle_name(each.engine)))
        for each, _ in built
    ]
    slots = {_slot(each.engine) for each in made}
    old = of_manifest(manifest, f"'{bundle.folder}'")
    kept = [engine for engine in old if _slot(engine) not in slots]
    new = replace(
        manifest,
        engines=(
            *(e.to_mapping() for e in (*kept, *(each.engine for each in made))),
            *of_unknown_graphs(manifest),
        ),
    )
    before = {engine.file for engine in old}
    written: list[Path] = []
    try:
        for each, (_, data) in zip(made, built, strict=True):
            if each.engine.file not in before:
                written.append(bundle.folder / each.engine.file)
                atomic.write(written[-1], data)
        atomic.write(bundle.folder / FILE_NAME, new.to_json().encode())
    except BaseException:
        with contextlib.suppress(OSError):  # what went wrong first is what matters
            for path in written:
                path.unlink(missing_ok=True)
        raise
    for file in before - {e.file for e in (*kept, *(each.engine for each in made))}:
        (bundle.folder / file).unlink(missing_ok=True)
    return [replace(each, path=bundle.folder / each.engine.file) for each in made]


def _bundle_name(engine: Engine) -> str:
    return f"{engine.direction}.{engine.precision}.{engine.library}.{engine.sha256[:12]}.engine"


def _slot(engine: Engine) -> tuple[str, str, tuple[str, ...]]:
    """What a bundle holds one engine of."""
    return engine.graph, engine.library, engine.compute_capabilities
