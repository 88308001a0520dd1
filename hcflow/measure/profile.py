"""One configuration of a bundle, measured: latency, layers, overhead, memory, and the floor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from export.graph import cost
from runtime import backends
from runtime.backends.session import Layer, LimitsThreads
from runtime.bundle import uint8_images
from runtime.bundle.manifest import Direction, Graph, Numerics, Precision
from runtime.bundle.reader import Bundle
from runtime.checks import latency as profiling
from runtime.checks import layer_times
from runtime.checks.latency import Ceiling, Latency
from runtime.errors import BackendError, one_line
from runtime.inference.network import Network
from runtime.system import machine

if TYPE_CHECKING:
    from hcflow_ref.network.hcflow import HCFlow
    from hcflow_ref.network.irn import IRN

GPU_BACKENDS = ("onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt", "tensorrt-rtx")

Feeds = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Setting:
    """What is run: `height` × `width` of the LR image, whichever the direction."""

    backend: str
    direction: Direction
    precision: Precision
    height: int
    width: int
    batch: int
    io: str = "float32"


@dataclass(frozen=True)
class Profile:
    """One setting's figures; seconds, bytes.

    Attributes:
        latency: of the backend alone.
        overhead: what the runtime adds around it, median to median; None where not measured.
        floor: the fewest seconds the work can take on this machine; None where its ceiling is not
            known. `ceiling` says whose.
        peak_memory: of the process, or used on the GPU, after the runs; None where nothing tells.
        layers: slowest first; None where the backend tells none.
        skipped: why there are no figures.
    """

    setting: Setting
    threads: int
    latency: Latency | None = None
    overhead: float | None = None
    floor: float | None = None
    ceiling: str = ""
    flops: float = 0.0
    bytes: float = 0.0
    peak_memory: int | None = None
    layers: tuple[Layer, ...] | None = None
    skipped: str | None = None

    @property
    def images_per_second(self) -> float | None:
        """Throughput, runs one after another."""
        return self.setting.batch / self.latency.mean if self.latency else None

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self) | {"images_per_second": self.images_per_second}


def settings(
    names: Sequence[str],
    bundle: Bundle,
    directions: Sequence[Direction],
    precisions: Sequence[str] | None,
    sizes: Sequence[tuple[int, int]],
    batches: Sequence[int],
) -> Iterator[Setting]:
    """Every combination that the bundle has a graph for."""
    graphs = bundle.manifest.graphs
    for direction in directions:
        there = ((g.precision, g.io) for g in graphs if g.direction == direction)
        for precision, io in dict.fromkeys(there):
            if precisions and precision not in precisions:
                continue
            for height, width in sizes:
                for batch in batches:
                    for name in names:
                        yield Setting(name, direction, precision, height, width, batch, io)


def feeds(bundle: Bundle, graph: Graph, setting: Setting) -> dict[str, NDArray[np.float32]]:
    """Random inputs of a graph as floats: an image of noise in 8 bits, latents of variance 1."""
    random = np.random.default_rng(0)
    n, h, w, scale = setting.batch, setting.height, setting.width, bundle.manifest.scale
    if graph.direction == "forward":
        return {"hr": uint8_images.noise(random, (n, 3, scale * h, scale * w))}
    found = {"lr": uint8_images.noise(random, (n, 3, h, w))}
    if graph.latents:
        for i, shape in enumerate(bundle.manifest.latents.shapes(h, w), start=1):
            found[f"z{i}"] = random.standard_normal((n, *shape), np.float32)
    return found


def profile(
    bundle: Bundle, setting: Setting, threads: int | None, seconds: float, ceilings: Ceilings
) -> Profile:
    """Measure one setting; what a backend cannot do is said in `skipped`."""
    used = threads or machine.usable_cpus()
    try:
        return _profile(bundle, setting, threads, seconds, ceilings)
    except BackendError as error:
        return Profile(setting, used, skipped=str(error))


class Ceilings:
    """The most this machine does, found out once: the CPU's by measurement, the GPU's by name."""

    def __init__(self, threads: int | None) -> None:
        self._threads = threads or 0
        self._cpu: Ceiling | None = None

    def of(self, setting: Setting) -> Ceiling | None:
        """The ceiling for a setting's backend and precision; None where it is not known.

        The product that finds the CPU's is of float32: int8 may well run faster.
        """
        if setting.backend in GPU_BACKENDS:
            from runtime.backends.cuda_device import Device

            return profiling.gpu_ceiling(Device.open().name, setting.precision)
        if setting.precision == "int8":
            return None
        if self._cpu is None:
            graph, matrices, operations = cost.matrix_product()
            numerics = Numerics(False, "float32", "f32")
            session = backends.open_session("onnxruntime", graph, numerics, self._threads)
            self._cpu = profiling.cpu_ceiling(
                lambda: session.run(matrices), operations, "this CPU, float32"
            )
        return self._cpu


def _profile(
    bundle: Bundle, setting: Setting, threads: int | None, seconds: float, ceilings: Ceilings
) -> Profile:
    graph = bundle.graph(setting.direction, setting.precision, None, setting.io)
    data = bundle.read_graph(graph)
    floats = feeds(bundle, graph, setting)
    values: Mapping[str, NDArray[Any]] = floats
    if graph.io == uint8_images.IO:
        values = uint8_images.inputs(floats)
    session = backends.open_session(
        setting.backend, data, graph.numerics, threads or 0, bundle.folder
    )
    used = threads or machine.usable_cpus()
    if isinstance(session, LimitsThreads):
        used = session.threads_for(values)
    latency = profiling.measure(lambda: session.run(values), seconds)
    amount = cost.count(data, {name: value.shape for name, value in values.items()})
    ceiling = ceilings.of(setting)
    found = layer_times.layers(session, values)
    return Profile(
        setting=setting,
        threads=used,
        latency=latency,
        overhead=_overhead(bundle, setting, threads, floats, latency, seconds),
        floor=ceiling.floor(amount.flops, amount.bytes) if ceiling else None,
        ceiling=f"{ceiling.name}, {ceiling.source}" if ceiling else _unknown(setting),
        flops=amount.flops,
        bytes=amount.bytes,
        peak_memory=_memory(setting),
        layers=None if found is None else tuple(found),
    )


def _unknown(setting: Setting) -> str:
    if setting.backend in GPU_BACKENDS:
        return "not in the table of GPUs"
    return f"this CPU's {setting.precision} is not known"


def _overhead(
    bundle: Bundle,
    setting: Setting,
    threads: int | None,
    values: Feeds,
    bare: Latency,
    seconds: float,
) -> float:
    """Median of the runtime's whole call, checks and all, less that of the backend alone."""
    network = Network(bundle, setting.backend, setting.precision, threads, setting.io)
    if setting.direction == "forward":
        whole = profiling.measure(
            lambda: network.encode(values["hr"], latents=setting.io != uint8_images.IO), seconds
        )
    else:
        zs = [value for name, value in values.items() if name != "lr"] or None
        whole = profiling.measure(lambda: network.decode(values["lr"], zs), seconds)
    return whole.p50 - bare.p50


