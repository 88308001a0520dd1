"""Which blocks stay INT8: each block's own loss, and the worst back to float until it fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

LEAST_SHARE = 0.85
"""Of the convolutions' multiply-adds that must stay INT8 (DESIGN, section 6)."""

LossOf = Callable[[frozenset[str]], float]
"""Blocks in INT8 → loss of PSNR against the ground truth on the hold-out, in dB."""


@dataclass(frozen=True)
class Block:
    """A block's work and what its INT8 costs when all others stay in float.

    Attributes:
        name: path in the network.
        work: multiply-adds of its convolutions over those of all convolutions of the graph.
        loss_db: fall of PSNR against the ground truth.
        int8: whether it stayed INT8.
    """

    name: str
    work: float
    loss_db: float
    int8: bool


@dataclass(frozen=True)
class Choice:
    """What the search came to."""

    blocks: tuple[Block, ...]
    loss_db: float
    all_int8_loss_db: float

    @property
    def share(self) -> float:
        """Multiply-adds in INT8 over those of all convolutions."""
        return sum(block.work for block in self.blocks if block.int8)

    @property
    def reverted(self) -> tuple[str, ...]:
        """Blocks that went back to float, worst first."""
        back = [block for block in self.blocks if not block.int8]
        return tuple(block.name for block in sorted(back, key=lambda b: -b.loss_db))


def choose(
    work: Mapping[str, float],
    loss: LossOf,
    budget_db: float,
    alone: LossOf | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Choice:
    """Measure every block alone, then put the worst back one by one until the budget holds.

    It ends at the budget, or when nothing is left in INT8; who calls judges loss and share.

    Args:
        work: every block's share of the convolutions' multiply-adds.
        loss: measures a set of INT8 blocks.
        budget_db: largest loss that is good enough.
        alone: measures one block; cheaper than `loss`, which is used where this is missing.
        progress: called with a line at every tenth block.
    """
    own = {}
    for index, name in enumerate(work):
        if index % 10 == 0:
            progress(f"sensitivity of block {index + 1} of {len(work)}")
        own[name] = (alone or loss)(frozenset((name,)))
    int8 = set(work)
    reached = everything = loss(frozenset(int8))
    for name in sorted(own, key=lambda name: -own[name]):
        if reached <= budget_db:
            break
        int8.remove(name)
        reached = loss(frozenset(int8))
        progress(f"'{name}' goes back to float: {reached:.3f} dB")
    blocks = tuple(Block(name, work[name], own[name], name in int8) for name in work)
    return Choice(blocks, reached, everything)
