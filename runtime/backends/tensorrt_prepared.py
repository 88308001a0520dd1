"""What one set of input shapes needs on a stream: a context, buffers on both sides, a graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.backends.cuda.device import Buffer, Device, Pinned
from runtime.backends.cuda.stream import CapturedGraph
from runtime.backends.session import Shapes

if TYPE_CHECKING:
    import tensorrt_rtx_bindings.tensorrt_rtx as api  # TensorRT has the same


@dataclass
class Prepared:
    """Everything that one set of input shapes needs.

    Attributes:
        context: with shapes set.
        outputs: shape and dtype by name.
        drawn: shape by name of the latents that the GPU draws; `host` holds their regions.
        eager: whether the context's kernels are compiled before its first run (TensorRT-RTX).
        has_run: whether the context has run.
        device: a buffer for each input and output, made at the first run on host arrays.
        host: pinned memory likewise.
        runs: runs on host arrays since the context was made or scratch memory moved: the first is
            plain, in which the engine prepares itself, the second is captured.
        graph: uploads, the engine and downloads, captured.
        capturable: False once capturing has failed.
    """

    context: api.IExecutionContext
    outputs: dict[str, tuple[tuple[int, ...], np.dtype[Any]]]
    drawn: dict[str, tuple[int, ...]]
    eager: bool = False
    has_run: bool = False
    device: dict[str, Buffer] = field(default_factory=dict)
    host: dict[str, Pinned] = field(default_factory=dict)
    runs: int = 0
    graph: CapturedGraph | None = None
    capturable: bool = True

    def drop_graph(self) -> None:
        """Forget the captured graph; it may not be running."""
        if self.graph is not None:
            self.graph.destroy()
            self.graph = None

    def free(self) -> None:
        """Free everything; nothing of it may be running."""
        self.drop_graph()
        for buffer in self.device.values():
            buffer.free()
        for pinned in self.host.values():
            pinned.free()
        self.device.clear()
        self.host.clear()

    def stage(self, device: Device, inputs: Mapping[str, np.dtype[Any]], shapes: Shapes) -> None:
        """Make buffers on both sides for every input and output; for a region of its words.

        Raises:
            GpuMemoryError: there is too little memory; nothing of it is kept then.
        """
        needed = {name: (shape, inputs[name]) for name, shape in shapes.items()}
        try:
            for name, (shape, dtype) in (needed | self.outputs).items():
                self.device[name] = device.allocate(math.prod(shape) * dtype.itemsize)
                words = (12,), np.dtype(np.uint32)
                self.host[name] = device.pinned(*(words if name in self.drawn else (shape, dtype)))
        except BaseException:
            self.free()
            raise
