"""Rounds weights to float16 for shipping: half the size; they are still computed with in float32.

`python -m hcflow_ref.training.parameters.round_to_half RUN/model.safetensors NAME.safetensors`
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from hcflow_ref.checkpoint.load import CHOICE, load, official_weights, save_weights
from hcflow_ref.errors import CheckpointError

ROUNDED_TO = "rounded_to"
"""Metadata key that states the number format."""


def round_to_half(source: Path, target: Path) -> None:
    """Write `source`'s weights as float16 safetensors, with its provenance.

    Raises:
        CheckpointError: `source` cannot be loaded, or a weight exceeds float16's ±65504.
        OSError: `target` cannot be written.
    """
    checkpoint = load(source)
    halves = {key: w.half() for key, w in official_weights(checkpoint.network).items()}
    for key, half in halves.items():
        if not torch.isfinite(half).all():
            raise CheckpointError(f"{source}: key {key!r} exceeds ±65504, the range of float16")
    provenance = dict(checkpoint.provenance) | {ROUNDED_TO: "float16"}
    provenance.pop(CHOICE, None)  # the file written has one network alone
    save_weights(halves, target, provenance)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("source", type=Path, help="checkpoint of any format")
    parser.add_argument("target", type=Path, help="safetensors file to write")
    arguments = parser.parse_args()
    try:
        round_to_half(arguments.source, arguments.target)
    except (CheckpointError, OSError) as error:
        print(f"round_to_half: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
