"""Detects a network's hyperparameters from a checkpoint's keys and shapes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from hcflow_ref.errors import CheckpointError
from hcflow_ref.network.config import HCFlowConfig, LevelConfig, Task
from hcflow_ref.network.irn import IRNConfig

Shapes = Mapping[str, Sequence[int]]
"""Shapes of a checkpoint's tensors by key."""

MOST_LEVELS, MOST_CHANNELS = 4, 1 << 14
"""Limits beyond which a file is damaged or hostile; no memory is allocated for it."""

MOST_DEPTH = 512
"""Limit of all steps and blocks; the deepest published network (face SR ×8) has 108."""

_STEP_KEYS, _BLOCK_KEYS = 8, 20
"""Fewest of the 12 keys of a flow step and the 30 of a block; if a few lack, each is named."""


def check_depth(levels: int) -> None:
    """Raise `CheckpointError` for more levels than any of these networks has."""
    if levels > MOST_LEVELS:
        raise CheckpointError(f"the keys have {levels} levels, expected at most {MOST_LEVELS}")


def _check_size(shapes: Shapes, steps: int, blocks: int) -> None:
    """Raise `CheckpointError` for more steps and blocks than there can be, or have keys at all.

    Each takes milliseconds to build, and one key may name it.
    """
    if steps + blocks > MOST_DEPTH:
        raise CheckpointError(
            f"the keys have {steps + blocks} flow steps and blocks, expected at most {MOST_DEPTH}"
        )
    least = _STEP_KEYS * steps + _BLOCK_KEYS * blocks
    if len(shapes) < least:
        raise CheckpointError(
            f"there are {len(shapes)} keys for {steps} flow steps and {blocks} blocks, expected "
            f"more than {least}; most are missing"
        )


def indices(shapes: Shapes, pattern: str) -> list[int]:
    """The sorted distinct integers that the group of `pattern` matches at the start of keys."""
    return sorted({int(m[1][:9]) for key in shapes if (m := re.match(pattern, key))})


def dimension(shapes: Shapes, key: str, axis: int, rank: int) -> int:
    """A dimension of a key's shape; raises `CheckpointError` where no network can have it."""
    if key not in shapes:
        raise CheckpointError(f"key {key!r} is missing, expected {rank} dimensions")
    shape = shapes[key]
    if len(shape) != rank:
        raise CheckpointError(f"key {key!r} has shape {list(shape)}, expected {rank} dimensions")
    if not 1 <= shape[axis] <= MOST_CHANNELS:
        raise CheckpointError(
            f"key {key!r} has shape {list(shape)}, expected 1 to {MOST_CHANNELS} channels"
        )
    return int(shape[axis])


def _contiguous(indices: Sequence[int], prefix: str) -> int:
    """The number of indices; raises `CheckpointError` unless they run from 0 without a gap."""
    gap = next((i for i, index in enumerate(indices) if i != index), None)
    if gap is not None or not indices:
        raise CheckpointError(f"keys '{prefix}{gap or 0}.…' are missing")
    return len(indices)


def _step_runs(steps: Iterable[int], levels: int) -> list[range]:
    """Group `flow.layers` indices by level: a split and a squeeze lie between two levels."""
    steps = list(steps)
    runs, start = [], 1
    for previous, following in pairwise([*steps, None]):
        assert previous is not None
        if following == previous + 1:
            continue
        runs.append(range(start, previous + 1))
        start = previous + 3
        if following is not None and following != start:
            raise CheckpointError(f"keys 'flow.layers.{previous + 1}.…' are missing")
    if not steps or steps[0] != 1:
        raise CheckpointError("keys 'flow.layers.1.…' are missing")
    if len(runs) != levels:
        raise CheckpointError(
            f"there are main flow steps for {len(runs)} levels ('flow.layers.…'), but conditional "
            f"flows for {levels} ('flow.level…_condFlow.…'); some keys are missing"
        )
    return runs


def infer_config(shapes: Shapes) -> HCFlowConfig:
    """The configuration of an HCFlow network with these official keys and shapes.

    Raises:
        CheckpointError: they are not an HCFlow network's; names the key and what was expected.
    """
    if not any(key.startswith("flow.layers.") for key in shapes):
        found = min(shapes, default="nothing")
        raise CheckpointError(
            "this is not an HCFlow network: expected keys like 'flow.layers.1.actnorm.bias', "
            f"found {found!r}"
        )
    depth = _contiguous(indices(shapes, r"flow\.level(\d+)_condFlow\."), "flow.level")
    check_depth(depth)
    runs = _step_runs(indices(shapes, r"flow\.layers\.(\d+)\.(?!haar)"), depth)
    haar = any(key.endswith(".haar_weights") for key in shapes)
    permuted = any(re.match(r"flow\.layers\.\d+\.permute\.", key) for key in shapes)
    task: Task = "rescaling" if haar or not permuted else "sr"
    levels = tuple(_level(shapes, j, run) for j, run in enumerate(runs))
    steps = sum(level.steps + level.cond_steps for level in levels)
    _check_size(shapes, steps, sum(sum(level.blocks) for level in levels))
    return HCFlowConfig(task, levels)


def _level(shapes: Shapes, j: int, run: range) -> LevelConfig:
    cond = f"flow.level{j}_condFlow."
    blocks = [
        _contiguous(
            indices(shapes, rf"{re.escape(cond)}RRDB_trunk{t}\.(\d+)\."), f"{cond}RRDB_trunk{t}."
        )
        for t in (0, 1)
    ]
    cond_steps = indices(shapes, rf"{re.escape(cond)}additional_flow_steps\.(\d+)\.")
    first_block = f"{cond}RRDB_trunk0.0.RDB1.conv1.weight"
    return LevelConfig(
        steps=len(run),
        hidden=dimension(shapes, f"flow.layers.{run[0]}.affine.f.conv1.weight", 0, 4),
        cond_steps=_contiguous(cond_steps, f"{cond}additional_flow_steps."),
        cond_hidden=dimension(shapes, f"{cond}additional_flow_steps.0.affine.f.conv1.weight", 0, 4),
        features=dimension(shapes, f"{cond}conv_first.weight", 0, 4),
        growth=dimension(shapes, first_block, 0, 4),
        blocks=(blocks[0], blocks[1]),
    )


def is_irn(shapes: Shapes) -> bool:
    """Whether these are the keys of an IRN."""
    return any(key.startswith("operations.") for key in shapes)


def infer_irn_config(shapes: Shapes) -> IRNConfig:
    """The configuration of an IRN with these keys and shapes.

    Raises:
        CheckpointError: squeezes or blocks are missing; names the key.
    """
    found = indices(shapes, r"operations\.(\d+)\.")
    _contiguous(found, "operations.")
    squeezes = [i for i in found if f"operations.{i}.haar_weights" in shapes]
    if not squeezes or squeezes[0] != 0:
        raise CheckpointError("key 'operations.0.haar_weights' is missing")
    ends = [*squeezes[1:], len(found)]
    blocks = tuple(end - start - 1 for start, end in zip(squeezes, ends, strict=True))
    check_depth(len(blocks))
    _check_size(shapes, 0, sum(blocks))
    if 0 in blocks:
        raise CheckpointError(
            f"key 'operations.{squeezes[blocks.index(0)] + 1}.F.conv1.weight' is missing: a level "
            "has no block"
        )
    growth = [
        dimension(shapes, f"operations.{start + 1}.F.conv1.weight", 0, 4) for start in squeezes
    ]
    return IRNConfig(blocks, tuple(growth))
