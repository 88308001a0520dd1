"""Which blocks stay INT8: each block's own loss, and the worst back to float until it fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

LEAST_SHARE = 0.85
"""Share of the convolutions' multiply-adds that must stay INT8 (docs/precision.md, 2)."""

LossOf = Callable[[frozenset[str]], float]
"""Blocks in INT8 → loss of PSNR against the ground truth on the hold-out, in dB."""


@dataclass(frozen=True)
class Block:
    """A block's work and what its INT8 costs when all others stay in float.

    Attributes:
        name: path in the network.
        work: multiply-adds of its convolutions over those of all convolutions of the graph.
        loss_db: fall of PSNR against the ground truth that its error alone makes.
        int8: whether it stayed INT8.
    """

    name: str
    work: float
    loss_db: float
    int8: bool


@dataclass(frozen=True)
class Choice:
    """The result of the search."""

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
    own: Callable[[str], float],
    loss: LossOf,
    everything: float,
    budget_db: float,
    progress: Callable[[str], None] = lambda _: None,
) -> Choice:
    """Measure every block alone, then put back the worst for their work, as few as will do.

    How many is found by halving, since a loss falls nearly steadily as blocks go back. The caller
    judges the result; with every block back there is no loss.

    Args:
        work: every block's share of the convolutions' multiply-adds.
        own: loss of one block alone, in dB.
        loss: measures a set of INT8 blocks.
        everything: the loss with all of them in INT8.
        budget_db: largest loss that is good enough.
        progress: called with a line at every tenth block and every trial.
    """
    costs = {}
    for index, name in enumerate(work):
        if index % 10 == 0:
            progress(f"sensitivity of block {index + 1} of {len(work)}")
        costs[name] = own(name)
    order = sorted(work, key=lambda name: -costs[name] / work[name])
    few, enough, reached = 0, len(order), 0.0
    if everything <= budget_db:
        enough, reached = 0, everything
    while enough - few > 1:
        middle = (few + enough) // 2
        found = loss(frozenset(order[middle:]))
        progress(f"{middle} of {len(order)} blocks back in float: {found:.3f} dB")
        if found <= budget_db:
            enough, reached = middle, found
        else:
            few = middle
    int8 = set(order[enough:])
    blocks = tuple(Block(name, work[name], costs[name], name in int8) for name in work)
    return Choice(blocks, reached, everything)
