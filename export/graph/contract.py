"""The graph contract (docs/graph-contract.md): names, shapes, and forbidden operators."""

from __future__ import annotations

from collections import Counter

import onnx
import onnx_ir as ir

from export.errors import ExportError
from export.folded.fold import GraphSpec
from hcflow_ref.network.config import HCFlowConfig
from hcflow_ref.network.irn import IRNConfig
from runtime.bundle.graph_entry import IMAGES
from runtime.bundle.uint8_images import IO

CONTRACT = 1
"""Version of the contract, written to every graph and manifest."""

FORBIDDEN = frozenset(
    {"Shape", "Size", "Gather", "GatherElements", "GatherND", "Slice", "Squeeze", "Unsqueeze"}
    | {"Reshape", "Flatten", "Transpose", "Expand", "Tile", "ScatterElements", "ScatterND"}
    | {"Constant", "ConstantOfShape", "Identity", "If", "Loop", "Scan"}
    | {"SplitToSequence", "SequenceAt", "SequenceConstruct", "ConcatFromSequence"}
)
"""Shape arithmetic, data movement and control flow: sizes follow from the operators instead."""

_AT_A_BYTE_BOUNDARY = frozenset({"Transpose"})

Shapes = dict[str, list[int | str]]


def _size(side: str, factor: int) -> str:
    return side if factor == 1 else f"{factor}*{side}"


def boundary(config: HCFlowConfig | IRNConfig, spec: GraphSpec) -> tuple[Shapes, Shapes]:
    """Names and shapes of a graph's inputs and outputs; N and the LR image's H, W are dynamic."""
    lr: Shapes = {"lr": ["N", 3, "H", "W"]}
    hr: Shapes = {"hr": ["N", 3, _size("H", config.scale), _size("W", config.scale)]}
    latents: Shapes = {
        f"z{j + 1}": ["N", channels, _size("H", factor), _size("W", factor)]
        for j, (channels, factor, _) in enumerate(config.latent_shapes(1, 1))
    }
    if spec.direction == "inverse":
        return (lr | latents if spec.latents else lr), hr
    return hr, lr | latents | ({"logp": ["N"]} if config.task == "sr" else {})


def check(model: ir.Model, io: str = "float32") -> None:
    """Check a graph with ONNX's own checker and against the contract.

    Args:
        model: the graph.
        io: dtype of the images at its boundary, `float32` or `uint8`.

    Raises:
        ExportError: names the node that breaks the contract.
    """
    try:
        onnx.checker.check_model(ir.to_proto(model), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"ONNX's checker rejects the graph: {error}") from error
    forbidden = FORBIDDEN if io == "float32" else FORBIDDEN - _AT_A_BYTE_BOUNDARY
    for node in model.graph:
        if node.op_type in forbidden or node.domain not in ("", "ai.onnx"):
            raise ExportError(
                f"node '{node.name}' is a {node.domain or 'standard'} {node.op_type}, which the "
                "graph contract forbids"
            )
    names = Counter(node.name for node in model.graph)
    if "" in names:
        raise ExportError("a node has no name")
    if repeated := [name for name, count in names.items() if count > 1]:
        raise ExportError(f"node name '{repeated[0]}' is used more than once")
    for value in (*model.graph.inputs, *model.graph.outputs):
        expected = ir.DataType.FLOAT
        if io == IO and value.name in IMAGES:
            expected = ir.DataType.UINT8
        if value.dtype != expected:
            raise ExportError(
                f"'{value.name}' is {value.dtype}, expected {expected} at the boundary"
            )
