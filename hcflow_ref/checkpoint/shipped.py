"""The trained weights that ship with this package."""

from __future__ import annotations

from pathlib import Path

from hcflow_ref.errors import CheckpointError

FOLDER = Path(__file__).parents[1] / "weights"


def names() -> list[str]:
    """Names of the shipped models."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def calibrations(name: str) -> list[Path]:
    """Recorded INT8 calibrations of a shipped model: one file per direction, or none."""
    if name not in names():
        return []
    return sorted(FOLDER.glob(f"{name}.*.int8.json"))


def weights(name: str) -> Path:
    """The safetensors file of a shipped model.

    Raises:
        CheckpointError: there is no such model; lists those there are.
    """
    if name not in names():
        raise CheckpointError(
            f"no shipped model is called '{name}'; the shipped models are {', '.join(names())}. "
            "Use --checkpoint for a file of your own"
        )
    return FOLDER / f"{name}.safetensors"
