"""Which of a bundle's precisions a processor runs fastest, within what was measured."""

from __future__ import annotations

from collections.abc import Collection

from runtime.manifest import Manifest, Precision

_INT8 = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})
"""Linux's names of the dot products of bytes; without one INT8 is no faster than float32."""


def precision(manifest: Manifest, backend: str, cpu_flags: Collection[str]) -> Precision:
    """The precision that `auto` stands for in a backend, on a processor with these flags.

    INT8 where OpenVINO runs it, the processor multiplies bytes and every direction of the bundle
    has an INT8 graph that kept its budget; else fp32. ONNX Runtime takes longer for INT8 on a CPU
    than for fp32 (docs/precision.md), and what a GPU gains by it is unmeasured. A processor
    computes fp16 graphs in float32, so they win no time there.

    Args:
        manifest: the bundle's.
        backend: by its own name, not `auto`.
        cpu_flags: `machine.cpu_flags()`.
    """
    if backend != "openvino":
        return "fp32"
    within = {
        graph.direction
        for graph in manifest.graphs
        if graph.precision == "int8" and graph.within_budget
    }
    complete = within == {graph.direction for graph in manifest.graphs}
    return "int8" if complete and not _INT8.isdisjoint(cpu_flags) else "fp32"
