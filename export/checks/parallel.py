"""Runs a graph on several pictures in parallel, one thread each.

The pictures that borders and tiles are measured on are small: several threads on one of them spend
up to half their time waiting for each other. The bytes are the same (`CpuSession`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from runtime.bundle.manifest import Graph
from runtime.inference import memory
from runtime.system import machine

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = 1
"""Of a session whose runs stand side by side."""


def parallel_map(
    work: Callable[[Item], Result], items: Iterable[Item], graph: Graph, lr_pixels: int
) -> list[Result]:
    """The work on every item, results in their order, on as many processors as memory allows.

    Args:
        work: runs the graph, one run at a time; called from several threads.
        items: what it is done on.
        graph: its entry in the manifest.
        lr_pixels: of the largest run.
    """
    given = list(items)
    workers = min(machine.usable_cpus(), len(given))
    have = machine.available_memory()
    if have is not None:
        workers = min(workers, have // 2 // max(memory.needed(graph, lr_pixels), 1))
    if workers < 2:
        return [work(item) for item in given]
    with ThreadPoolExecutor(workers, "hcflow-measure") as pool:
        return list(pool.map(work, given))
