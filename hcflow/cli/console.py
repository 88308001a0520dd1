"""Long work with a spinner on the terminal, and a main thread that Ctrl-C can reach."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from runtime.errors import printable
from runtime.system import background

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

    from runtime.convert.large_file import Converted
    from runtime.inference.report import Report

T = TypeVar("T")

_QUIET_SECONDS = 0.8  # shorter work shows nothing
_TICK_SECONDS = 0.1


def run(label: str, work: Callable[[], T]) -> T:
    """Do the work in a thread and return its result, or raise what it raised.

    A signal is seen only between the main thread's bytecodes, and a backend's call can last
    minutes: so the main thread waits here instead of in the backend. With stderr on a terminal,
    work of more than a moment shows `label`, unless empty, with the time it has taken.
    """
    thread, result = background.start(work)
    thread.join(_QUIET_SECONDS)
    while thread.is_alive() and not (label and sys.stderr.isatty()):
        thread.join(_TICK_SECONDS)
    if thread.is_alive():
        with _spinner() as progress:
            progress.add_task(shown(label), total=None)
            while thread.is_alive():
                thread.join(_TICK_SECONDS)
    return result()


def run_with_bar(work: Callable[[Callable[[int, int], None]], T]) -> T:
    """Do the work in a thread as `run` does; it is given a function to tell (finished, in all)."""
    with progress() as bar:
        row = bar.add_task("", total=None, rate="")
        return run(
            "", lambda: work(lambda done, total: bar.update(row, completed=done, total=total))
        )


def progress() -> Progress:
    """A bar with count, rate and time left on stderr; nothing where stderr is not a terminal."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    rate = TextColumn("{task.fields[rate]}")
    return _on_stderr(
        SpinnerColumn(), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn()
    )


def _spinner() -> Progress:
    from rich.progress import (
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    label = TextColumn("{task.description}", markup=False)  # it may name a file or a model
    return _on_stderr(SpinnerColumn(), label, TimeElapsedColumn())


def _on_stderr(*columns: ProgressColumn) -> Progress:
    from rich.console import Console
    from rich.progress import Progress

    return Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )


def shown(name: str) -> str:
    """A file's name on one line: what does not print is escaped."""
    return printable(name)


def print_json(text: str) -> None:
    """Print JSON as it stands, or as ASCII where standard output's encoding lacks a character."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(json.loads(text), indent=1) + "\n"
    sys.stdout.write(text)


def tell_result(name: str, made: Converted, report: Report, seconds: float, more: str = "") -> None:
    """Say on standard error what a result is, by which model, and how it was computed.

    As `photo_x4.png: 4000×3000, sr_x4, int8 on OpenVINO, 3.1 s`.
    """
    from runtime.backends import auto

    model = made.model.manifest.name + (" by its record" if made.by_record else "")
    facts = [f"{made.size[0]}×{made.size[1]}", model + (" twice" if made.runs > 1 else "")]
    if report.backend is not None:  # None where a resumed run had nothing left to compute
        facts.append(f"{report.precision} on {auto.title(report.backend)}")
    facts.append(f"{seconds:.1f} s")
    where = "standard output" if name == "-" else shown(name)
    print(f"{where}: {', '.join(facts)}{more}", file=sys.stderr, flush=True)


def stopwatch() -> Callable[[], float]:
    """A function that gives the seconds since this call, to the millisecond."""
    start = time.monotonic()
    return lambda: round(time.monotonic() - start, 3)
