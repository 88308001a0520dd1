"""`hcflow compare`: an HTML page with input, bicubic and results under a divider, and figures."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from hcflow.cli import console, input_output, options
from hcflow.models.load import Models
from hcflow.pages import compare as page
from hcflow.pages.compare import Layer, Scene
from runtime.convert import image, psnr
from runtime.convert.job import Job
from runtime.convert.restore import restoration_of
from runtime.errors import FileError, ImageError, ParameterError
from runtime.images.codecs import files
from runtime.images.codecs.formats import Photo
from runtime.images.pixels import padding
from runtime.model import Model
from runtime.system import atomic

_LARGEST = 20_000_000  # pixels of a result: a page embeds several pictures of that size


_BICUBIC = ("Bicubic is Pillow's.", "Bicubic is Pillow's, of its own downscale.")
_MEASURED = "Figures are against the original: PSNR on RGB over every pixel, in 8 bits."


@dataclass(frozen=True)
class _Result:
    """What one model made: its name, the image it was given and the one it gave, in how long."""

    name: str
    small: Photo
    large: Photo
    scale: int
    tau: float
    seconds: float


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
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="Bundle folder or model name; give it again for each further model.",
            show_default="the shipped model",
        ),
    ] = None,
    tau: options.Tau = None,
    seed: Annotated[
        int,
        typer.Option(min=0, help="Seed of the latents.", rich_help_panel=options.SAMPLING),
    ] = 0,
    threads: options.Threads = None,
    backend: options.Backend = "onnxruntime",
    precision: options.PrecisionName = None,
    device: options.Device = None,
    max_pixels: options.MaxPixels = files.MAX_PIXELS,
) -> None:
    """Write a page that compares an image with its bicubic and the models' upscales.

    With the original (--truth, --round-trip), residuals and figures compare the results with it;
    without, residuals are differences from bicubic. The page is one self-contained file: drag the
    divider, zoom with the wheel.
    """
    if round_trip and truth is not None:
        raise typer.BadParameter("--round-trip takes INPUT itself as the truth: leave out --truth")
    if output.suffix.lower() not in (".html", ".htm"):
        raise typer.BadParameter(f"'{output}': name an HTML page, as compare.html")
    if not output.parent.is_dir():
        raise FileError(f"cannot write '{output}': the folder '{output.parent}' does not exist")
    models = Models(
        {"backend": backend, "precision": precision, "threads": threads, "device": device}
    )
    photo = input_output.read(source, max_pixels)
    original = photo if round_trip else None
    if truth is not None:
        original = input_output.read(truth, max_pixels)
    if original is not None:
        _check_size(*original.size)
    where = input_output.named(source)
    results: list[_Result] = []
    names: list[str | None] = [*model] if model else [None]
    for name in names:
        small = _downscaled(models, name, photo) if round_trip else photo
        job = Job("upscale", models, name, tau=tau, seed=seed)
        results.append(_upscaled(job, models, small, original, where))
    scene = _scene(console.shown(Path(source).name), original, results, seed, round_trip)
    atomic.write(output, page.render(scene.name, [scene]).encode("utf-8"))


def _check_size(width: int, height: int) -> None:
    """Refuse a result that is too large for a page, before the work."""
    if width * height > _LARGEST:
        raise ImageError(
            f"a result of {width}×{height} is too large for a page: crop the input, so that it has "
            f"at most {_LARGEST} pixels"
        )


def _downscaled(models: Models, name: str | None, photo: Photo) -> Photo:
    """The photo downscaled by a model, as its file would be read."""
    job = Job("downscale", models, name, round_trip=False)
    network = models.open(name)
    small = console.run("downscaling", lambda: image.downscale(job, network, photo, "PNG"))
    return files.decode(small.data, "the downscaled image")


def _upscaled(
    job: Job, models: Models, small: Photo, original: Photo | None, where: str
) -> _Result:
    """The photo upscaled by the model of a job, to the original's size where there is one."""
    size = None if original is None else original.size[::-1]

    def check(network: Model) -> None:
        _check_size(*_full(small, network.scale))
        try:
            padding.target_size(small.size[1], small.size[0], network.scale, size)
        except ParameterError as error:
            raise ParameterError(f"--truth is not an original of {where}: {error}") from None

    job = replace(job, models=models.checked(check), size=size)

    def upscale() -> tuple[Model, Photo]:
        found = restoration_of(job, small, where)
        (made,) = image.upscale(job, small, found)
        return found.model, made

    elapsed = console.stopwatch()
    network, made = console.run("upscaling", upscale)
    tau = network.default_tau if job.tau is None else job.tau
    return _Result(network.manifest.name, small, made, network.scale, tau, elapsed())


