"""Options of the commands that compile engines, `hcflow build --engine` and `hcflow compile`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from export.engine.options import EngineOptions

Smallest = Annotated[
    str | None,
    typer.Option(
        "--min", metavar="HxW", help="Smallest LR image of an engine.", show_default="8x8"
    ),
]
Best = Annotated[
    str | None,
    typer.Option(
        "--opt",
        metavar="HxW",
        help="LR size an engine is tuned for.",
        show_default="the tile's window, else 64x64",
    ),
]
Largest = Annotated[
    str | None,
    typer.Option(
        "--max",
        metavar="HxW",
        help="Largest LR image of an engine.",
        show_default="the tile's window, else 256x256",
    ),
]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Most images an engine runs at once.")]
Capabilities = Annotated[
    str | None,
    typer.Option(
        "--compute-capability",
        metavar="LIST",
        help="GPUs to compile for, 8.6,8.9.",
        show_default="TensorRT-RTX 8.0,8.6,8.9,12.0; TensorRT this machine's",
    ),
]
Workspace = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE", help="Most scratch memory of an engine, 512M.", show_default="any"
    ),
]
Level = Annotated[
    int | None, typer.Option("--optimization-level", min=0, max=5, help="The compiler's effort.")
]
Tf32 = Annotated[
    bool, typer.Option("--tf32", help="Let float32 convolutions lose mantissa for speed.")
]
TimingCache = Annotated[
    Path | None,
    typer.Option(help="TensorRT's measurements, kept from one compilation to the next."),
]
VersionCompatible = Annotated[
    bool, typer.Option("--version-compatible", help="TensorRT: also for later versions.")
]


class Hardware(StrEnum):
    """GPUs beyond this machine's."""

    none = "none"
    ampere = "ampere+"
    same = "same-capability"


HardwareCompatible = Annotated[
    Hardware, typer.Option("--hardware-compatible", help="TensorRT: also for other GPUs.")
]
Refit = Annotated[
    bool, typer.Option("--refit", help="New weights may be put into the engine later.")
]


class Compiler(StrEnum):
    """What compiles engines."""

    auto = "auto"
    tensorrt = "tensorrt"
    tensorrt_rtx = "tensorrt-rtx"


def gather(
    engine: str,
    *,
    smallest: str | None,
    best: str | None,
    largest: str | None,
    batch: int,
    compute_capability: str | None,
    workspace: str | None,
    optimization_level: int | None,
    tf32: bool,
    timing_cache: Path | None,
    version_compatible: bool,
    hardware_compatible: str,
    refit: bool,
) -> EngineOptions:
    """The options as `export.engine.bundle_engines` takes them, `auto` resolved for this machine.

    Raises:
        ExportError: one of them will not do, here or at all, or no compiler is installed.
        FileError: the timing cache cannot be written.
    """
    from export.engine import compilers
    from export.engine.options import EngineOptions, parse_bytes, parse_capabilities
    from export.engine.profile import Sizes, parse

    low, middle, high = (
        None if value is None else parse(option, value)
        for option, value in (("--min", smallest), ("--opt", best), ("--max", largest))
    )
    library = compilers.resolve(engine)
    compilers.load(library)
    options = EngineOptions(
        library=library,
        sizes=Sizes(low, middle, high, batch),
        compute_capabilities=parse_capabilities(compute_capability),
        workspace=parse_bytes("--workspace", workspace),
        optimization_level=optimization_level,
        tf32=tf32,
        timing_cache=timing_cache,
        version_compatible=version_compatible,
        hardware=hardware_compatible,  # type: ignore[arg-type]  # typer checked the choice
        refittable=refit,
    )
    compilers.check(options)  # what is missing is said before any work
    return options
