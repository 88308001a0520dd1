"""`hcflow train`: the command, importing PyTorch only when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

BY_SIGNAL = 128
"""Exit code after a signal, less its number, as shells have it: 130 Ctrl-C, 143 SIGTERM."""


def train(
    config: Annotated[Path, typer.Argument(help="TOML configuration; see configs/.")],
    data: Annotated[Path, typer.Option(help="Folder of images, of any size and format.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; resumed where it holds one.")],
) -> None:
    """Train a network; the same command goes on where an earlier one stopped."""
    from hcflow_ref.errors import TrainingError, out_of_memory
    from hcflow_ref.training.config.toml_file import read_config
    from hcflow_ref.training.run_folder.log import printable
    from hcflow_ref.training.trainer import train as run

    try:
        settings = read_config(config)
        state = run(settings, data, out, lambda line: print(printable(line), flush=True))
    except (TrainingError, OSError) as error:
        print(f"hcflow train: {printable(str(error))}", file=sys.stderr)
        raise typer.Exit(1) from error
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        said = str(error).partition("\n")[0] or "the system gives no more"
        print(
            f"hcflow train: memory ran out ({printable(said)}); lower "
            "data.batch or data.patch, or take more processes; the last checkpoint is kept",
            file=sys.stderr,
        )
        raise typer.Exit(1) from error
    if state.step < settings.schedule.steps:
        raise typer.Exit(BY_SIGNAL + state.stopped_by)


if __name__ == "__main__":
    typer.run(train)
