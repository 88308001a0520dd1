"""A compiler's log and progress: its figures, errors and warnings, and the share done."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from runtime.bundle.engines.entry import Memory

Progress = Callable[[str, float], None]
"""(phase, share done in 0…1), as often as something moves."""

_FIGURES = {
    "scratch": re.compile(r"Max Scratch Memory: (\d+) bytes"),
    "weights": re.compile(r"Total Weights Memory: (\d+) bytes"),
    "activations": re.compile(r"Total Activation Memory: (\d+) bytes"),
}
_OUT_OF_MEMORY = re.compile(r"out\s?of\s?memory|OutOfMemory|MEM_ALLOC_FAILED", re.IGNORECASE)
_TOO_LITTLE = re.compile(
    r"insufficient memory on requested size of|Could not find any implementation for node|"
    r"[Ii]nsufficient workspace"
)
_REQUESTED = re.compile(r"[Rr]equested size (?:was|of) (\d+)")


@dataclass
class Record:
    """The lines of one compilation, errors and warnings apart."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    figures: dict[str, int] = field(default_factory=dict)

    def add(self, level: str, message: str) -> None:
        """Take one line in."""
        if level == "ERROR":
            self.errors.append(" ".join(message.split()))
        elif level == "WARNING":
            self.warnings.append(" ".join(message.split()))
        for name, pattern in _FIGURES.items():
            if found := pattern.search(message):
                # Several compute capabilities are compiled one after another: the worst counts.
                self.figures[name] = max(self.figures.get(name, 0), int(found[1]))

    def memory(self) -> Memory:
        """Memory as the compiler reported it."""
        return Memory(*(self.figures.get(k) for k in ("scratch", "weights", "activations")))

    def out_of_memory(self) -> int | None:
        """Bytes that could not be allocated, 0 if unknown; None if memory sufficed.

        TensorRT reports a workspace that is too small as a node without an implementation, so that
        line counts as out of memory when the log also tells of a tactic that found no room.
        """
        lines = self.errors + self.warnings
        short = any(_OUT_OF_MEMORY.search(line) for line in lines) or (
            any("implementation for node" in line for line in lines)
            and any(_REQUESTED.search(line) or "workspace" in line for line in lines)
        )
        if not short:
            return None
        asked = [int(size) for line in lines for size in _REQUESTED.findall(line)]
        return max(asked, default=0)


def monitor(trt: Any, progress: Progress, cancelled: threading.Event) -> Any:
    """An `IProgressMonitor`: nested phases become one share; `cancelled` ends the build."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.phases: dict[str, tuple[str | None, int, int]] = {}
            self.furthest = 0.0

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            """A phase of so many steps begins, within its parent's current step."""
            self.phases[phase] = (parent, max(steps, 1), 0)
            self._tell(phase)

        def step_complete(self, phase: str, step: int) -> bool:
            """One step done; False asks the builder to stop."""
            if phase in self.phases:
                parent, steps, _ = self.phases[phase]
                self.phases[phase] = (parent, steps, step + 1)
                self._tell(phase)
            return not cancelled.is_set()

        def phase_finish(self, phase: str) -> None:
            """A phase ends, also when the build was stopped."""
            self.phases.pop(phase, None)

        def _tell(self, phase: str) -> None:
            share, name = 0.0, phase
            while name in self.phases:
                parent, steps, done = self.phases[name]
                share = min((done + share) / steps, 1.0)
                if parent is None:
                    break
                name = parent
            self.furthest = max(self.furthest, share)  # phases may overlap: never run backwards
            progress(phase, self.furthest)

    return Monitor()
