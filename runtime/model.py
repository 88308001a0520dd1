"""A model: images in, images of the same form out, by one bundle's network."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Resampling

from runtime import geometry, pixels
from runtime.errors import ParameterError
from runtime.latents import check_tau, fresh_seed
from runtime.manifest import Manifest, Task
from runtime.network import Network
from runtime.pixels import Picture

Tensor = NDArray[np.float32]

_logger = logging.getLogger(__name__)


class Model:
    """Upscales and downscales images with one bundle; every method may be called from many threads.

    On one backend a result depends on the image, τ and seed alone: images of a batch, and samples,
    are run one at a time, so neither batch, threads nor order can change a byte.
    """

    def __init__(self, network: Network) -> None:
        self._network = network

    @property
    def manifest(self) -> Manifest:
        """Everything known of the bundle."""
        return self._network.manifest

    @property
    def scale(self) -> int:
        """HR size / LR size."""
        return self.manifest.scale

    @property
    def task(self) -> Task:
        """`rescaling` (made to undo its own downscaling) or `sr` (super-resolution)."""
        return self.manifest.task

    @property
    def default_tau(self) -> float:
        """The temperature `upscale` uses when none is given."""
        return self.manifest.default_tau

    def upscale(
        self,
        image: Any,
        *,
        tau: float | None = None,
        seed: int | None = 0,
        samples: int = 1,
        latents: Sequence[Tensor] | None = None,
        size: tuple[int, int] | None = None,
    ) -> Any:
        """Upscale an image by `scale`.

        Args:
            image: Pillow image, array H×W, H×W×C or batch N×H×W×C (see `pixels.split`), or a list
                of images, which gives the list of what each would give.
            tau: temperature, ≥ 0; None is `default_tau`. 0 always gives the same image.
            seed: of the latents, unsigned 64 bits; None draws one and logs it at level INFO.
                Every image of a batch gets the latents it would get by itself.
            samples: how many different images to draw, at least 1.
            latents: z1 … zL to use as they are instead of drawing; float32
                [N, channels, H·factor, W·factor], as `downscale` returns them.
            size: exact (height, width) of the result, at most scale − 1 below scale × the input.

        Returns:
            An image like the one given (type, dtype, axes; gray and alpha kept; palette and other
            colour spaces become RGB), clipped to [0, 1] and rounded to the nearest integer; a list
            of them when `samples` is above 1.

        Raises:
            ImageError: the image cannot be used, or its run would not fit into memory.
            ParameterError: an argument out of its range.
            BundleError, BackendError: the graph is damaged, absent, or gave NaN or infinity.
        """
        if seed is None:
            seed = fresh_seed()
            _logger.info("seed %d", seed)
        if samples < 1:
            raise ParameterError(f"samples is {samples}: it must be 1 or more")
        if isinstance(image, list | tuple):
            if latents is not None:
                raise ParameterError("latents go with one image or one batch, not with a list")
            options: dict[str, Any] = {"tau": tau, "seed": seed, "samples": samples, "size": size}
            return [self.upscale(each, **options) for each in image]
        if latents is not None and (tau is not None or samples > 1):
            raise ParameterError("latents take the place of tau and samples: give one or the other")
        tau = self.default_tau if tau is None else tau
        check_tau(tau)

        pictures, layout = pixels.split(image)
        if latents is not None:
            self._check_batch(latents, len(pictures))
        results = []
        for sample in range(samples):
            enlarged = []
            for i, picture in enumerate(pictures):
                if latents is not None:
                    z: Sequence[Tensor] | None = [z[i : i + 1] for z in latents]
                elif tau > 0:
                    height, width = picture.colour.shape[1:]
                    z = self._network.draw_latents(height, width, seed, sample, tau)
                else:
                    z = None
                enlarged.append(self._enlarge(picture, z, size))
            results.append(pixels.join(enlarged, layout))
        return results[0] if samples == 1 else results

    def downscale(self, image: Any, *, return_latents: bool = False) -> Any:
        """Downscale an image by `scale`; sides are rounded up.

        Sides that are no multiple of the scale are first padded (`geometry.pad`);
        `upscale(…, size=…)` cuts that off again.

        Args:
            image: as for `upscale`.
            return_latents: return (image, (z1, …, zL)) with float32
                [N, channels, H·factor, W·factor] for an LR of H×W; of a list, a list of such pairs.

        Raises:
            ImageError, ParameterError, BundleError, BackendError: as `upscale`.
        """
        if isinstance(image, list | tuple):
            return [self.downscale(each, return_latents=return_latents) for each in image]
        pictures, layout = pixels.split(image)
        reduced, codes = [], []
        for picture in pictures:
            hr = geometry.pad(picture.colour, self.scale)
            outputs = self._network.encode(hr[None], latents=return_latents)
            reduced.append(Picture(outputs["lr"][0], self._reduce_alpha(picture)))
            if return_latents:
                codes.append(self._latents_of(outputs))
        result = pixels.join(reduced, layout)
        if not return_latents:
            return result
        return result, tuple(np.concatenate(z) for z in zip(*codes, strict=True))

    def encode(self, hr: Tensor) -> dict[str, Tensor]:
        """`Network.encode`: the forward graph on float32 [N, 3, s·H, s·W], nothing clipped."""
        return self._network.encode(hr)

    def decode(self, lr: Tensor, latents: Sequence[Tensor] | None = None) -> Tensor:
        """`Network.decode`: the inverse graph on float32 [N, 3, H, W], nothing clipped."""
        return self._network.decode(lr, latents)

    def _enlarge(
        self, picture: Picture, z: Sequence[Tensor] | None, size: tuple[int, int] | None
    ) -> Picture:
        lr_height, lr_width = picture.colour.shape[1:]
        height, width = geometry.target_size(lr_height, lr_width, self.scale, size)
        hr = self._network.decode(picture.colour[None], z)[0]
        alpha = None
        if picture.alpha is not None:
            alpha = pixels.resize_alpha(picture.alpha, hr.shape[1], hr.shape[2], Resampling.BICUBIC)
            alpha = alpha[:height, :width]
        return Picture(hr[:, :height, :width], alpha)

    def _reduce_alpha(self, picture: Picture) -> Tensor | None:
        if picture.alpha is None:
            return None
        alpha = geometry.pad(picture.alpha[None], self.scale)[0]
        height, width = alpha.shape
        return pixels.resize_alpha(alpha, height // self.scale, width // self.scale, Resampling.BOX)

    def _latents_of(self, outputs: dict[str, Tensor]) -> list[Tensor]:
        names = [f"z{level}" for level, _ in enumerate(self.manifest.latents.levels, start=1)]
        if not outputs.keys() >= set(names):
            raise ParameterError(f"bundle '{self.manifest.name}' was built without latents")
        return [outputs[name] for name in names]

    def _check_batch(self, latents: Sequence[Tensor], n: int) -> None:
        for level, z in enumerate(latents, start=1):
            if len(z) != n:
                raise ParameterError(f"latent z{level} is for {len(z)} images: there are {n}")