def _scene(
    name: str, original: Photo | None, results: list[_Result], seed: int, round_trip: bool
) -> Scene:
    """Input, bicubic, every model's result and the original, with figures."""
    first = results[0]
    width, height = first.large.size
    for result in results:
        if result.large.size != (width, height):
            raise ParameterError(
                f"{first.name} gives {width}×{height} and {result.name} "
                f"{result.large.size[0]}×{result.large.size[1]}: compare models of one scale"
            )
    small = first.small.image
    if original is not None and round_trip:
        small = psnr.bicubic(original.image, *first.small.size)
    bicubic = psnr.bicubic(small, *_full(first.small, first.scale))
    names = _distinct([result.name for result in results])
    large = {"bicubic": bicubic} | {
        name: result.large.image for name, result in zip(names, results, strict=True)
    }
    if original is not None:
        large["original"] = original.image
    pictures = {key: _eight_bits(each, width, height) for key, each in large.items()}
    layers = [
        Layer(
            "input" if len(results) == 1 or not round_trip else f"input of {made_by}",
            _eight_bits(result.small.image, *result.small.size),
            {"": "{}×{}".format(*result.small.size)},
            result.scale,
        )
        for made_by, result in zip(names, results, strict=True)
    ][: len(results) if round_trip else 1]
    truth = None if original is None else psnr.colour(pictures["original"])
    for key, picture in pictures.items():
        figures = {"": f"{width}×{height}"}
        if truth is not None and key != "original":
            worst = float(np.abs(psnr.colour(picture) - truth).max() * 255)
            value = psnr.psnr(picture, pictures["original"])
            figures = {"": f"{value:.2f} dB", "largest error": f"{worst:.0f}/255"}
        layers.append(Layer(key, picture, figures))
    about = ", ".join(
        f"{name} ×{result.scale} at τ = {result.tau:g} in {result.seconds:.2f} s"
        for name, result in zip(names, results, strict=True)
    )
    return Scene(
        name,
        (width, height),
        layers,
        "bicubic",
        names[0],
        "bicubic" if original is None else "original",
        f"{about}; seed {seed}. {_BICUBIC[round_trip]} {'' if original is None else _MEASURED}",
    )


def _distinct(names: list[str]) -> list[str]:
    """The names, numbered where two models are called alike or as another picture."""
    taken = {"input", "bicubic", "original"}
    distinct = []
    for name in names:
        numbered = (f"{name} ({count})" for count in itertools.count(2))
        distinct.append(name if name not in taken else next(n for n in numbered if n not in taken))
        taken.add(distinct[-1])
    return distinct


def _full(photo: Photo, scale: int) -> tuple[int, int]:
    return photo.size[0] * scale, photo.size[1] * scale


def _eight_bits(picture: Any, width: int, height: int) -> Image.Image:
    """An image as 8-bit RGB, laid on white where it is transparent, cropped to a size."""
    plain: Image.Image
    if not isinstance(picture, Image.Image) or picture.mode not in ("L", "LA", "RGB", "RGBA"):
        planes = psnr.colour(picture)
        plain = Image.fromarray(np.rint(planes.transpose(1, 2, 0) * 255).astype(np.uint8))
    elif picture.mode in ("LA", "RGBA"):
        white = Image.new("RGBA", picture.size, "white")
        plain = Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")
    else:
        plain = picture.convert("RGB")
    return plain.crop((0, 0, width, height))
