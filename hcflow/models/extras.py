"""What to install for what is missing here."""

from __future__ import annotations

from importlib.util import find_spec

_SERVE = ("fastapi", "prometheus_client", "pydantic", "python_multipart", "starlette", "uvicorn")


def to_have(module: str | None) -> str:
    """The command that brings a module."""
    if module is not None and module.partition(".")[0] in _SERVE:
        return "pip install 'hcflow-deploy[serve]'"
    return to_build()


def to_build() -> str:
    """The command that brings what building needs.

    Of ONNX Runtime the one that is there stays, for CPUs or for GPUs: both are the same module.
    """
    extras = "export" if find_spec("onnxruntime") else "cpu,export"
    return f"pip install 'hcflow-deploy[{extras}]'"
