"""`hcflow train`: trains a network, or resumes a run."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

BY_SIGNAL = 128
"""Added to a signal's number it is the exit code, as in shells: 130 for Ctrl-C, 143 for SIGTERM."""


def train(
    config: Annotated[Path, typer.Argument(help="TOML configuration; see configs/.")],
    data: Annotated[
        Path, typer.Option(help="Folder of images of any size and common format, or of shards.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run; a run found there is resumed.")],
    minutes: Annotated[
        float | None,
        typer.Option(min=0.0, help="Save and end after so long; in place of run.minutes."),
    ] = None,
) -> None:
    """Train a network; the same command resumes a run that was stopped."""
    from hcflow_ref.errors import TrainingError, one_line, out_of_memory, printable
    from hcflow_ref.training.config.toml_file import read_config
    from hcflow_ref.training.trainer import train as run

    def fail(message: str) -> typer.Exit:
        print(f"hcflow train: {printable(message)}", file=sys.stderr)
        return typer.Exit(1)

    try:
        settings = read_config(config)
        if minutes is not None:
            settings = replace(settings, run=replace(settings.run, minutes=minutes))
        state = run(settings, data, out, lambda line: print(printable(line), flush=True))
    except (TrainingError, OSError) as error:
        raise fail(str(error)) from error
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise fail(
            f"out of memory ({one_line(error)}); lower data.batch or data.patch, or use more "
            "processes; the last checkpoint is kept"
        ) from error
    if state.stopped_by:
        raise typer.Exit(BY_SIGNAL + state.stopped_by)
