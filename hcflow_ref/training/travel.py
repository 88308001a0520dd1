"""A run's state in parts of a few megabytes, for ways on which only small files travel.

`python -m hcflow_ref.training.travel PARTS --out RUN` joins the parts that came back into
`state.pt`, from which the run goes on, and writes its `model.safetensors`.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hcflow_ref.errors import TrainingError, one_line
from hcflow_ref.training.config.settings import TrainConfig
from hcflow_ref.training.config.toml_file import of_mapping
from hcflow_ref.training.run_folder.state import (
    DAMAGED,
    MODEL_FILE,
    STATE_FILE,
    save_model,
    write_atomically,
)
from hcflow_ref.training.setup import build_network

PART = "state.pt.{:03d}"
MOMENTS = ("exp_avg", "exp_avg_sq")


def parts(folder: Path) -> list[Path]:
    """The parts in a folder, in their order."""
    return sorted(folder.glob(PART.replace("{:03d}", "[0-9][0-9][0-9]")))


def split(out: Path, folder: Path, part_bytes: int) -> list[Path]:
    """Write the state of the run in `out` as parts, in place of those in `folder`.

    The optimiser's moments are rounded to bfloat16, which a resumed run takes as they are: a
    third of the bytes less, and steps that differ by less than a percent at first.

    Raises:
        TrainingError: `out` has no whole state.
    """
    content = _read(out / STATE_FILE)
    for optimiser in content["optimisers"].values():
        for moments in optimiser["state"].values():
            moments |= {name: moments[name].bfloat16() for name in MOMENTS if name in moments}
    buffer = io.BytesIO()
    torch.save(content, buffer)
    data = buffer.getvalue()
    folder.mkdir(parents=True, exist_ok=True)
    for path in parts(folder):
        path.unlink()
    written = []
    for number, first in enumerate(range(0, len(data), part_bytes)):
        written.append(folder / PART.format(number))
        written[-1].write_bytes(data[first : first + part_bytes])
    return written


def join(folder: Path, out: Path) -> int:
    """Join the parts in `folder` into `state.pt` and `model.safetensors` of `out`.

    Returns:
        The step that was reached.

    Raises:
        TrainingError: there are no parts, or they are no whole state; nothing is written then.
    """
    found = parts(folder)
    if not found:
        raise TrainingError(f"{folder}: no parts of a state ({PART.format(0)} and up)")
    data = b"".join(path.read_bytes() for path in found)
    content = _load(data, folder)
    config = saved_config(content, folder)
    model = build_network(replace(config, network=replace(config.network, init="")))
    model.load_state_dict(content["average"])
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(
        out / MODEL_FILE, lambda path: save_model(model, config, int(content["step"]), path)
    )
    write_atomically(out / STATE_FILE, lambda path: path.write_bytes(data))
    return int(content["step"])


def config_of(out: Path) -> TrainConfig:
    """The configuration of the run whose state is in `out`.

    Raises:
        TrainingError: it has no whole state.
    """
    return saved_config(_read(out / STATE_FILE), out)


def saved_config(content: dict[str, Any], where: Path) -> TrainConfig:
    """The configuration that a state was saved with; `where` is named in errors."""
    try:
        return of_mapping(_without_none(json.loads(str(content["config"]))))
    except (ValueError, LookupError) as error:
        raise TrainingError(f"{where}: not a whole training state ({one_line(error)})") from error


def _without_none(sections: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """As a TOML file has it, in which a key is left out instead of null."""
    return {
        name: {key: value for key, value in section.items() if value is not None}
        for name, section in sections.items()
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        return _load(path.read_bytes(), path)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror or error})") from error


def _load(data: bytes, where: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = torch.load(
            io.BytesIO(data), map_location="cpu", weights_only=True
        )
        missing = {"config", "step", "average", "optimisers"} - content.keys()
    except DAMAGED as error:
        raise TrainingError(f"{where}: not a whole training state ({one_line(error)})") from error
    if missing:
        raise TrainingError(f"{where}: not a whole training state (no {', '.join(missing)})")
    return content


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("parts", type=Path, help="folder of the parts")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    given = parser.parse_args(arguments)
    try:
        step = join(given.parts, given.out)
    except (OSError, TrainingError) as error:
        print(f"travel: {one_line(error)}", file=sys.stderr)
        return 1
    print(f"the run of step {step} is in {given.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
