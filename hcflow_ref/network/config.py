"""The hyperparameters of an HCFlow network, small and frozen (docs/network.md, 1).

To load a file none is written by hand: `hcflow_ref.checkpoint.detect` detects it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Task = Literal["sr", "rescaling"]


@dataclass(frozen=True)
class LevelConfig:
    """One level: main flow steps, then the conditional flow of the channels split off.

    Attributes:
        steps: main flow steps.
        hidden: hidden width of their coupling networks.
        cond_steps: conditional flow steps.
        cond_hidden: hidden width of their coupling networks.
        features: width `nf` of the feature extractor.
        growth: growth `gc` of its residual dense blocks.
        blocks: RRDB blocks in its two trunks.
    """

    steps: int
    hidden: int
    cond_steps: int
    cond_hidden: int
    features: int
    growth: int
    blocks: tuple[int, int]


@dataclass(frozen=True)
class HCFlowConfig:
    """A network: its task determines squeeze, coupling and prior; levels are finest first.

    `task="sr"` is the general and face network (space-to-depth, 1×1 convolutions, FCN couplings);
    `task="rescaling"` has Haar squeezes and 3-channel couplings without 1×1 convolutions.
    """

    task: Task
    levels: tuple[LevelConfig, ...]

    @property
    def scale(self) -> int:
        """Pixels of HR per pixel of LR along one side."""
        return int(2 ** len(self.levels))

    def channels(self, level: int) -> tuple[int, int, int]:
        """Channels `(total, kept, split)` of a level: after its squeeze, kept, and split off."""
        entering = 3 * 2**level
        total = 4 * entering
        kept = 3 if level == len(self.levels) - 1 else total // 2
        return total, kept, total - kept

    def condition_channels(self, level: int) -> int:
        """Channels of a level's condition: those it keeps, and all coarser levels' features."""
        coarser = range(level + 1, len(self.levels))
        return self.channels(level)[1] + sum(self.feature_channels(j) for j in coarser)

    def feature_channels(self, level: int) -> int:
        """Channels of a level's conditional feature `u`: two trunks for SR, one for rescaling."""
        return self.levels[level].features * (2 if self.task == "sr" else 1)

    def latent_shapes(self, height: int, width: int) -> tuple[tuple[int, int, int], ...]:
        """Shapes `(C, H, W)` of `z_1 … z_L` for an LR image of `height` × `width`."""
        depth = len(self.levels)
        return tuple(
            (self.channels(j)[2], height * 2 ** (depth - 1 - j), width * 2 ** (depth - 1 - j))
            for j in range(depth)
        )

    @property
    def default_tau(self) -> float:
        """The official sampling temperature (docs/network.md, 4)."""
        if self.task == "rescaling":
            return 1.0
        return 0.8 if self.scale == 8 else 0.9

    @property
    def quantisation(self) -> int:
        """`q` of the dequantisation noise `U(0, 1) / q` (docs/network.md, 5)."""
        return quantisation(self.scale)


def quantisation(scale: int) -> int:
    """`q` of a super-resolution network of this scale."""
    return 256 if scale == 8 else 64


def _official(task: Task, depth: int, level: LevelConfig) -> HCFlowConfig:
    return HCFlowConfig(task, (level,) * depth)


OFFICIAL: dict[str, HCFlowConfig] = {
    "sr_x4": _official("sr", 2, LevelConfig(13, 64, 13, 64, 64, 32, (7, 7))),
    "sr_x8": _official("sr", 3, LevelConfig(13, 64, 13, 64, 64, 32, (5, 5))),
    "rescale_x4": _official("rescaling", 2, LevelConfig(8, 32, 6, 64, 64, 16, (2, 1))),
}
"""The three published networks: general SR ×4, face SR ×8, rescaling ×4."""
