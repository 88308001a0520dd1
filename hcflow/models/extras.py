"""What to install for what is missing here."""

from __future__ import annotations

from importlib.util import find_spec


def to_build() -> str:
    """The command that brings what building needs.

    Of ONNX Runtime the one that is there stays, for CPUs or for GPUs: both are the same module.
    """
    extras = "export" if find_spec("onnxruntime") else "cpu,export"
    return f"pip install 'hcflow-deploy[{extras}]'"
