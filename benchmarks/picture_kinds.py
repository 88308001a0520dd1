"""Rescaling by kind of picture: `python -m benchmarks.picture_kinds HOLDOUT rescale_x4 [FILE …]`.

HOLDOUT holds pictures that no training has seen, NNN-KIND.png (`benchmarks.pictures` says how to
render them); their central 256×256 pixels are taken. The four photographs come whole, in colour and
in gray. Prints a Markdown table for each model: mean PSNR over bicubic both ways, in dB at τ = 0,
of the network alone and as the runtime converts, which keeps neutral pictures neutral. Below it,
the colour of neutral pictures' LR images and the error of plain colours, in 8-bit steps.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch

from benchmarks.degraded_inputs import network_of
from hcflow_ref.evaluation.metrics import bicubic_downscale, bicubic_upscale, crop_border, psnr
from hcflow_ref.images.files import read_image
from hcflow_ref.images.photographs import photographs
from hcflow_ref.images.pixels import Pixels, crop_centre, crop_to_multiple
from hcflow_ref.images.tensors import to_image, to_tensor
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.irn import IRN
from hcflow_ref.network.lr_image import encode_lr, quantise
from hcflow_ref.training.data.gray import luma
from hcflow_ref.training.losses.neutral import keep_neutral

SIDE = 256
MOST = 60.0
"""dB that a picture counts for at most: plain ones come back exactly."""

PLAIN = ((0, 0, 0), (255, 255, 255), (128, 128, 128), (255, 0, 0), (0, 255, 0), (0, 0, 255))
PLAIN_SIDE, PLAIN_BORDER = 96, 16
"""Of a plain picture, and what is left out around it."""


@dataclass(frozen=True)
class Figures:
    """Of one picture, in dB; `colour` in 8-bit steps, None where the picture has colour itself."""

    bicubic: float
    alone: float
    converted: float
    lr: float
    colour: float | None


def pictures(holdout: Path, scale: int) -> Iterator[tuple[str, Pixels]]:
    """Every picture and its kind, one kind after another."""
    for image in photographs(scale).values():
        yield "photographs", image
    for image in photographs(scale).values():
        yield "the same in gray", to_image(luma(to_tensor(image)).expand(-1, 3, -1, -1))
    for path in sorted(holdout.glob("*.png"), key=lambda path: path.stem.partition("-")[2]):
        kind = path.stem.partition("-")[2]
        yield kind, crop_to_multiple(crop_centre(read_image(path), SIDE), scale)


@torch.inference_mode()
def measure(network: HCFlow | IRN, picture: Pixels) -> Figures:
    """Downscale and restore a picture in both ways."""
    scale, hr = network.config.scale, to_tensor(picture)
    made_lr = encode_lr(network, hr)
    bicubic_lr = bicubic_downscale(picture, scale)
    alone = network.inverse(quantise(made_lr), network.zero_latents(made_lr))
    lr = quantise(keep_neutral(made_lr, hr))
    converted = keep_neutral(network.inverse(lr, network.zero_latents(lr)), lr)
    spread = (made_lr.amax(1) - made_lr.amin(1)).max().item() * 255
    return Figures(
        bicubic=_psnr(bicubic_upscale(bicubic_lr, scale), picture, scale),
        alone=_psnr(to_image(alone), picture, scale),
        converted=_psnr(to_image(converted), picture, scale),
        lr=min(psnr(to_image(lr), bicubic_lr), MOST),
        colour=spread if (picture == picture[..., :1]).all() else None,
    )


@torch.inference_mode()
def plain_error(network: HCFlow | IRN, colour: tuple[int, int, int]) -> float:
    """Largest error of a plain colour's restored image without its border, in 8-bit steps."""
    picture = np.full((PLAIN_SIDE, PLAIN_SIDE, 3), colour, np.uint8)
    lr = quantise(encode_lr(network, to_tensor(picture)))
    made = network.inverse(lr, network.zero_latents(lr)).clamp(0, 1)[0].permute(1, 2, 0) * 255
    inside = crop_border(made.numpy() - picture, PLAIN_BORDER)
    return float(np.abs(inside).max())


def _psnr(made: Pixels, truth: Pixels, scale: int) -> float:
    return min(psnr(crop_border(made, scale), crop_border(truth, scale)), MOST)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("holdout", type=Path)
    parser.add_argument("models", nargs="+", help="shipped rescaling models or checkpoints")
    asked = parser.parse_args()
    for name in asked.models:
        network = network_of(name)
        print(f"\n`{name}`\n\n| kind | pictures | bicubic | network | as converted | LR |")
        print("|---|---|---|---|---|---|")
        colours = []
        found = pictures(asked.holdout, network.config.scale)
        for kind, group in groupby(found, key=lambda each: each[0]):
            figures = [measure(network, picture) for _, picture in group]
            colours += [each.colour for each in figures if each.colour is not None]
            bicubic, alone, converted, lr = np.mean(
                [(each.bicubic, each.alone, each.converted, each.lr) for each in figures], axis=0
            )
            print(
                f"| {kind} | {len(figures)} | {bicubic:.2f} | {alone - bicubic:+.2f} "
                f"| {converted - bicubic:+.2f} | {lr:.1f} |",
                flush=True,
            )
        plain = max(plain_error(network, colour) for colour in PLAIN)
        print(f"\nLR colour of neutral pictures: {max(colours):.0f}/255; plain: {plain:.1f}/255")


if __name__ == "__main__":
    main()
