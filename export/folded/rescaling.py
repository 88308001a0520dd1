"""The rescaling network's main flow: two parts of the state, each kept up to a scale and a bias.

Its steps have an ActNorm but no 1×1 convolution, so that nothing mixes the first 3 channels with
the others: they stay two tensors from one end of a level to the other. A tensor `x` stands for the
true part `v = scale · x + bias`, channel by channel, and an ActNorm changes only the two constants.
The scale goes into whatever reads or changes the part. A bias goes into what is added to the part
next to it; where a convolution must read it first, whose padding is zero in `v`, or it meets a
factor on the other side, it is one addition (docs/folding.md, section 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.folded import algebra
from export.folded.algebra import Affine, Kernel
from export.folded.couplings import STATE, LowPrecision, bounded_log_scale, modulate
from export.folded.levels import DeployLevel, ends
from export.folded.networks import DeployDenseBlock
from hcflow_ref.network.blocks import DenseBlock
from hcflow_ref.network.hcflow import Level
from hcflow_ref.network.steps import ThreeChannelStep
from runtime.bundle.manifest import Direction

FIRST = 3
"""Channels of the first part."""


@dataclass(frozen=True)
class Part:
    """The true part that a tensor `x` stands for: `v = scale · x + bias`; both [C], float64."""

    scale: Tensor
    bias: Tensor

    def then(self, affine: Affine) -> Part:
        """The same tensor after a map with a diagonal matrix."""
        scale = affine.matrix.diagonal()
        return Part(scale * self.scale, scale * self.bias + affine.bias)


class RescalingCoupling(LowPrecision):
    """One part drives a dense block, which shifts the other or scales and shifts it.

    Args:
        net: the folded dense block.
        driven: channels that are scaled; `None` for a shift alone.
        direction: which way.
        offset: added to the driven part beyond its factor, [C], where there is a bias to add.
    """

    offset: Tensor | None

    def __init__(
        self,
        net: DeployDenseBlock,
        driven: int | None,
        direction: Direction,
        offset: Tensor | None,
    ) -> None:
        super().__init__()
        self.net, self.driven = net, driven
        self.direction: Direction = direction
        if offset is not None:
            offset = offset[None, :, None, None].to(STATE)
        self.register_buffer("offset", offset)

    def networks(self) -> Sequence[nn.Module]:
        """See `LowPrecision`."""
        return (self.net,)

    def forward(self, driver: Tensor, driven: Tensor) -> Tensor:
        """N×D×H×W and N×C×H×W → the driven part."""
        h: Tensor = self.net(driver.to(self.dtype)).to(STATE)
        if self.driven is None:
            return driven + h
        shift, s = torch.split(h, self.driven, 1)
        if self.offset is not None and self.direction == "inverse":
            driven = driven + self.offset
        driven = modulate(driven, shift, bounded_log_scale(s), self.direction)
        if self.offset is not None and self.direction == "forward":
            driven = driven + self.offset
        return driven


class RescalingStep(nn.Module):
    """A step of a level: its coupling, and which part drives."""

    def __init__(self, first_drives: bool, coupling: RescalingCoupling) -> None:
        super().__init__()
        self.first_drives = first_drives
        self.coupling = coupling

    def forward(self, first: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        """Both parts → both parts."""
        if self.first_drives:
            return first, self.coupling(first, rest)
        return self.coupling(rest, first), rest


class RescalingLevel(DeployLevel):
    """A level of the rescaling network."""

    def __init__(
        self, level: Level, direction: Direction, channels: int, with_latent: bool
    ) -> None:
        super().__init__(level, direction, channels, with_latent)
        steps = [step for step in level.steps if isinstance(step, ThreeChannelStep)]
        maps = [algebra.actnorm(step.actnorm) for step in steps]
        entry = algebra.squeeze(level, channels).then(maps[0])
        size = 4 * channels
        start = Part(torch.ones(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64))
        if direction == "forward":
            # The scale starts so that it ends at 1, where others read the parts.
            total = torch.stack([m.matrix.diagonal() for m in maps[1:]]).prod(0) if maps[1:] else 1
            start = replace(start, scale=start.scale / total)
            held = Affine(torch.diag(1 / start.scale), start.bias)
            modules, _ = _steps(steps, [*maps[1:], None], direction, start)
            linear = ends(entry.then(held), direction)
        else:
            inverses = [m.inverse() for m in maps[:0:-1]]
            modules, end = _steps(steps[::-1], [*inverses, None], direction, start)
            modules = modules[::-1]
            true = Affine(torch.diag(end.scale), end.bias)
            linear = ends(entry.then(true.inverse()), direction)
        self.steps = nn.ModuleList(modules)
        modules[0].add_module("linear", linear)
        self.sizes = [FIRST, size - FIRST]
        self.extra = level.kept - FIRST

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """See `DeployLevel`; this network has no likelihood, so no log-scales."""
        v = self._linear(x)
        first, rest = torch.split(v, self.sizes, 1)
        for step in self.steps:
            first, rest = step(first, rest)
        if not self.extra:
            return first, rest, []
        extra, a = torch.split(rest, [self.extra, self.split_sizes[1]], 1)
        return torch.cat([first, extra], 1), a, []

    def decode(self, kept: Tensor, a: Tensor) -> Tensor:
        """See `DeployLevel`."""
        first, rest = kept, a
        if self.extra:
            first, extra = torch.split(kept, [FIRST, self.extra], 1)
            rest = torch.cat([extra, a], 1)
        for step in reversed(self.steps):
            first, rest = step(first, rest)
        return F.pixel_shuffle(self._linear(torch.cat([first, rest], 1)), 2)

    def _linear(self, v: Tensor) -> Tensor:
        """The level's one convolution of the state itself, named as in an SR network."""
        linear: Tensor = self.steps[0].get_submodule("linear")(v)
        return linear


