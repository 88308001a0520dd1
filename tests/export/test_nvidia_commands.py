"""The command lines of NVIDIA's tools that compile the same engine."""

from __future__ import annotations

from export.engine import nvidia_commands
from export.engine.options import EngineOptions
from runtime.bundle.engines.entry import Range


def test_the_commands_of_nvidias_tools_say_the_same() -> None:
    shapes = {"lr": Range((1, 3, 8, 8), (1, 3, 16, 16), (2, 3, 32, 32))}
    options = EngineOptions("tensorrt", workspace=1 << 30, refittable=True)
    line = nvidia_commands.trtexec("a b.onnx", "e", [shapes], options)
    assert line.startswith("trtexec '--onnx=a b.onnx' --saveEngine=e --stronglyTyped")
    assert "--noTF32" in line
    assert "--maxShapes=lr:2x3x32x32" in line
    assert "--memPoolSize=workspace:1024M" in line
    rtx = EngineOptions("tensorrt-rtx", compute_capabilities=("8.9", "12.0"))
    assert "--computeCapabilities=89,120" in nvidia_commands.trtexec("a", "e", [shapes], rtx)
    assert nvidia_commands.polygraphy("a", "e", [shapes], rtx).startswith(
        "POLYGRAPHY_USE_TENSORRT_RTX=1 polygraphy convert a --convert-to trt -o e"
    )


def test_an_engine_of_several_profiles_states_each() -> None:
    small = {"lr": Range((1, 3, 8, 8), (1, 3, 16, 16), (1, 3, 16, 16))}
    large = {"lr": Range((1, 3, 8, 8), (1, 3, 32, 32), (1, 3, 32, 32))}
    options = EngineOptions("tensorrt")
    line = nvidia_commands.trtexec("a", "e", [small, large], options)
    assert "--profile=0 --minShapes=lr:1x3x8x8 --optShapes=lr:1x3x16x16" in line
    assert "--profile=1 --minShapes=lr:1x3x8x8 --optShapes=lr:1x3x32x32" in line
    line = nvidia_commands.polygraphy("a", "e", [small, large], options)
    assert line.count("--trt-min-shapes") == line.count("--trt-opt-shapes") == 2
