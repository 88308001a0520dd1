"""Fuzz one target with atheris: `python -m tests.fuzz images CORPUS -max_total_time=600`."""

from __future__ import annotations

import logging
import sys

import atheris

with atheris.instrument_imports(include=["runtime", "hcflow_ref.checkpoint", "PIL"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Run libFuzzer on the target named first; the rest of the arguments are libFuzzer's."""
    target = TARGETS[sys.argv.pop(1)]
    logging.disable(logging.CRITICAL)
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


main()