def _memory(setting: Setting) -> int | None:
    if setting.backend in GPU_BACKENDS:
        from runtime.backends.cuda_device import Device

        free, total = Device.open().memory()
        return total - free
    return machine.peak_memory()


def reference(
    network: HCFlow | IRN,
    bundle: Bundle,
    setting: Setting,
    seconds: float,
    threads: int,
    compiled: bool,
) -> Profile:
    """PyTorch's own time for the same inputs, eager or by `torch.compile`."""
    import torch

    torch.set_num_threads(threads)
    graph = bundle.graph(setting.direction, "fp32", None)
    tensors = [torch.from_numpy(v) for v in feeds(bundle, graph, setting).values()]
    name = "torch.compile" if compiled else "PyTorch eager"
    shown = Setting(name, setting.direction, "fp32", setting.height, setting.width, setting.batch)

    def call(*inputs: torch.Tensor) -> object:
        if setting.direction == "forward":
            return network(inputs[0])
        shapes = network.config.latent_shapes(setting.height, setting.width)
        zs = inputs[1:] or [torch.zeros(setting.batch, *shape) for shape in shapes]
        return network.inverse(inputs[0], zs)

    work_ = torch.compile(call) if compiled else call
    try:
        with torch.no_grad():
            latency = profiling.measure(lambda: work_(*tensors), seconds)
    except Exception as error:  # torch.compile fails in many ways, and is only compared with
        return Profile(shown, threads, skipped=one_line(error)[:200])
    return Profile(shown, threads, latency=latency, peak_memory=_memory(shown))
