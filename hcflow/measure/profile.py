"""One configuration of a bundle, measured: latency, layers, overhead, memory, and the floor."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from export.graph import cost
from runtime import backends
from runtime.backends.session import Layer, LimitsThreads, Session, closing
from runtime.bundle import uint8_images
from runtime.bundle.engines.entry import LIBRARIES
from runtime.bundle.graph_entry import Direction, Graph, Numerics, Precision
from runtime.bundle.reader import Bundle
from runtime.checks import latency, layer_times, random_inputs
from runtime.checks.latency import Ceiling, Latency
from runtime.checks.random_inputs import Feeds
from runtime.errors import BackendError, one_line
from runtime.inference import predicted
from runtime.inference.network import Network
from runtime.system import gpus, machine

if TYPE_CHECKING:
    from hcflow_ref.network.hcflow import HCFlow
    from hcflow_ref.network.irn import IRN


@dataclass(frozen=True)
class Setting:
    """What is run; `height` × `width` is the LR image's size in both directions.

    `device` is the number of the GPU of a GPU backend; None is the first.
    """

    backend: str
    direction: Direction
    precision: Precision
    height: int
    width: int
    batch: int
    io: str = "float32"
    device: int | None = None


@dataclass(frozen=True)
class Profile:
    """One setting's figures; seconds, bytes.

    Attributes:
        threads: threads of the backend.
        latency: of the backend alone.
        overhead: what the runtime adds to it, as a difference of medians; None where not measured.
        floor: the fewest seconds the work can take on this machine; None where its ceiling is not
            known.
        ceiling: where the floor comes from, or why there is none.
        predicted: the fewest seconds that the engine's own kernels can take on this GPU
            (`runtime.inference.predicted`); None where they are not known.
        flops, bytes: the work of one run, counted on the graph.
        peak_memory: of the process, or used on the GPU, after the runs; None where unknown.
        layers: slowest first; None where the backend's profiler is not read.
        skipped: why there are no figures.
    """

    setting: Setting
    threads: int
    latency: Latency | None = None
    overhead: float | None = None
    floor: float | None = None
    ceiling: str = ""
    predicted: float | None = None
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
    device: int | None = None,
) -> Iterator[Setting]:
    """Every combination that the bundle has a graph for."""
    graphs = bundle.manifest.graphs
    for direction in directions:
        there = ((g.precision, g.io) for g in graphs if g.direction == direction)
        for precision, io in dict.fromkeys(there):
            if precisions and precision not in precisions:
                continue
            takers = {g.target for g in graphs if (g.precision, g.io) == (precision, io)}
            fitting = [each for each in names if not takers.isdisjoint(backends.targets_of(each))]
            for height, width in sizes:
                for batch in batches:
                    for name in fitting:
                        on = device if name in (*backends.ON_GPU, "auto") else None
                        yield Setting(name, direction, precision, height, width, batch, io, on)


def profile(bundle: Bundle, setting: Setting, threads: int | None, seconds: float) -> Profile:
    """Measure one setting; when a backend fails, `skipped` gives the reason."""
    try:
        return _profile(bundle, setting, threads, seconds)
    except BackendError as error:
        return Profile(setting, threads or machine.usable_cpus(), skipped=str(error))


def _profile(bundle: Bundle, setting: Setting, threads: int | None, seconds: float) -> Profile:
    targets = backends.targets_of(setting.backend)
    graph = bundle.graph(setting.direction, setting.precision, None, setting.io, targets)
    feeds = _feeds(bundle, graph, setting)
    values: Mapping[str, NDArray[Any]] = feeds
    if graph.io == uint8_images.IO:
        values = uint8_images.inputs(feeds)
    used = threads or machine.usable_cpus()
    opened = backends.open_graph(setting.backend, bundle, graph, threads, setting.device)
    with closing(opened) as session:
        if isinstance(session, LimitsThreads):
            used = session.threads_for(values)
        bare = latency.measure(lambda: session.run(values), seconds)
        layers = layer_times.layers(session, values)
    amount = cost.count(bundle.read_graph(graph), {name: x.shape for name, x in values.items()})
    limit = ceiling(setting, threads)
    network = Network(
        bundle, setting.backend, setting.precision, threads, setting.io, setting.device
    )
    whole = latency.measure(lambda: random_inputs.run(network, graph, feeds), seconds)
    return Profile(
        setting=setting,
        threads=used,
        latency=bare,
        overhead=whole.p50 - bare.p50,
        floor=limit.floor(amount.flops, amount.bytes) if limit else None,
        ceiling=f"{limit.name}, {limit.source}" if limit else _unknown(setting),
        predicted=_predicted(session, setting, bundle.manifest.scale),
        flops=amount.flops,
        bytes=amount.bytes,
        peak_memory=_memory(setting),
        layers=None if layers is None else tuple(layers),
    )


def ceiling(setting: Setting, threads: int | None) -> Ceiling | None:
    """The most this machine does for a setting's backend and precision; None where unknown.

    A GPU's comes from a table by its name. A CPU's is measured once, by a float32 product: int8 may
    well run faster.
    """
    if setting.backend in backends.ON_GPU:
        from runtime.backends.cuda.device import Device

        device = Device.open(setting.device or 0)
        return latency.gpu_ceiling(device.name, setting.precision, device.multiprocessors)
    return None if setting.precision == "int8" else _cpu_ceiling(threads or 0)


@functools.cache
def _cpu_ceiling(threads: int) -> Ceiling:
    graph, matrices, operations = cost.matrix_product()
    numerics = Numerics(False, "float32", "f32")
    session = backends.open_session("onnxruntime", graph, numerics, threads)
    return latency.cpu_ceiling(lambda: session.run(matrices), operations, "this CPU, float32")


def _predicted(session: Session, setting: Setting, scale: int) -> float | None:
    if setting.backend not in LIBRARIES:
        return None
    from runtime.backends.cuda.device import Device
    from runtime.backends.tensorrt_session import EngineSession

    device = Device.open(setting.device or 0)
    card = gpus.data_sheet(device.name, device.multiprocessors)
    if card is None or not isinstance(session, EngineSession):
        return None
    pixels = setting.batch * setting.height * setting.width
    floor = predicted.floor(session.engine, card[1], scale, pixels)
    return floor.seconds if floor else None


def _unknown(setting: Setting) -> str:
    if setting.backend in backends.ON_GPU:
        return "not in the table of GPUs"
    return f"this CPU's {setting.precision} peak is not known"


def _feeds(bundle: Bundle, graph: Graph, setting: Setting) -> Feeds:
    sizes = setting.batch, setting.height, setting.width
    return random_inputs.random_inputs(bundle.manifest, graph, *sizes)


def _memory(setting: Setting) -> int | None:
    if setting.backend in backends.ON_GPU:
        from runtime.backends.cuda.device import Device

        free, total = Device.open(setting.device or 0).memory()
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
    """PyTorch's own latency for the same inputs, eager or by `torch.compile`."""
    import torch

    torch.set_num_threads(threads)
    graph = bundle.graph(setting.direction, "fp32", None)
    tensors = [torch.from_numpy(v) for v in _feeds(bundle, graph, setting).values()]
    name = "torch.compile" if compiled else "PyTorch eager"
    shown = Setting(name, setting.direction, "fp32", setting.height, setting.width, setting.batch)

    def call(*inputs: torch.Tensor) -> object:
        if setting.direction == "forward":
            return network(inputs[0])
        shapes = network.config.latent_shapes(setting.height, setting.width)
        zs = inputs[1:] or [torch.zeros(setting.batch, *shape) for shape in shapes]
        return network.inverse(inputs[0], zs)

    run = torch.compile(call) if compiled else call
    try:
        with torch.no_grad():
            measured = latency.measure(lambda: run(*tensors), seconds)
    except Exception as error:  # torch.compile fails in many ways, and is only a comparison
        return Profile(shown, threads, skipped=one_line(error)[:200])
    return Profile(shown, threads, latency=measured, peak_memory=_memory(shown))
