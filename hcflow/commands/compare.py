"""`hcflow compare`: an HTML page with input, bicubic and result under a slider, and the figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from hcflow.cli import console, input_output, options
from hcflow.models.load import Models
from hcflow.pages import compare as page
from hcflow.pages.compare import Layer
from runtime.convert import image, psnr
from runtime.convert.job import Job
from runtime.convert.restore import restoration_of
from runtime.errors import FileError, ImageError, ParameterError
from runtime.images.codecs import files
from runtime.images.codecs.files import Photo
from runtime.images.pixels import padding
from runtime.model import Model
from runtime.system import atomic

_LARGEST = 20_000_000  # pixels of the result: a page embeds four pictures of that size


def compare(
    *,
    source: Annotated[str, typer.Argument(metavar="INPUT", help="Image file.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="HTML page to write.", show_default=False)
    ],
    truth: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The original; INPUT is a downscaled copy of it."),
    ] = None,
    round_trip: Annotated[
        bool, typer.Option("--round-trip", help="INPUT is the original: downscale it first.")
    ] = False,
    model: options.ModelName = None,
    tau: options.Tau = None,
    seed: Annotated[
        int,
        typer.Option(min=0, help="Seed of the latents.", rich_help_panel=options.SAMPLING),
    ] = 0,
    threads: options.Threads = None,
    backend: options.Backend = "onnxruntime",
    precision: options.PrecisionName = None,
    max_pixels: options.MaxPixels = files.MAX_PIXELS,
) -> None:
    """Write a page that compares an image with its bicubic and the model's upscale.

    With the original (--truth, --round-trip), the residual and the figures compare the result with
    it; without, the residual is the difference from bicubic. The page is one self-contained file.
    """
    if round_trip and truth is not None:
        raise typer.BadParameter("--round-trip takes INPUT itself as the truth: leave out --truth")
    if output.suffix.lower() not in (".html", ".htm"):
        raise typer.BadParameter(f"'{output}': name an HTML page, as compare.html")
    if not output.parent.is_dir():
        raise FileError(f"cannot write '{output}': the folder '{output.parent}' does not exist")
    models = Models({"backend": backend, "precision": precision, "threads": threads})
    photo = input_output.read(source, max_pixels)
    original = photo if round_trip else None
    bicubic_small = None
    if round_trip:
        _check_size(*photo.size)
        down = Job("downscale", models, model, round_trip=False)
        network = models.open(model)
        small = console.run("downscaling", lambda: image.downscale(down, network, photo, "PNG"))
        bicubic_small = psnr.bicubic(photo.image, *small.size)
        photo = files.decode(small.data, "the downscaled image")
    elif truth is not None:
        original = input_output.read(truth, max_pixels)
        _check_size(*original.size)
    size = None if original is None else original.size[::-1]
    where = input_output.named(source)

    def check(network: Model) -> None:
        _check_size(*_full(photo, network.scale))
        try:
            padding.target_size(photo.size[1], photo.size[0], network.scale, size)
        except ParameterError as error:
            raise ParameterError(f"--truth is not an original of {where}: {error}") from None

    up = Job("upscale", models.checked(check), model, tau=tau, seed=seed, size=size)

    def upscale() -> tuple[Model, Photo]:
        found = restoration_of(up, photo, where)
        (made,) = image.upscale(up, photo, found)
        return found.model, made

    elapsed = console.stopwatch()
    network, made = console.run("upscaling", upscale)
    seconds = elapsed()
    width, height = made.size
    bicubic = psnr.bicubic(
        photo.image if bicubic_small is None else bicubic_small, *_full(photo, network.scale)
    )
    pictures = {"bicubic": bicubic, "result": made.image}
    if original is not None:
        pictures["original"] = original.image
    text = _page(
        console.shown(Path(source).name),
        photo.image,
        {name: _eight_bits(each, width, height) for name, each in pictures.items()},
        f"Model {network.manifest.name} ×{network.scale}, "
        f"τ = {network.default_tau if tau is None else tau:g}, seed {seed}, {seconds:.2f} s. "
        "Bicubic is Pillow's"
        + (", of its own bicubic downscale" if round_trip else "")
        + ". PSNR on RGB over every pixel, in 8 bits.",
    )
    atomic.write(output, text.encode("utf-8"))


def _check_size(width: int, height: int) -> None:
    """Refuse a result that is too large for a page, before the work."""
    if width * height > _LARGEST:
        raise ImageError(
            f"a result of {width}×{height} is too large for a page: crop the input, so that it has "
            f"at most {_LARGEST} pixels"
        )


def _page(name: str, small: Any, pictures: dict[str, Image.Image], note: str) -> str:
    width, height = pictures["result"].size
    planes = {key: psnr.colour(picture) for key, picture in pictures.items()}
    against = "original" if "original" in pictures else "bicubic"
    small_size = "{}×{}".format(*psnr.size_of(small))
    layers = [Layer("input", _pixels(small, width, height), {"size": small_size})]
    for key, picture in pictures.items():
        row = {"size": f"{width}×{height}"}
        if "original" in pictures and key != "original":
            worst = float(np.abs(planes[key] - planes["original"]).max() * 255)
            value = psnr.psnr(picture, pictures["original"])
            row |= {"PSNR dB": f"{value:.2f}", "largest error": f"{worst:.0f}/255"}
        layers.append(Layer(key, picture, row))
    title = f"Residual: |result − {against}|, the largest of a pixel's three colours:"
    heat = page.residual(planes["result"], planes[against], title)
    return page.render(name, layers, heat, "bicubic", "result", note)


def _full(photo: Photo, scale: int) -> tuple[int, int]:
    return photo.size[0] * scale, photo.size[1] * scale


def _eight_bits(picture: Any, width: int, height: int) -> Image.Image:
    """An image as 8-bit RGB, cropped to a size."""
    plain: Image.Image
    if not isinstance(picture, Image.Image) or picture.mode not in ("L", "LA", "RGB", "RGBA"):
        planes = psnr.colour(picture)
        plain = Image.fromarray(np.rint(planes.transpose(1, 2, 0) * 255).astype(np.uint8))
    else:
        plain = picture.convert("RGB")
    return plain.crop((0, 0, width, height))


def _pixels(small: Any, width: int, height: int) -> Image.Image:
    """The small image with every pixel as a square, cropped to a size."""
    plain = _eight_bits(small, *psnr.size_of(small))
    scale = -(-width // plain.width)
    large = plain.resize((plain.width * scale, plain.height * scale), Image.Resampling.NEAREST)
    return large.crop((0, 0, width, height))
