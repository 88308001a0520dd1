"""A bundle's network on a backend: float tensors in, float tensors out, nothing clipped."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from runtime import backends, memory
from runtime.bundle import Bundle
from runtime.errors import BackendError, BundleError, ParameterError
from runtime.latents import SCHEME, draw
from runtime.manifest import Graph, Manifest, Precision

Tensor = NDArray[np.float32]


class Network:
    """Both directions of one bundle; every method may be called from many threads.

    A graph is read, checked and loaded when first used, and then kept.
    """

    def __init__(
        self, bundle: Bundle, backend: str, precision: Precision, threads: int | None
    ) -> None:
        self._bundle = bundle
        self._backend = backend
        self._precision = precision
        self._threads = threads or 0
        self._sessions: dict[str, backends.Session] = {}
        self._opening = threading.Lock()

    @property
    def manifest(self) -> Manifest:
        """Everything known of the bundle."""
        return self._bundle.manifest

    def encode(self, hr: Tensor, *, latents: bool = True) -> dict[str, Tensor]:
        """Run the forward graph.

        Args:
            hr: float32 [N, 3, s·H, s·W], RGB in [0, 1].
            latents: False allows a graph without latents where the bundle has one.

        Returns:
            `lr` [N, 3, H, W], neither clipped nor rounded; `z1` … `zL`; for SR `logp` [N].

        Raises:
            ParameterError: another shape.
            BundleError, ImageError, BackendError: no such graph, no memory for it, it failed.
        """
        scale = self.manifest.scale
        _check_image("hr", hr, scale)
        graph = self._bundle.graph("forward", self._precision, latents)
        return self._run(graph, {"hr": hr}, hr.shape[2] // scale, hr.shape[3] // scale)

    def decode(self, lr: Tensor, latents: Sequence[Tensor] | None = None) -> Tensor:
        """Run the inverse graph.

        Args:
            lr: float32 [N, 3, H, W], RGB in [0, 1].
            latents: z1 … zL as `latent_shapes` says, already multiplied by τ; None is τ = 0.

        Returns:
            hr, float32 [N, 3, s·H, s·W], not clipped.

        Raises:
            ParameterError: another shape, or latents for a graph built for τ = 0.
            BundleError, ImageError, BackendError: no such graph, no memory for it, it failed.
        """
        _check_image("lr", lr, 1)
        n, _, height, width = lr.shape
        graph = self._bundle.graph("inverse", self._precision, latents is not None)
        if latents is not None and not graph.latents:
            raise ParameterError(
                f"'{graph.file}' was built for τ = 0: it takes neither another τ nor latents"
            )
        feeds = {"lr": lr}
        if graph.latents:
            shapes = self.latent_shapes(n, height, width)
            if latents is None:
                latents = [np.zeros(shape, np.float32) for shape in shapes]
            _check_latents(latents, shapes)
            feeds |= {f"z{level}": z for level, z in enumerate(latents, start=1)}
        return self._run(graph, feeds, height, width)["hr"]

    def latent_shapes(self, n: int, height: int, width: int) -> list[tuple[int, int, int, int]]:
        """Shapes [N, channels, H·factor, W·factor] of z1 … zL for n LR images of height × width."""
        return [
            (n, level.channels, height * level.factor, width * level.factor)
            for level in self.manifest.latents.levels
        ]

    def draw_latents(
        self, height: int, width: int, seed: int, sample: int, tau: float
    ) -> list[Tensor]:
        """z1 … zL [1, channels, …] of one LR image by the manifest's scheme, times τ.

        Raises:
            BundleError: the scheme is not this runtime's.
            ParameterError: seed, sample or τ out of range.
        """
        scheme = self.manifest.latents.scheme
        if scheme != SCHEME:
            raise BundleError(
                f"bundle '{self.manifest.name}' draws latents by '{scheme}', this runtime by "
                f"'{SCHEME}': upgrade hcflow-deploy, or give latents"
            )
        shapes = self.latent_shapes(1, height, width)
        return [
            draw(seed, sample, level, shape[1], 0, 0, *shape[2:], tau=tau)[None]
            for level, shape in enumerate(shapes, start=1)
        ]

    def _run(
        self, graph: Graph, feeds: Mapping[str, Tensor], lr_height: int, lr_width: int
    ) -> dict[str, Tensor]:
        memory.check(graph, lr_height, lr_width)
        outputs = self._session(graph).run(feeds)
        for name, value in outputs.items():
            if not np.isfinite(value).all():
                raise BackendError(
                    f"'{graph.file}' gave NaN or infinity in '{name}' on {self._backend}: "
                    "try precision fp32, and 'hcflow verify' on the bundle"
                )
        return outputs

    def _session(self, graph: Graph) -> backends.Session:
        with self._opening:
            if graph.file not in self._sessions:
                self._sessions[graph.file] = backends.open_session(
                    self._backend, self._bundle.read_graph(graph), graph.numerics, self._threads
                )
            return self._sessions[graph.file]


def _check_image(name: str, image: Tensor, multiple: int) -> None:
    if image.dtype != np.float32 or image.ndim != 4 or image.shape[1] != 3 or 0 in image.shape:
        raise ParameterError(
            f"{name} is {image.dtype} {list(image.shape)}: it must be float32 [N, 3, H, W]"
        )
    if image.shape[2] % multiple or image.shape[3] % multiple:
        raise ParameterError(
            f"{name} is {image.shape[3]}×{image.shape[2]}: both sides must be multiples of "
            f"{multiple}"
        )


def _check_latents(given: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> None:
    if len(given) != len(shapes):
        raise ParameterError(f"{len(given)} latents given: this model takes z1 to z{len(shapes)}")
    for level, (z, shape) in enumerate(zip(given, shapes, strict=True), start=1):
        if z.shape != shape or z.dtype != np.float32:
            raise ParameterError(
                f"latent z{level} is {z.dtype} {list(z.shape)}: "
                f"it must be float32 {list(shape)} for this image"
            )
        if not np.isfinite(z).all():
            raise ParameterError(f"latent z{level} has NaN or infinity in it")
