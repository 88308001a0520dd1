"""Which form of dense blocks TensorRT-RTX gets: the table, read off compiled programs.

docs/engines.md has the figures. OpenVINO and ONNX Runtime get the graphs of a bundle, which are
flat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from export.forms.rewrite import Form
from runtime.bundle.manifest import Precision

_TURING = "7.5"
_RTX: Mapping[str, Form] = {"fp16": "pass-through", "fp32": "sums"}
_RTX_WITH_TURING: Mapping[str, Form] = {"fp16": "sums", "fp32": "sums"}


def preferred(precision: Precision, capabilities: Sequence[str]) -> Form:
    """The form whose program moves least and launches few kernels.

    Args:
        precision: of the graph.
        capabilities: GPUs that one engine is compiled for; all of them get one program.
    """
    table = _RTX_WITH_TURING if _TURING in capabilities else _RTX
    return table.get(precision, "flat")
