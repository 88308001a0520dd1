"""Options of an engine, and which of them each library supports."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from export.engine.profile import Sizes
from export.errors import ExportError
from export.forms.choice import preferred
from export.forms.rewrite import Form
from runtime.bundle.engines.entry import Hardware, Library
from runtime.bundle.manifest import Precision

RTX_CAPABILITIES = ("8.0", "8.6", "8.9", "12.0")
"""Default targets of a TensorRT-RTX engine, its compiler's own."""

FP8_CAPABILITIES = ("8.9", "12.0")
"""Those of them that have FP8: TensorRT-RTX refuses it for 7.5 to 8.6."""


@dataclass(frozen=True)
class EngineOptions:
    """What to compile.

    Attributes:
        library: which compiler.
        sizes: accepted LR images.
        compute_capabilities: GPUs to compile for, `8.9`; empty is the library's default. TensorRT
            compiles for the GPU it runs on, and for no other.
        workspace: most bytes of scratch memory, None for no limit.
        optimization_level: 0 to 5, None for the library's default.
        tf32: whether float32 convolutions may lose mantissa.
        timing_cache: file of measured tactics that TensorRT reads and adds to.
        version_compatible: also for later versions of the library.
        hardware: also for other GPUs.
        refittable: new weights may be put in later.
        device: number of the GPU that TensorRT compiles on and for, as CUDA counts.
        strict: refuse an engine whose layers do not run in their precision, or do not tell.
        form: of dense blocks; None is the one that the compiler makes most of.
    """

    library: Library
    sizes: Sizes = field(default_factory=Sizes)
    compute_capabilities: tuple[str, ...] = ()
    workspace: int | None = None
    optimization_level: int | None = None
    tf32: bool = False
    timing_cache: Path | None = None
    version_compatible: bool = False
    hardware: Hardware = "none"
    refittable: bool = False
    strict: bool = False
    device: int = 0
    form: Form | None = None

    def __post_init__(self) -> None:
        """Raise `ExportError` for what the library cannot do."""
        for capability in self.compute_capabilities:
            if re.fullmatch(r"[1-9]\d*\.\d", capability) is None:
                raise ExportError(
                    f"--compute-capability {capability}: it must be such as 8.9, or several "
                    "separated by commas"
                )
        if self.library == "tensorrt":
            if self.compute_capabilities:
                raise ExportError(
                    "TensorRT compiles for the GPU it runs on: leave --compute-capability out, or "
                    "give --engine tensorrt-rtx"
                )
            return
        if self.timing_cache is not None:
            raise ExportError(
                "--timing-cache is for TensorRT: TensorRT-RTX measures nothing while it compiles, "
                "and would need a GPU for it"
            )
        if self.version_compatible:
            raise ExportError(
                "--version-compatible is for TensorRT: TensorRT-RTX comes without the lean runtime "
                "that such an engine carries; compile again for each version"
            )
        if self.hardware != "none":
            raise ExportError(
                "--hardware-compatible is for TensorRT: for TensorRT-RTX list the GPUs, "
                f"--compute-capability {','.join(RTX_CAPABILITIES)}"
            )

    def targets(self) -> tuple[str, ...]:
        """Compute capabilities a TensorRT-RTX engine is compiled for."""
        return tuple(dict.fromkeys(self.compute_capabilities)) or RTX_CAPABILITIES

    def for_precision(self, precision: Precision) -> EngineOptions:
        """These options for graphs in a precision: FP8 has GPUs of its own.

        Raises:
            ExportError: a GPU that was asked for has no FP8.
        """
        if precision != "fp8" or self.library == "tensorrt":
            return self
        if not self.compute_capabilities:
            return replace(self, compute_capabilities=FP8_CAPABILITIES)
        lacking = [each for each in self.compute_capabilities if not _has_fp8(each)]
        if lacking:
            raise ExportError(
                f"GPUs of compute capability {', '.join(lacking)} have no FP8: compile fp8 graphs "
                "for --compute-capability 8.9,12.0, and give the others --precision fp16"
            )
        return self

    def runs(self, precision: Precision) -> bool:
        """Whether every GPU that was asked for has a precision."""
        has_fp8 = self.library == "tensorrt" or all(map(_has_fp8, self.compute_capabilities))
        return precision != "fp8" or has_fp8

    def form_of(self, precision: Precision) -> Form:
        """The form in which dense blocks of a graph in this precision are compiled."""
        if self.form is not None:
            return self.form
        return preferred(precision, self.targets()) if self.library == "tensorrt-rtx" else "flat"


def _has_fp8(capability: str) -> bool:
    return tuple(map(int, capability.split("."))) >= (8, 9)


def parse_capabilities(text: str | None) -> tuple[str, ...]:
    """`8.6,8.9` → each of them."""
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else ()


def parse_bytes(option: str, text: str | None) -> int | None:
    """`512M`, `2G`, `1GiB` or a number of bytes; units are powers of 1024.

    Raises:
        ExportError: anything else, or 0.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", text.strip(), re.IGNORECASE)
    size = int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " ")) if found else 0
    if size <= 0:
        raise ExportError(f"{option} {text}: it must be a size such as 512M or 2G")
    return size
