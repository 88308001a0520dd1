"""A bundle's network on a backend: float arrays in, float arrays out, nothing clipped."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from runtime.backends import ON_GPU, auto, check_device, check_name, targets_of
from runtime.backends.session import (
    DrawsLatents,
    ExpectsShapes,
    KnowsProgram,
    ReservesMemory,
    Session,
)
from runtime.bundle import uint8_images
from runtime.bundle.manifest import PRECISIONS, Direction, Graph, Manifest, Precision
from runtime.bundle.reader import Bundle
from runtime.errors import BackendError, BundleError, ParameterError
from runtime.inference import graph_outputs, memory
from runtime.inference.auto.choices import Choice, Choices
from runtime.inference.latent_source import Latent, check_given
from runtime.latents import SCHEME, Array, Region, draw
from runtime.system.arguments import MOST_THREADS, one_of, shown, whole

if TYPE_CHECKING:  # what knows engines loads for GPUs alone
    from runtime.bundle.engines.entry import Engine
    from runtime.system.gpus import Card


class Network:
    """Both directions of one bundle; every method may be called from many threads.

    A graph is read, checked and loaded when it is first used, and then kept. `encode` and `decode`
    run whole arrays at once; `runtime.inference.streaming` runs images of any size, tile by tile.

    Args:
        bundle: the bundle.
        backend: one of `runtime.backends.NAMES`.
        precision: of the graphs; of several, each image uses the cheapest (`plan.graph_for`).
        threads: of the backend; None uses every processor this process may use.
        io: type of images at the graph's boundary; None takes float32 where there is such a graph.
        device: number of the GPU that a backend of `runtime.backends.ON_GPU` or `auto` uses, as
            CUDA counts; None is the first.
        engines: tried before the backend `auto`, in this order: each direction is computed by the
            first whose engine opens (`auto.backend.with_engines`).
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: str,
        precision: Precision | tuple[Precision, ...],
        threads: int | None,
        io: str | None = None,
        device: int | None = None,
        engines: Sequence[Choice] = (),
    ) -> None:
        if not isinstance(bundle, Bundle):
            raise ParameterError(f"a network cannot be made of {shown(bundle)}: give a Bundle")
        check_name(backend)
        check_device(backend, device)
        precisions = precision if isinstance(precision, tuple) else (precision,)
        for each in precisions:
            one_of("precision", each, PRECISIONS)
        self._bundle = bundle
        self._backend = backend
        threads = 0 if threads is None else whole("threads", threads, 0, MOST_THREADS)
        choices = (*engines, Choice(backend, precisions))
        # Without a method of its own in there, which would keep a network that nobody holds.
        expect = functools.partial(_expect, bundle.manifest)
        self._choices = Choices(bundle, choices, threads, io, device, expect)
        self._held: dict[str, int] = {}

    @property
    def backend(self) -> str:
        """The name of the backend it was opened on."""
        return self._backend

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The precisions that images may be computed in where the first choice opens."""
        return self._choices.all[0].precisions

    @property
    def may_use_gpu(self) -> bool:
        """Whether a GPU may compute: an engine fits it, or the first backend is one of a GPU."""
        return any(each.fits and auto.name(each.backend) in ON_GPU for each in self._choices.all)

    def precisions_of(self, direction: Direction, latents: bool | None) -> tuple[Precision, ...]:
        """The precisions that a direction's images may be computed in; whole arrays use the first.

        Raises:
            BundleError: a graph is damaged.
        """
        return self._choices.of(direction, latents).precisions

    @property
    def manifest(self) -> Manifest:
        """Everything known of the bundle."""
        return self._bundle.manifest

    def graph(
        self, direction: Direction, latents: bool | None, precision: Precision | None = None
    ) -> Graph:
        """`Bundle.graph` for this network's boundary; without `precision` in the first one."""
        return self._choices.graph(direction, latents, precision)

    def exact(self, graph: Graph) -> Graph:
        """The fp32 graph that can replace another; raises `BundleError` without one."""
        targets = targets_of(self._backend)
        return self._bundle.graph(graph.direction, "fp32", graph.latents, None, targets)

    def encode(self, hr: Array, *, latents: bool = True) -> dict[str, Array]:
        """Run the forward graph.

        Args:
            hr: float32 [N, 3, s·H, s·W], RGB in [0, 1].
            latents: False also takes a graph without latents.

        Returns:
            `lr` [N, 3, H, W], neither clipped nor rounded; `z1` … `zL`; for SR `logp` [N].

        Raises:
            ParameterError: another shape or dtype.
            BundleError, ImageError, BackendError: no such graph, too little memory, it failed.
        """
        scale = self.manifest.scale
        _check_image("hr", hr, scale)
        graph = self.graph("forward", latents)
        return self._run_whole(graph, {"hr": hr}, hr.shape[2] // scale, hr.shape[3] // scale)

    def decode(self, lr: Array, latents: Sequence[Array] | None = None) -> Array:
        """Run the inverse graph.

        Args:
            lr: float32 [N, 3, H, W], RGB in [0, 1].
            latents: z1 … zL of `latent_shapes`, already multiplied by τ; None is τ = 0.

        Returns:
            hr, float32 [N, 3, s·H, s·W], not clipped.

        Raises:
            ParameterError: another shape or dtype, or latents for a graph built for τ = 0.
            BundleError, ImageError, BackendError: no such graph, too little memory, it failed.
        """
        _check_image("lr", lr, 1)
        n, _, height, width = lr.shape
        graph = self.graph("inverse", latents is not None)
        if latents is not None:
            self.check_latents(graph, latents, n, height, width)
        return self._run_whole(graph, self.feeds(graph, lr, latents), height, width)["hr"]

    def feeds(self, graph: Graph, lr: Array, latents: Sequence[Latent] | None) -> dict[str, Latent]:
        """The inputs of an inverse graph by name; missing latents are zeros."""
        feeds: dict[str, Latent] = {"lr": lr}
        if graph.latents:
            if latents is None:
                shapes = self.latent_shapes(lr.shape[0], *lr.shape[2:])
                latents = [np.zeros(shape, np.float32) for shape in shapes]
            feeds |= {f"z{level}": z for level, z in enumerate(latents, start=1)}
        return feeds

    def check_latents(
        self, graph: Graph, latents: Sequence[Array], n: int, height: int, width: int
    ) -> None:
        """Raise `ParameterError` unless a graph takes these latents for n LR images."""
        self.check_takes_latents(graph)
        check_given(latents, self.latent_shapes(n, height, width))

    def check_takes_latents(self, graph: Graph) -> None:
        """Raise `ParameterError` for an inverse graph built for τ = 0."""
        if not graph.latents:
            raise ParameterError(
                f"'{graph.file}' was built for τ = 0: it takes no other τ and no latents"
            )

    def latent_shapes(self, n: int, height: int, width: int) -> list[tuple[int, int, int, int]]:
        """Shapes [N, channels, H·factor, W·factor] of z1 … zL for n LR images of height × width."""
        n, height, width = (
            whole(name, side, 0, 1 << 32)
            for name, side in (("n", n), ("height", height), ("width", width))
        )
        return [(n, *shape) for shape in self.manifest.latents.shapes(height, width)]

    def draw_latents(
        self, height: int, width: int, seed: int, sample: int, tau: float
    ) -> list[Array]:
        """z1 … zL [1, channels, …] of one LR image, drawn by the manifest's scheme, times τ.

        Raises:
            BundleError: the scheme is not this runtime's.
            ParameterError: seed, sample or τ out of range.
        """
        self.check_scheme()
        shapes = [shape[1:] for shape in self.latent_shapes(1, height, width)]
        memory.check_result(sum(map(math.prod, shapes)), 4)
        return draw(shapes, tau, seed=seed, sample=sample)

    def check_scheme(self) -> None:
        """Raise `BundleError` unless this runtime draws latents by the manifest's scheme."""
        scheme = self.manifest.latents.scheme
        if scheme != SCHEME:
            raise BundleError(
                f"bundle '{self.manifest.name}' draws latents by '{scheme}', this runtime by "
                f"'{SCHEME}': upgrade hcflow-deploy, or give latents"
            )

    def opened_on(self, graph: Graph) -> str:
        """The backend that runs a graph, by its own name: for `auto` the one that it took.

        Raises:
            BundleError, BackendError: as `run`.
        """
        return self._session(graph)[0]

    def is_on_gpu(self, graph: Graph) -> bool:
        """Whether a GPU runs a graph; `auto` is asked by opening it.

        Raises:
            BundleError, BackendError: as `run`.
        """
        return self._backend in ON_GPU or (
            self._backend == "auto" and self.opened_on(graph) in ON_GPU
        )

    def program(self, graph: Graph) -> tuple[Engine, Card] | None:
        """The engine that runs a graph and its GPU; None for a backend without engines.

        Raises:
            BundleError, BackendError: as `run`.
        """
        _, session = self._session(graph)
        return (session.engine, session.card) if isinstance(session, KnowsProgram) else None

    def computation(self, graph: Graph, height: int, width: int) -> dict[str, str]:
        """What computes a graph's windows of height × width LR pixels, for what outlives a process.

        Returns:
            `graph` (SHA-256) and `backend` (by its own name, never `auto`); where an engine runs
            also `engine` (SHA-256) and `gpu` (the driver's name).

        Raises:
            BundleError, BackendError: as `run`.
        """
        backend, session = self._session(graph)
        found = {"graph": graph.sha256, "backend": backend}
        if isinstance(session, KnowsProgram):
            engine = session.engine_for(self._input_shapes(graph, height, width))
            found |= {"engine": engine.sha256, "gpu": session.card.name}
        return found

    def reserve(self, graph: Graph, height: int, width: int, windows: int = 1) -> None:
        """Take the GPU's memory for so many windows of height × width LR pixels before they run.

        Backends that have no memory of their own to reserve do nothing.

        Raises:
            GpuMemoryError: there is not enough.
            BundleError, BackendError: as `run`.
        """
        _, session = self._session(graph)
        if isinstance(session, ReservesMemory):
            session.reserve(self._input_shapes(graph, height, width), windows)

    def held(self, graph: Graph) -> int:
        """Bytes that a backend keeps from earlier runs of a graph, and reuses for the next."""
        return self._held.get(graph.file, 0)

    def hold(self, graph: Graph, size: int) -> None:
        """Record that windows which need `size` bytes have been run."""
        self._held[graph.file] = max(size, self.held(graph))

    def run(self, graph: Graph, feeds: Mapping[str, Latent]) -> dict[str, Array]:
        """Outputs of a graph by name; neither memory nor values are checked.

        Latents that are regions are drawn by the backend where it can, else here. Images are floats
        here even where the graph takes and gives bytes.

        Raises:
            BundleError, BackendError: the file is damaged, or the graph failed.
            ParameterError: the graph takes bytes, and the image has more than 8 bits.
        """
        _, session = self._session(graph)
        if not (isinstance(session, DrawsLatents) and session.draws_latents):
            feeds = {name: _values(value) for name, value in feeds.items()}

        def run(given: Mapping[str, Latent]) -> dict[str, Array]:
            outputs = session.run(given)
            graph_outputs.check(self.manifest, graph, feeds, outputs)
            return outputs

        return uint8_images.run(run, feeds) if graph.io == uint8_images.IO else run(feeds)

    def _run_whole(
        self, graph: Graph, feeds: Mapping[str, Latent], lr_height: int, lr_width: int
    ) -> dict[str, Array]:
        memory.check(graph, lr_height, lr_width)
        outputs = self.run(graph, feeds)
        for name, value in outputs.items():
            if not np.isfinite(value).all():
                raise BackendError(
                    f"'{graph.file}' gave NaN or infinity in '{name}' on {self._backend}: "
                    "try precision fp32, and run 'hcflow verify' on the bundle"
                )
        return outputs

    def _input_shapes(self, graph: Graph, height: int, width: int) -> dict[str, tuple[int, ...]]:
        return _input_shapes(self.manifest, graph, height, width)

    def _session(self, graph: Graph) -> tuple[str, Session]:
        return self._choices.session(graph)


def _input_shapes(
    manifest: Manifest, graph: Graph, height: int, width: int
) -> dict[str, tuple[int, ...]]:
    """Shapes of a graph's inputs for one LR image of height × width."""
    shapes = manifest.input_shapes(graph, 1, height, width)
    if graph.io == uint8_images.IO:
        return {name: uint8_images.shape(name, each) for name, each in shapes.items()}
    return shapes


def _expect(manifest: Manifest, graph: Graph, session: Session) -> None:
    # From the manifest's grid alone, so that an image always gives the same bytes.
    if isinstance(session, ExpectsShapes) and graph.window is not None:
        session.expect(_input_shapes(manifest, graph, graph.window, graph.window))


def _values(latent: Latent) -> Array:
    return latent.values() if isinstance(latent, Region) else latent


def _check_image(name: str, image: Array, multiple: int) -> None:
    if not isinstance(image, np.ndarray):
        raise ParameterError(f"{name} is {shown(image)}: it must be float32 [N, 3, H, W]")
    if image.dtype != np.float32 or image.ndim != 4 or image.shape[1] != 3 or 0 in image.shape:
        raise ParameterError(
            f"{name} is {image.dtype} {list(image.shape)}: it must be float32 [N, 3, H, W]"
        )
    if image.shape[2] % multiple or image.shape[3] % multiple:
        raise ParameterError(
            f"{name} is {image.shape[3]}×{image.shape[2]}: both sides must be multiples of "
            f"{multiple}"
        )
