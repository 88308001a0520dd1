"""The trained weights that ship with the package."""

from __future__ import annotations

from pathlib import Path

from hcflow_ref.errors import CheckpointError

FOLDER = Path(__file__).parents[1] / "weights"


def names() -> list[str]:
    """Names of the shipped models."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def calibrations(name: str) -> list[Path]:
    """Files of a shipped model's recorded INT8 calibration: one a direction, or none."""
    if name not in names():
        return []
    return sorted(FOLDER.glob(f"{name}.*.int8.json"))


def weights(name: str) -> Path:
    """The safetensors file of a shipped model.

    Raises:
        CheckpointError: no such model; the message lists those there are.
    """
    if name not in names():
        raise CheckpointError(
            f"no shipped model is called '{name}'; there are {', '.join(names())}. "
            "A file of your own goes to --checkpoint"
        )
    return FOLDER / f"{name}.safetensors"
