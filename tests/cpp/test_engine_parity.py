"""C++ decides about engines as Python does: which fit, which precision, where kernels are kept."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np

import runtime
from runtime.bundle.engines import cache
from runtime.bundle.engines.entry import LIBRARIES, Engine, Memory, Range, of_manifest
from runtime.bundle.engines.fit import Machine, misfit
from runtime.bundle.engines.program import Program
from runtime.bundle.manifest import Manifest
from runtime.errors import BundleError
from runtime.inference.auto import gpu_precision
from tests.support import cpp_library
from tests.support.bundles import write_bundle
from tests.support.cpp_library import run

pytestmark = cpp_library.MARKS


def test_engines_fit_as_in_python(sanitized: Path) -> None:
    plain = {
        "file": "inverse.engine", "sha256": "a" * 64, "bytes": 10, "graph": "b" * 64,
        "direction": "inverse", "precision": "fp32", "latents": True, "tf32": False,
        "profiles": [{"lr": {key: [1, 3, 8, 8] for key in ("smallest", "best", "largest")}}],
        "refittable": False, "optimization_level": None, "build_seconds": 1.0, "layers": None,
        "memory": {"scratch": None, "weights": 3, "activations": None},
    }  # fmt: skip
    versions = ("1.7.1.116", "1.7.1", "1.8.0", "10.3", "10.14.1.48", "1..7", "")
    capabilities = (["8.9"], ["8.0", "12.0"], ["7.5"], [], ["089"])
    machines = [
        Machine(library, version, capability)
        for library in ("tensorrt", "tensorrt-rtx")
        for version in ("1.7.1.5", "10.14.1")
        for capability in ("8.9", "12.1", "7.5")
    ]
    said, expected = "", []

    def ask(machine: Machine, entry: dict[str, object]) -> None:
        nonlocal said
        text = json.dumps(entry)
        facts = (machine.library, machine.version, machine.compute_capability, text)
        said += "\t".join(facts) + "\n"
        try:
            expected.append(misfit(Engine.from_json(text, "it"), machine) or "fits")
        except BundleError:
            expected.append("not an entry")

    for library, version, capability, compatible, hardware in itertools.product(
        ("tensorrt", "tensorrt-rtx", "other"), versions, capabilities, (True, False),
        ("none", "ampere+", "same-capability"),
    ):  # fmt: skip
        for each in machines:
            ask(each, plain | {
                "library": library, "version": version, "compute_capabilities": capability,
                "version_compatible": compatible, "hardware": hardware,
            })  # fmt: skip
    fits = plain | {
        "library": "tensorrt-rtx", "version": "1.7.1", "compute_capabilities": ["8.9"],
        "version_compatible": False, "hardware": "none",
    }  # fmt: skip
    counts = {"convolutions": {"fp16": 2}, "fused": 1, "others": 0}
    for changes in (
        {"form": "pass-through"}, {"form": 3}, {"form": "a b"}, {"program": None},
        {"program": counts}, {"program": counts | {"bytes": 3, "operations": {"fp16": 4}}},
        {"program": counts | {"bytes": -3}}, {"program": counts | {"operations": {"fp16": 0.5}}},
        {"program": {"convolutions": {}}}, {"program": []},
    ):  # fmt: skip
        ask(Machine("tensorrt-rtx", "1.7.1", "8.9"), fits | changes)
    program = sanitized / "tests" / "simulated" / "hcflow-engine-entry"
    assert run(program, input=said).splitlines() == expected
    assert {"fits", "not an entry"} < set(expected)


def test_auto_takes_the_same_precision_on_a_gpu_as_python(sanitized: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    exact = runtime.Bundle.open(write_bundle(tmp_path / "b")).manifest
    said, expected = "", []
    for number in range(150):
        manifest = _with_engines(exact, random)
        (folder := tmp_path / str(number)).mkdir()
        (folder / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
        entries = of_manifest(manifest, "it")
        for library in LIBRARIES:
            said += f"{library}\t{folder}\n"
            expected.append(gpu_precision.choose(
                manifest, library, None,
                lambda graph, entries=entries: [e for e in entries if e.graph == graph.sha256],
            ))  # fmt: skip
    program = sanitized / "tests" / "simulated" / "hcflow-engine-entry"
    assert run(program, "precision", input=said).splitlines() == expected
    assert {"fp32", "fp16", "fp8"} == set(expected)


def _with_engines(exact: Manifest, random: np.random.Generator) -> Manifest:
    """A manifest of several precisions, with engines of some of its graphs."""

    def often() -> bool:
        return bool(random.random() < 0.85)

    graphs = list(exact.graphs)
    for precision, target in (("fp16", None), ("fp16", "rtx"), ("fp8", "rtx"), ("int8", None)):
        for graph in exact.graphs:
            if often() if target is None or precision == "fp8" else not often():
                kind = f"{precision}-{target}-{graph.file}"
                digest = hashlib.sha256(kind.encode()).hexdigest()
                graphs.append(replace(
                    graph, precision=precision, target=target, file=kind, sha256=digest,
                    within_budget=often(),
                ))  # fmt: skip
    entries = []
    skipped = {p for p in ("fp32", "fp16", "fp8", "int8") if not often()}
    for graph in graphs:
        if graph.precision in skipped or not often():
            continue
        program = Program({}, 0, 0, None, None)
        if often():
            moved, fp8, fp16 = ((100, 0, 100), (80, 95, 5))[graph.precision == "fp8"]
            if not often():
                moved, fp8, fp16 = (int(random.integers(0, most)) for most in (120, 200, 40))
            program = Program({}, 0, 0, moved, {"fp8": fp8, "fp16": fp16})
        shapes = {"lr": Range((1, 3, 8, 8), (1, 3, 8, 8), (1, 3, 8, 8))}
        entries.append(Engine(
            file=f"{len(entries)}.engine", sha256="a" * 64, bytes=10, graph=graph.sha256,
            direction=graph.direction, precision=graph.precision, latents=graph.latents,
            library="tensorrt-rtx", version="1.7.1", compute_capabilities=("8.9",),
            profiles=(shapes,), tf32=False, version_compatible=False, hardware="none",
            refittable=False, optimization_level=None, build_seconds=1.0,
            memory=Memory(None, None, None), program=program if often() else None,
        ).to_mapping())  # fmt: skip
    return replace(exact, graphs=tuple(graphs), engines=tuple(entries))


def test_kernels_made_at_run_time_are_kept_in_the_same_file_as_by_python(sanitized: Path) -> None:
    digest, machine = "0123456789abcdef" * 4, Machine("tensorrt-rtx", "1.7.1", "8.9")
    names = (
        *("NVIDIA GeForce RTX 4090", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", " L4 (x)", "", "--"),
        "Größe \u212a\u0130 9",
    )
    said, expected = "", []
    for name in names:
        said += f"1.7.1\t8.9\t{name}\t{digest}\n"
        engine = cast(Engine, SimpleNamespace(sha256=digest))
        expected.append(cache.runtime_cache(engine, machine, name).name)
        longer = replace(machine, version="1.7.1.116")  # as Python's module states it
        assert cache.runtime_cache(engine, longer, name).name == expected[-1]
    program = sanitized / "tests" / "simulated" / "hcflow-engine-entry"
    assert run(program, "runtime-cache", input=said).splitlines() == expected
    assert expected[0] == "0123456789ab.1.7.1.8.9.nvidia-geforce-rtx-4090.runtime-cache"