def _steps(
    steps: Sequence[ThreeChannelStep],
    then: Sequence[Affine | None],
    direction: Direction,
    state: Part,
) -> tuple[list[RescalingStep], Part]:
    """The steps in running order, each with the ActNorm that comes behind its coupling, if any.

    Args:
        steps: of the reference, in running order.
        then: what follows each of their couplings.
        direction: which way.
        state: both parts at the start, first the first one.
    """
    made = []
    for index, (step, behind) in enumerate(zip(steps, then, strict=True)):
        parts = slice(None, FIRST), slice(FIRST, None)
        driver, driven = parts if step.affine else parts[::-1]
        after = behind or _identity(len(state.scale))
        coming = Part(state.scale[driven], state.bias[driven])
        then_driven = Affine(after.matrix[driven, driven], after.bias[driven])
        last, offset = _last(step, coming, then_driven, direction)
        # Nothing to add before the first step of an inverse, or behind the last one forward.
        ends_here = index == 0 if direction == "inverse" else index == len(steps) - 1
        assert isinstance(step.net, DenseBlock)
        coupling = RescalingCoupling(
            DeployDenseBlock(step.net, last, state.scale[driver]),
            len(coming.scale) if step.affine else None,
            direction,
            offset if step.affine and not ends_here else None,
        )
        made.append(RescalingStep(step.affine, coupling))
        bias = state.bias.clone()
        bias[driven] = -then_driven.bias / then_driven.matrix.diagonal()  # the ActNorm makes it 0
        state = Part(state.scale, bias).then(after)
    return made, state


def _last(
    step: ThreeChannelStep, coming: Part, then: Affine, direction: Direction
) -> tuple[Kernel, Tensor]:
    """The last convolution of a coupling network, and what is added beyond the factor.

    The driven part comes with its bias and goes without one from the ActNorm behind the coupling.
    """
    sign = 1.0 if direction == "forward" else -1.0
    last = algebra.plain(step.net.conv5)
    going = then.bias / then.matrix.diagonal()
    if not step.affine:
        shift = sign * last.bias + coming.bias + going
        weight = sign * last.weight / coming.scale[:, None, None, None]
        return Kernel(weight, shift / coming.scale), going
    last = algebra.deinterleave(last, even=sign, odd=2 * sign)
    near, beyond = (coming.bias, going) if direction == "forward" else (going, coming.bias)
    count = len(coming.scale)
    bias = torch.cat([(last.bias[:count] + near) / coming.scale, last.bias[count:]])
    weight = torch.cat(
        [last.weight[:count] / coming.scale[:, None, None, None], last.weight[count:]]
    )
    return Kernel(weight, bias), beyond / coming.scale


def _identity(channels: int) -> Affine:
    one = torch.eye(channels, dtype=torch.float64)
    return Affine(one, torch.zeros(channels, dtype=torch.float64))
