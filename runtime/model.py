"""A model: images in, images of the same form out, by one bundle's network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from runtime.bundle.manifest import Manifest, Task
from runtime.errors import ParameterError
from runtime.images.pixels import arrays, padding
from runtime.images.pixels.arrays import Canvas
from runtime.images.pixels.image_rows import ImageRows
from runtime.inference import memory, streaming
from runtime.inference.cancel import Cancel, check_of
from runtime.inference.grid import Tiling
from runtime.inference.latent_source import Sampling, arrays_of, samples_of
from runtime.inference.network import Network
from runtime.inference.report import Report, check_report
from runtime.inference.tau_map import TauMap
from runtime.latents import Array, fixed_seed
from runtime.system.arguments import shown


class Model:
    """Upscales and downscales images with one bundle; every method may be called from many threads.

    On one backend a result depends only on the image, τ, seed and tile grid. Images of a batch, and
    samples, are run one at a time, and the graph alone decides the grid: batch, threads and order
    cannot change a byte.
    """

    def __init__(self, network: Network) -> None:
        if not isinstance(network, Network):
            raise ParameterError(f"a model cannot be made of {shown(network)}: use runtime.load")
        self._network = network

    @property
    def network(self) -> Network:
        """The network that it runs, for `runtime.inference.streaming`."""
        return self._network

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        return self._network.manifest

    @property
    def scale(self) -> int:
        """HR size / LR size."""
        return self.manifest.scale

    @property
    def task(self) -> Task:
        """`rescaling` (upscaling undoes its own downscaling) or `sr` (super-resolution)."""
        return self.manifest.task

    @property
    def default_tau(self) -> float:
        """The temperature `upscale` uses when none is given."""
        return self.manifest.default_tau

    def upscale(  # noqa: PLR0913 - keywords of the public API
        self,
        image: Any,
        *,
        tau: float | None = None,
        seed: int | None = 0,
        samples: int = 1,
        latents: Sequence[Array] | None = None,
        size: tuple[int, int] | None = None,
        tau_map: Image.Image | None = None,
        tile: int | None = None,
        overlap: int | None = None,
        report: Report | None = None,
        cancel: Cancel | None = None,
    ) -> Any:
        """Upscale an image by `scale`.

        Args:
            image: Pillow image (of several frames the current one), array H×W, H×W×C or batch
                N×H×W×C (see `arrays.split`), or a list of images, whose results come as a list.
            tau: temperature, 0 to 10⁶; None is `default_tau`. At 0 every seed gives the same image.
            seed: of the latents, unsigned 64 bits; None draws one and logs it at level INFO.
                Every image of a batch gets the latents it would get alone.
            samples: how many different images to draw, at least 1.
            latents: z1 … zL to use instead of drawn ones; float32
                [N, channels, H·factor, W·factor], as `downscale` returns them.
            size: exact (height, width) of the result, at most scale − 1 below scale × the input.
            tau_map: gray Pillow image of any size, stretched over the image: τ where it is white,
                0 where it is black.
            tile: side of a tile in LR pixels, at least 1, instead of the graph's own; the result
                may then differ by up to 1/255.
            overlap: LR pixels computed beyond a tile on each side, at least 0, instead of the
                graph's own.
            report: filled with the tiles and their fallbacks.
            cancel: a function that is true, or a `threading.Event` that is set, once the call is to
                end: it ends within one tile. Asked from several threads.

        Returns:
            An image like the input (type, dtype, axes; gray and alpha kept; palette and other
            colour spaces become RGB), clipped to [0, 1] and rounded to the nearest integer; a list
            of them if `samples` is above 1.

        Raises:
            ImageError: the image cannot be used, or needs more memory than is free.
            ParameterError: an argument out of its range.
            BundleError, BackendError: the graph is damaged, missing, or gave NaN or infinity.
            Cancelled: `cancel` said so.
        """
        samples = samples_of(samples)
        check_report(report)
        if latents is not None:
            if isinstance(image, list | tuple):
                raise ParameterError("latents need one image or one batch, not a list")
            if tau is not None or tau_map is not None or samples > 1:
                raise ParameterError("latents replace tau and samples: give one or the other")
            latents, tau = arrays_of(latents), 0.0
        sampling = self._sampling(tau, seed, latents)
        tiling, check = Tiling(tile, overlap), check_of(cancel)

        def one(image: Any) -> Any:
            check()
            return self._upscale(image, sampling, tau_map, samples, size, tiling, report, cancel)

        return [one(each) for each in image] if isinstance(image, list | tuple) else one(image)

    def _upscale(
        self,
        image: Any,
        sampling: Sampling,
        mask: Image.Image | None,
        samples: int,
        size: tuple[int, int] | None,
        tiling: Tiling,
        report: Report | None,
        cancel: Cancel | None,
    ) -> Any:
        pictures, layout = arrays.split(image)
        latents = sampling.latents
        if latents is not None:
            self._check_batch(latents, len(pictures))
        first = pictures[0]
        height, width = padding.target_size(first.height, first.width, self.scale, size)
        values = len(pictures) * height * width * layout.channels
        memory.check_result(samples * values, layout.dtype.itemsize)
        canvases = [Canvas(layout, len(pictures), height, width) for _ in range(samples)]
        if mask is not None:
            sampling = replace(sampling, tau_map=TauMap.of(mask, first.height, first.width))
        for i, picture in enumerate(pictures):
            if latents is not None:
                sampling = replace(sampling, latents=[z[i : i + 1] for z in latents])
            rows = ImageRows.of(picture, "inverse", self.scale, keeps_neutral=latents is None)
            for blocks in streaming.upscale_samples(
                self._network,
                rows,
                sampling,
                samples=range(samples),
                tiling=tiling,
                report=report,
                cancel=cancel,
            ):
                top = blocks[0].top
                alpha = rows.finish(top, *(block.planes for block in blocks))
                for canvas, block in zip(canvases, blocks, strict=True):
                    canvas.paint(i, top, block.planes, alpha)
                del blocks, block, alpha  # before the next ones are computed
        results = [canvas.image() for canvas in canvases]
        return results[0] if samples == 1 else results

    def uncertainty(  # noqa: PLR0913 - keywords of the public API
        self,
        image: Any,
        *,
        tau: float | None = None,
        seed: int = 0,
        samples: int = 8,
        size: tuple[int, int] | None = None,
        tau_map: Image.Image | None = None,
        tile: int | None = None,
        overlap: int | None = None,
        report: Report | None = None,
        cancel: Cancel | None = None,
    ) -> tuple[Any, Array]:
        """Draw many images; their mean and their deviation at each pixel.

        Args:
            image: one image, as for `upscale`.
            tau: temperature, as for `upscale`.
            seed: of the latents, as for `upscale`.
            samples: how many images to draw, at least 2; memory does not grow with their number.
            size: as for `upscale`.
            tau_map: as for `upscale`.
            tile: as for `upscale`.
            overlap: as for `upscale`.
            report: as for `upscale`.
            cancel: as for `upscale`.

        Returns:
            The mean image, in the form of the input, and the standard deviation over the samples at
            each pixel, float32 [H, W] in [0, 1]: the root of the mean variance of its colours.

        Raises:
            ImageError, ParameterError, BundleError, BackendError, Cancelled: as `upscale`.
        """
        samples = samples_of(samples)
        check_report(report)
        if samples < 2:
            raise ParameterError(f"samples is {samples}: a deviation needs 2 or more")
        sampling, tiling = self._sampling(tau, seed), Tiling(tile, overlap)
        check_of(cancel)()
        pictures, layout = arrays.split(image)
        if len(pictures) > 1:
            raise ParameterError("uncertainty takes one image: give them one at a time")
        (picture,) = pictures
        height, width = padding.target_size(picture.height, picture.width, self.scale, size)
        memory.check_result(height * width * (layout.channels + 1), max(layout.dtype.itemsize, 4))
        canvas = Canvas(layout, 1, height, width)
        deviation = np.empty((height, width), np.float32)
        rows = ImageRows.of(picture, "inverse", self.scale)
        if tau_map is not None:
            mask = TauMap.of(tau_map, picture.height, picture.width)
            sampling = replace(sampling, tau_map=mask)
        for block in streaming.uncertainty(
            self._network,
            rows,
            sampling,
            samples=range(samples),
            tiling=tiling,
            report=report,
            cancel=cancel,
        ):
            pixel = rows.deviation(
                block.top, block.deviation, block.luma_variance, block.luma_covariance
            )
            painted = deviation[block.top : block.top + pixel.shape[0]]
            painted[...] = pixel[: painted.shape[0], :width]
            alpha = rows.finish(block.top, block.planes)
            canvas.paint(0, block.top, block.planes, alpha)
        return canvas.image(), deviation

    def downscale(
        self,
        image: Any,
        *,
        return_latents: bool = False,
        tile: int | None = None,
        overlap: int | None = None,
        report: Report | None = None,
        cancel: Cancel | None = None,
    ) -> Any:
        """Downscale an image by `scale`; sides are rounded up.

        Sides that are not multiples of the scale are padded first (`padding.pad`);
        `upscale(…, size=…)` crops the result to the original size.

        Args:
            image: as for `upscale`.
            return_latents: return (image, (z1, …, zL)), latents float32
                [N, channels, H·factor, W·factor] for an LR image of H×W; for a list, such pairs.
            tile: as for `upscale`.
            overlap: as for `upscale`.
            report: as for `upscale`.
            cancel: as for `upscale`.

        Raises:
            ImageError, ParameterError, BundleError, BackendError, Cancelled: as `upscale`.
        """
        check_report(report)
        tiling, check = Tiling(tile, overlap), check_of(cancel)

        def one(image: Any) -> Any:
            check()
            return self._downscale(image, return_latents, tiling, report, cancel)

        return [one(each) for each in image] if isinstance(image, list | tuple) else one(image)

    def _downscale(
        self,
        image: Any,
        return_latents: bool,
        tiling: Tiling,
        report: Report | None,
        cancel: Cancel | None,
    ) -> Any:
        pictures, layout = arrays.split(image)
        height, width = (-(-side // self.scale) for side in (pictures[0].height, pictures[0].width))
        values = len(pictures) * height * width * layout.channels
        memory.check_result(values, layout.dtype.itemsize)
        canvas = Canvas(layout, len(pictures), height, width)
        shapes = self._network.latent_shapes(len(pictures), height, width)
        memory.check_result(return_latents * sum(map(math.prod, shapes)), 4)
        codes = [np.empty(shape, np.float32) for shape in shapes if return_latents]
        levels = self.manifest.latents.levels
        for i, picture in enumerate(pictures):
            rows = ImageRows.of(picture, "forward", self.scale, keeps_neutral=not return_latents)
            for block in streaming.downscale(
                self._network,
                rows,
                latents=return_latents,
                tiling=tiling,
                report=report,
                cancel=cancel,
            ):
                alpha = rows.finish(block.top, block.planes)
                canvas.paint(i, block.top, block.planes, alpha)
                for code, level, z in zip(codes, levels, block.latents, strict=False):
                    top = block.top * level.factor
                    code[i, :, top : top + z.shape[1]] = z
        result = canvas.image()
        return (result, tuple(codes)) if return_latents else result

    def encode(self, hr: Array) -> dict[str, Array]:
        """`Network.encode`: the forward graph on float32 [N, 3, s·H, s·W], nothing clipped."""
        return self._network.encode(hr)

    def decode(self, lr: Array, latents: Sequence[Array] | None = None) -> Array:
        """`Network.decode`: the inverse graph on float32 [N, 3, H, W], nothing clipped."""
        return self._network.decode(lr, latents)

    def _sampling(
        self, tau: float | None, seed: int | None, latents: Sequence[Array] | None = None
    ) -> Sampling:
        seed = fixed_seed(seed)
        return Sampling(self.default_tau if tau is None else tau, seed, latents=latents)

    def _check_batch(self, latents: Sequence[Array], n: int) -> None:
        for level, z in enumerate(latents, start=1):
            if len(z) != n:
                raise ParameterError(f"latent z{level} is for {len(z)} images: there are {n}")
