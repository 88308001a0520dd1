"""Which of a bundle's precisions a processor runs fastest, within what was measured."""

from __future__ import annotations

from collections.abc import Collection

from runtime.manifest import Manifest, Precision

_INT8 = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})
"""Linux's names of the dot products of bytes; without one INT8 is no faster than float32."""


def precision(manifest: Manifest, cpu_flags: Collection[str]) -> Precision:
    """The precision that `auto` stands for on a processor with these flags.

    INT8 where the processor multiplies bytes and every direction of the bundle has an INT8 graph
    that kept its budget; else fp32. A processor computes fp16 graphs in float32, so they win no
    time there.

    Args:
        manifest: the bundle's.
        cpu_flags: `machine.cpu_flags()`.
    """
    within = {
        graph.direction
        for graph in manifest.graphs
        if graph.precision == "int8" and graph.within_budget
    }
    complete = within == {graph.direction for graph in manifest.graphs}
    return "int8" if complete and not _INT8.isdisjoint(cpu_flags) else "fp32"
