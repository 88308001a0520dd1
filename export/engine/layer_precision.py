"""The precision that an engine's layers really run in, by the engine inspector's report.

A graph's types ask for a precision, and a builder may still choose other kernels: one that is set
by flags that no longer exist makes a float32 engine without a warning.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import onnx
from onnx import TensorProto

from export.errors import ExportError
from runtime.bundle.manifest import Precision

LEAST_SHARE = 0.85
"""Of the convolutions that a graph has in a precision, so many must run in it."""

_CONVOLUTION = re.compile(r"conv|fprop|gemm|winograd", re.IGNORECASE)
# Kernel names say what is multiplied (`i8i8`, `h16816`, `f16f16`); tensor formats come second.
_KERNELS = (
    ("fp8", re.compile(r"e4m3|fp8|qmma", re.IGNORECASE)),
    ("int8", re.compile(r"i8i8|imma|int8|s8s8", re.IGNORECASE)),
    ("fp16", re.compile(r"f16f16|h884|h1688|h16816|hmma|fp16|half", re.IGNORECASE)),
    ("tf32", re.compile(r"tf32|s1688", re.IGNORECASE)),
    ("fp32", re.compile(r"f32f32|ffma|sgemm|fp32", re.IGNORECASE)),
)
_FORMATS = (
    ("fp8", re.compile(r"fp8|e4m3", re.IGNORECASE)),
    ("int8", re.compile(r"int8", re.IGNORECASE)),
    ("fp16", re.compile(r"fp16|half|float16", re.IGNORECASE)),
    ("fp32", re.compile(r"fp32|float", re.IGNORECASE)),
)


def realised(report: str) -> dict[str, int]:
    """Convolution layers by the precision they run in, `unknown` where the report does not tell.

    Args:
        report: `EngineInspector.get_engine_information` as JSON, of an engine built with detailed
            profiling verbosity.

    Raises:
        ExportError: not such a report.
    """
    try:
        layers = json.loads(report)["Layers"]
    except (ValueError, KeyError, TypeError) as error:
        raise ExportError(f"the engine inspector's report cannot be read: {error}") from error
    if not all(isinstance(layer, dict) for layer in layers):
        raise ExportError(
            "the engine inspector gives layer names only: the engine was not built with detailed "
            "profiling verbosity"
        )
    return dict(Counter(_precision(layer) for layer in layers if _is_convolution(layer)))


def check(
    layers: Mapping[str, int], graph: bytes, precision: Precision, *, strict: bool = False
) -> str | None:
    """Hold what was realised against what the graph asks for.

    The names of fused kernels often tell no precision (`__myl_CorrMulMax`): what is unknown is
    neither right nor wrong.

    Args:
        layers: convolutions of the engine by the precision they run in.
        graph: the ONNX bytes it was compiled from.
        precision: what the graph was built as.
        strict: refuse also an engine that does not tell.

    Returns:
        A warning where the report does not tell enough; None where the precision is realised.

    Raises:
        ExportError: too few convolutions run in the precision that the graph has them in.
    """
    if precision == "fp32":
        return None
    asked, kept = _asked_for(graph, precision)
    if asked and layers.get(precision, 0) >= LEAST_SHARE * asked:
        return None
    other = sum(count for name, count in layers.items() if name not in (precision, "unknown"))
    if asked and layers.get("unknown") and other - kept <= (1 - LEAST_SHARE) * asked:
        message = (
            f"the engine tells of {layers.get(precision, 0)} of {asked} convolutions that they run "
            f"in {precision}, and of {layers['unknown']} nothing"
        )
        if strict:
            raise ExportError(f"{message}; nothing was written: --strict refuses such an engine")
        return message
    found = ", ".join(f"{count} in {name}" for name, count in sorted(layers.items())) or "none"
    raise ExportError(
        f"{precision} was requested and not used: the graph has {asked} convolutions in it, "
        f"the engine {found}. Nothing was written: this GPU may lack the precision, or the graph "
        "its casts"
    )


def fallen_back(
    convolutions: Mapping[str, int] | None,
    graph: bytes,
    precision: Precision,
    *,
    strict: bool = False,
) -> str | None:
    """Convolutions of a compiled program that do not read the precision that their graph has.

    A compiler that finds no kernel for a convolution in 8 bits converts it to half precision and
    says nothing: a scale of shape [1] in place of a scalar is enough.

    Args:
        convolutions: of the program by the type they read; None where the program is unknown.
        graph: the ONNX bytes it was compiled from.
        precision: what the graph was built as.
        strict: refuse such an engine.

    Returns:
        A warning; None where every convolution reads what it should, or a graph that is not of
        8 bits has an unknown program.

    Raises:
        ExportError: with `strict`, in place of the warning.
    """
    if precision == "fp32":
        return None
    if convolutions is None:
        if precision == "fp16":
            return None
        message = f"it is not known whether the convolutions run in {precision}"
    else:
        asked, _ = _asked_for(graph, precision)
        found = convolutions.get(precision, 0)
        if found >= asked:
            return None
        others = {name: count for name, count in convolutions.items() if name != precision}
        message = (
            f"{asked - found} of {asked} convolutions that the graph has in {precision} do not run "
            f"in it: the program has {found} in {precision}"
            + "".join(f", {count} in {name}" for name, count in sorted(others.items()))
        )
    if strict:
        raise ExportError(f"{message}; nothing was written: --strict refuses such an engine")
    return message


def _asked_for(graph: bytes, precision: Precision) -> tuple[int, int]:
    """How many convolutions a graph has in a precision, by their weights' type, and in others."""
    parts = onnx.load_from_string(graph).graph
    convolutions = [node for node in parts.node if node.op_type == "Conv"]
    if precision in ("int8", "fp8"):
        weights = {n.output[0] for n in parts.node if n.op_type == "DequantizeLinear"}
    else:
        half = TensorProto.FLOAT16
        weights = {tensor.name for tensor in parts.initializer if tensor.data_type == half}
    asked = sum(node.input[1] in weights for node in convolutions)
    return asked, len(convolutions) - asked


def _is_convolution(layer: Mapping[str, Any]) -> bool:
    kind = str(layer.get("LayerType", ""))
    return bool(_CONVOLUTION.search(kind) or _CONVOLUTION.search(str(layer.get("TacticName", ""))))


def _precision(layer: Mapping[str, Any]) -> str:
    tactic = str(layer.get("TacticName", ""))
    for name, pattern in _KERNELS:
        if pattern.search(tactic):
            return name
    inputs = layer.get("Inputs") or [{}]
    form = str(inputs[0].get("Format/Datatype", inputs[0].get("Datatype", "")))
    for name, pattern in _FORMATS:
        if pattern.search(form):
            return name
    return "unknown"
