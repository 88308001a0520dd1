"""Estimates the memory of a reference network, which runs images whole."""

from __future__ import annotations

from hcflow_ref.network.config import HCFlowConfig
from hcflow_ref.network.irn import LR_CHANNELS, IRNConfig

_FLOAT = 4
_MARGIN = 2.5
"""With this margin measured peaks are 0.4 to 0.85 of the estimate (rescaling, IRN, SR ×4; 0.15 to
1 megapixel). They vary: the allocator's heap is more fragmented in some runs than in others."""


def bytes_per_pixel(config: HCFlowConfig | IRNConfig) -> float:
    """Peak bytes per HR pixel of encoding or decoding without gradients.

    At its widest a level has the flow's state, the condition with the tensors it was concatenated
    from, and a dense block with its inputs before and after a concatenation. The largest level
    counts.
    """
    if isinstance(config, IRNConfig):
        widths: list[int] = [_irn(config, level) for level in range(len(config.blocks))]
    else:
        widths = [_hcflow(config, level) for level in range(len(config.levels))]
    return _MARGIN * max(_FLOAT * width / 4.0 ** (j + 1) for j, width in enumerate(widths))


def _irn(config: IRNConfig, level: int) -> int:
    channels = 3 << 2 * (level + 1)
    return 3 * channels + _dense(channels - LR_CHANNELS, config.growth[level])


def _hcflow(config: HCFlowConfig, level: int) -> int:
    hyper = config.levels[level]
    channels, _, _ = config.channels(level)
    condition, feature = config.condition_channels(level), config.feature_channels(level)
    blocks = 4 * hyper.features + _dense(hyper.features, hyper.growth)
    steps = feature + channels + 2 * max(hyper.cond_hidden, hyper.hidden)
    if config.task == "rescaling":
        steps = max(steps, _dense(channels - 3, hyper.hidden))
    return 3 * channels + 2 * condition + feature + max(blocks, steps)


def _dense(inputs: int, growth: int) -> int:
    """Channels of a dense block while its last concatenation is made."""
    return 2 * inputs + 9 * growth
