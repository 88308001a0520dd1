"""The same compilation as commands of NVIDIA's own tools."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from export.engine.options import EngineOptions
from runtime.bundle.engines.entry import Profile

_SHAPES = (("min", "smallest"), ("opt", "best"), ("max", "largest"))


def trtexec(graph: str, engine: str, profiles: Sequence[Profile], options: EngineOptions) -> str:
    """`trtexec`, or `tensorrt_rtx`, which is what TensorRT-RTX calls its own."""
    words = ["trtexec" if options.library == "tensorrt" else "tensorrt_rtx"]
    words += [f"--onnx={graph}", f"--saveEngine={engine}"]
    if options.library == "tensorrt":
        words += ["--stronglyTyped", "--profilingVerbosity=detailed"]
        words += [] if options.tf32 else ["--noTF32"]
    else:
        names = ",".join(c.replace(".", "") for c in options.targets())
        words += ["--skipInference", f"--computeCapabilities={names}"]
    for index, profile in enumerate(profiles):
        words += [f"--profile={index}"] if len(profiles) > 1 else []
        for flag, attribute in _SHAPES:
            shapes = ",".join(
                f"{name}:{'x'.join(map(str, getattr(range_, attribute)))}"
                for name, range_ in profile.items()
            )
            words.append(f"--{flag}Shapes={shapes}")
    if options.workspace is not None:
        words.append(f"--memPoolSize=workspace:{options.workspace / 2**20:g}M")
    if options.optimization_level is not None:
        words.append(f"--builderOptimizationLevel={options.optimization_level}")
    if options.timing_cache is not None:
        words.append(f"--timingCacheFile={options.timing_cache}")
    if options.version_compatible:
        words.append("--versionCompatible")
    if options.hardware != "none":
        level = "ampere+" if options.hardware == "ampere+" else "sameComputeCapability"
        words.append(f"--hardwareCompatibilityLevel={level}")
    if options.refittable:
        words.append("--refit")
    return shlex.join(words)


def polygraphy(graph: str, engine: str, profiles: Sequence[Profile], options: EngineOptions) -> str:
    """`polygraphy convert`; TensorRT-RTX by its environment variable."""
    words = ["polygraphy", "convert", graph, "--convert-to", "trt", "-o", engine]
    if options.library == "tensorrt":
        words.append("--strongly-typed")
    for profile in profiles:
        for flag, attribute in _SHAPES:
            words.append(f"--trt-{flag}-shapes")
            words += [
                f"{name}:[{','.join(map(str, getattr(range_, attribute)))}]"
                for name, range_ in profile.items()
            ]
    if options.tf32:
        words.append("--tf32")
    if options.workspace is not None:
        words += ["--pool-limit", f"workspace:{options.workspace}"]
    if options.optimization_level is not None:
        words += ["--builder-optimization-level", str(options.optimization_level)]
    if options.timing_cache is not None:
        words += ["--load-timing-cache", str(options.timing_cache)]
    if options.version_compatible:
        words.append("--version-compatible")
    if options.refittable:
        words.append("--refittable")
    prefix = "" if options.library == "tensorrt" else "POLYGRAPHY_USE_TENSORRT_RTX=1 "
    return prefix + shlex.join(words)
