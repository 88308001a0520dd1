"""runtime/backends/cuda/latents.cu → latents.ptx by NVRTC: `make ptx`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

CUDA = Path(__file__).parents[2] / "runtime" / "backends" / "cuda"
SOURCE, SHIPPED = CUDA / "latents.cu", CUDA / "latents.ptx"

OPTIONS = (b"--gpu-architecture=compute_75", b"--fmad=false")
"""The oldest GPU that CUDA 13 knows; a driver of CUDA 13.0 takes what NVRTC 13.0 writes."""


def compiled() -> str:
    """The PTX that NVRTC makes of the source."""
    from cuda.bindings import nvrtc  # noqa: PLC0415 - a library that most machines do not have

    def check(result: tuple[Any, ...]) -> Any:
        assert int(result[0]) == 0, result[0]
        return result[1] if len(result) > 1 else None

    program = check(nvrtc.nvrtcCreateProgram(SOURCE.read_bytes(), b"latents.cu", 0, [], []))
    check(nvrtc.nvrtcCompileProgram(program, len(OPTIONS), list(OPTIONS)))
    text = b" " * check(nvrtc.nvrtcGetPTXSize(program))
    check(nvrtc.nvrtcGetPTX(program, text))
    return text.rstrip(b"\0").decode()


if __name__ == "__main__":
    SHIPPED.write_text(compiled(), encoding="utf-8")
