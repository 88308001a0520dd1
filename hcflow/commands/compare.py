"""`hcflow compare`: an HTML page with input, bicubic and result under a slider, and the figures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from hcflow.cli import console, input_output, options
from hcflow.models.load import Models
from hcflow.pages import compare as page
from hcflow.pages.compare import Layer
from runtime.convert import image as convert
from runtime.convert import psnr
from runtime.errors import FileError, ImageError, ParameterError
from runtime.images import files, padding
from runtime.images.files import Photo
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
        typer.Option(metavar="FILE", help="The original that INPUT is a reduction of."),
    ] = None,
    round_trip: Annotated[
        bool, typer.Option("--round-trip", help="INPUT is the original: take it down and up.")
    ] = False,
    model: options.ModelName = None,
    tau: Annotated[
        float | None, typer.Option(help="Temperature, 0 or more.", show_default="the model's")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the latents.")] = 0,
    threads: options.Threads = None,
    backend: options.Backend = "onnxruntime",
    precision: options.PrecisionName = None,
    max_pixels: options.MaxPixels = files.MAX_PIXELS,
) -> None:
    """Write a page that shows an image, its bicubic enlargement and the model's, and what differs.

    With the original (--truth, --round-trip) the residual and the figures are against it, else the
    residual is what the model adds to bicubic. The page needs no other file and no network.
    """
    if round_trip and truth is not None:
        raise typer.BadParameter("--round-trip takes INPUT itself as the truth: leave --truth out")
    if output.suffix.lower() not in (".html", ".htm"):
        raise typer.BadParameter(f"'{output}': name a page, as compare.html")
    if not output.parent.is_dir():
        raise FileError(f"cannot write '{output}': the folder '{output.parent}' does not exist")
    models = Models({"backend": backend, "precision": precision, "threads": threads})
    photo = input_output.read(source, max_pixels)
    original = photo if round_trip else None
    plain = None
    if round_trip:
        _check_size(*photo.size)
        network = models.open(model)
        reduced = console.run(
            "down", lambda: convert.reduce(network, photo, "PNG", round_trip=False)
        )
        plain = psnr.bicubic(photo.image, *reduced.size)
        photo = files.decode(reduced.data, "the reduction")
    elif truth is not None:
        original = input_output.read(truth, max_pixels)
        _check_size(*original.size)
    size = None if original is None else original.size[::-1]
    choice: dict[str, Any] = {"tau": tau, "seed": seed, "size": size}

    def check(network: Model) -> None:
        _check_size(*_full(photo, network.scale))
        try:
            padding.target_size(photo.size[1], photo.size[0], network.scale, size)
        except ParameterError as error:
            named = input_output.named(source)
            raise ParameterError(f"--truth is no original of {named}: {error}") from None

    def enlarge() -> convert.Enlarged:
        where = input_output.named(source)
        small = convert.recalled(models.checked(check), model, photo, where, size)
        return convert.enlarge(small, choice)

    elapsed = console.stopwatch()
    made = console.run("up", enlarge)
    seconds = elapsed()
    width, height = made.photos[0].size
    bicubic = psnr.bicubic(photo.image if plain is None else plain, *_full(photo, made.model.scale))
    pictures = {"bicubic": bicubic, "result": made.photos[0].image}
    if original is not None:
        pictures["original"] = original.image
    text = _page(
        console.shown(Path(source).name),
        photo.image,
        {name: _eight_bits(image, width, height) for name, image in pictures.items()},
        f"Model {made.model.manifest.name} ×{made.model.scale}, "
        f"τ = {made.model.default_tau if tau is None else tau:g}, seed {seed}, {seconds:.2f} s. "
        "Bicubic is Pillow's"
        + (", of its own bicubic reduction" if round_trip else "")
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
    planes = {key: _planes(image) for key, image in pictures.items()}
    against = "original" if "original" in pictures else "bicubic"
    layers = [Layer("input", _pixels(small, width, height), {"size": _size(small)})]
    for key, image in pictures.items():
        row = {"size": f"{width}×{height}"}
        if "original" in pictures and key != "original":
            error = psnr.squared_error(planes[key], planes["original"])
            value = psnr.psnr_of(error, planes[key].size) if error else math.inf
            worst = float(np.abs(planes[key] - planes["original"]).max() * 255)
            row |= {"PSNR dB": f"{value:.2f}", "largest error": f"{worst:.0f}/255"}
        layers.append(Layer(key, image, row))
    title = f"Residual: |result − {against}|, the largest of a pixel's three colours:"
    heat = page.residual(planes["result"], planes[against], title)
    return page.render(name, layers, heat, "bicubic", "result", note)


def _full(photo: Photo, scale: int) -> tuple[int, int]:
    return photo.size[0] * scale, photo.size[1] * scale


def _eight_bits(image: Any, width: int, height: int) -> Image.Image:
    """An image as RGB of 8 bits, cut to a size."""
    plain: Image.Image
    if not isinstance(image, Image.Image) or image.mode not in ("L", "LA", "RGB", "RGBA"):
        planes = psnr.colour(image)
        plain = Image.fromarray(np.rint(planes.transpose(1, 2, 0) * 255).astype(np.uint8))
    else:
        plain = image.convert("RGB")
    return plain.crop((0, 0, width, height))


def _pixels(small: Any, width: int, height: int) -> Image.Image:
    """The small image with every pixel as a square, cut to a size."""
    plain = _eight_bits(small, *psnr.size_of(small))
    scale = -(-width // plain.width)
    large = plain.resize((plain.width * scale, plain.height * scale), Image.Resampling.NEAREST)
    return large.crop((0, 0, width, height))


def _planes(image: Image.Image) -> Any:
    return psnr.colour(image)


def _size(image: Any) -> str:
    width, height = psnr.size_of(image)
    return f"{width}×{height}"
