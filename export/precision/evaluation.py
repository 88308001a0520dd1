"""What a precision costs: PSNR of a graph's output against the photograph, in dB.

An inverse is evaluated on the photograph it restores, at the given temperature; a forward on the
photograph that the fp32 inverse restores at τ = 0 from its 8-bit LR image.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import GraphModule

from export.folded.fold import GraphSpec, deploy
from export.graph import contract, liveness, trace
from export.precision.emulation import Observer, Quantised, Replay, emulate
from hcflow_ref.images.bicubic import downscale
from hcflow_ref.images.photographs import PHOTOGRAPHS, photograph
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.irn import IRN
from hcflow_ref.network.lr_image import encode_lr, quantise
from runtime.bundle.manifest import Loss
from runtime.latents import draw

PHOTOGRAPH_SIDE = 192
"""HR side of the crop, at the centre of each photograph, that a build reports on."""

MOST_LOSS_DB = {"fp16": 0.02, "int8": 0.10, "fp8": 0.10}
"""Maximum loss of PSNR against the ground truth (docs/bundle.md, 2)."""

Images = NDArray[np.float32]
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Trial:
    """Photographs [N, 3, sH, sW] in [0, 1], and the graph's inputs for them."""

    truth: Images
    inputs: Arrays
    tau: float


def inputs_of(model: HCFlow | IRN, spec: GraphSpec, truth: Images, tau: float) -> Trial:
    """The trial of some photographs.

    A rescaling inverse gets the LR image that the fp32 forward makes, an SR inverse the bicubic
    one, both in 8 bits; latents are the scheme's of seed 0.
    """
    if spec.direction == "forward":
        return Trial(truth, {"hr": truth}, 0.0)
    hr = torch.from_numpy(truth)
    with torch.no_grad():
        if model.config.task == "rescaling":
            lr = quantise(encode_lr(model, hr))
        else:
            lr = quantise(downscale(hr.double(), model.config.scale)).float()
    inputs: Arrays = {"lr": lr.numpy()}
    if spec.latents:
        inputs |= _latents(model, inputs["lr"], tau)
    return Trial(truth, inputs, tau)


def _latents(model: HCFlow | IRN, lr: Images, tau: float) -> Arrays:
    shapes = model.config.latent_shapes(*lr.shape[2:])
    samples = [draw(shapes, tau, sample=n) for n in range(len(lr))]
    levels = enumerate(zip(*samples, strict=True), start=1)
    return {f"z{level}": np.concatenate(drawn) for level, drawn in levels}


@dataclass(frozen=True)
class Evaluator:
    """Runs a graph's trace on trials and measures its images.

    Attributes:
        traced: the trace in the precision at hand.
        exact: the same graph's trace in fp32.
        outputs: names of their outputs.
        border: pixels on each side that PSNR leaves out.
        back: for a forward graph, its LR image [N, 3, H, W] → HR by the fp32 inverse.
    """

    traced: GraphModule
    exact: GraphModule
    outputs: list[str]
    border: int
    back: Callable[[Images], Images] | None

    def image(self, trial: Trial, quantised: Mapping[str, Quantised] | None = None) -> Images:
        """The restored photographs of a trial, clipped to [0, 1]."""
        traced, outputs = self._image_alone
        return self.restored(emulate(traced, outputs, trial.inputs, quantised))

    def exact_image(self, trial: Trial) -> Images:
        """The same of the fp32 graph."""
        exact, outputs = self._exact_image_alone
        return self.restored(emulate(exact, outputs, trial.inputs))

    def run(self, trial: Trial, observe: Observer, exact: bool = False) -> Arrays:
        """Run the graph, or the one in fp32, and let `observe` see every value; its outputs."""
        traced = self.exact if exact else self.traced
        return emulate(traced, self.outputs, trial.inputs, observe=observe)

    def replay(self, trial: Trial) -> Callable[[Mapping[str, Quantised]], Images]:
        """Convolutions in INT8 → the photographs of one trial, all else in float32."""
        traced, outputs = self._image_alone
        run = Replay(traced, outputs, trial.inputs)
        return lambda quantised: self.restored(run(quantised))

    @functools.cached_property
    def _image_alone(self) -> tuple[GraphModule, list[str]]:
        return self._alone(self.traced)

    @functools.cached_property
    def _exact_image_alone(self) -> tuple[GraphModule, list[str]]:
        return self._alone(self.exact)

    def _alone(self, traced: GraphModule) -> tuple[GraphModule, list[str]]:
        """The trace without what its image does not need, and the name of its output."""
        if len(self.outputs) == 1:
            return traced, self.outputs
        return liveness.first_output_alone(traced), self.outputs[:1]

    def restored(self, outputs: Mapping[str, NDArray[Any]]) -> Images:
        """The restored photographs that the graph's outputs stand for, clipped to [0, 1]."""
        if self.back is None:
            hr: Images = outputs["hr"]
            return hr.clip(0, 1)
        lr = np.clip(outputs["lr"], 0, 1)
        back: Images = self.back((np.rint(lr * 255) / 255).astype(np.float32))
        return back.clip(0, 1)

    def psnr(self, images: Images, truth: Images) -> list[float]:
        """PSNR in dB of each image inside the border; −∞ where it holds NaN."""
        b = self.border
        error = (images.astype(np.float64) - truth)[:, :, b:-b, b:-b]
        mse = np.mean(np.square(error), axis=(1, 2, 3))
        with np.errstate(divide="ignore"):
            psnr = -10 * np.log10(mse)
        return [float(value) for value in np.where(np.isfinite(mse), psnr, -np.inf)]


def evaluator(
    model: HCFlow | IRN, spec: GraphSpec, traced: GraphModule, exact: GraphModule | None = None
) -> Evaluator:
    """The evaluator of one graph of a network, whose trace is given, and that in fp32 if known."""
    if exact is None:
        exact = trace.trace(deploy(model, replace(spec, precision="fp32")))
    names = list(contract.boundary(model.config, spec)[1])
    back = restorer(model) if spec.direction == "forward" else None
    return Evaluator(traced, exact, names, model.config.scale, back)


def restorer(model: HCFlow | IRN) -> Callable[[Images], Images]:
    """An LR image [N, 3, H, W] in 8 bits → HR by the fp32 inverse at τ = 0, not clipped."""
    inverse = trace.trace(deploy(model, GraphSpec("inverse", latents=False)))

    def back(lr: Images) -> Images:
        return emulate(inverse, ["hr"], {"lr": lr})["hr"]

    return back


def photograph_trials(
    scale: int,
) -> list[tuple[str, Images]]:
    """A crop of each evaluation photograph, [1, 3, side, side] in [0, 1]: they only report."""
    found = []
    side = PHOTOGRAPH_SIDE // scale * scale
    for name in PHOTOGRAPHS:
        image = photograph(name)
        top, left = ((size - side) // 2 for size in image.shape[:2])
        crop = image[top : top + side, left : left + side].transpose(2, 0, 1)[None]
        found.append((name, np.ascontiguousarray(crop, np.float32) / np.float32(255)))
    return found


@dataclass(frozen=True)
class Comparison:
    """A named trial's images [1, 3, sH, sW], of the fp32 graph and of the one below it."""

    name: str
    trial: Trial
    exact: Images
    low: Images


def compare(
    evaluator: Evaluator,
    trials: Sequence[tuple[str, Trial]],
    quantised: Mapping[str, Quantised] | None = None,
    exact: Sequence[Images] | None = None,
) -> list[Comparison]:
    """Both graphs' images of each named trial; those of the fp32 graph may be given."""
    if exact is None:
        exact = [evaluator.exact_image(trial) for _, trial in trials]
    return [
        Comparison(name, trial, image, evaluator.image(trial, quantised))
        for (name, trial), image in zip(trials, exact, strict=True)
    ]


def losses(evaluator: Evaluator, compared: Sequence[Comparison]) -> tuple[Loss, ...]:
    """What the precision costs on each trial."""
    rows = []
    for each in compared:
        between = evaluator.psnr(each.low, each.exact)[0]
        before, after = (
            evaluator.psnr(image, each.trial.truth)[0] for image in (each.exact, each.low)
        )
        worst = float(np.abs(each.low - each.exact).max())
        to_fp32 = None if between == np.inf else between
        rows.append(Loss(each.name, each.trial.tau, to_fp32, before - after, worst))
    return tuple(rows)
