"""The options that compile engines, of `hcflow build --engine` and `hcflow compile`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from runtime.errors import ParameterError

if TYPE_CHECKING:
    from export.engine.options import EngineOptions

engine_option = functools.partial(typer.Option, rich_help_panel="Engines for NVIDIA GPUs")

Form = Literal["flat", "nested", "pass-through", "sums", "folded"]
"""`export.forms.rewrite.Form`, which is imported when it is used."""

Compiler = Literal["auto", "tensorrt", "tensorrt-rtx"]


_OF_REFITS = ("--device", "--refit")
"""What holds beside `--refit-from` too: a refitted engine can be refitted again."""


@dataclass(frozen=True)
class EngineArguments:
    """The options as the command line gives them; each field is one option."""

    smallest: Annotated[
        str | None,
        engine_option(
            "--min", metavar="HxW", help="Smallest LR size accepted.", show_default="8x8"
        ),
    ] = None
    best: Annotated[
        str | None,
        engine_option(
            "--opt",
            metavar="HxW",
            help="LR size the engine is tuned for.",
            show_default="a profile for each recorded grid's window, else 64x64",
        ),
    ] = None
    largest: Annotated[
        str | None,
        engine_option(
            "--max",
            metavar="HxW",
            help="Largest LR size accepted.",
            show_default="the largest window, else 256x256",
        ),
    ] = None
    batch: Annotated[int, engine_option("--batch", min=1, help="Maximum batch size.")] = 1
    compute_capability: Annotated[
        str | None,
        engine_option(
            "--compute-capability",
            metavar="LIST",
            help="GPUs to compile for, such as 8.6,8.9.",
            show_default="8.0,8.6,8.9,12.0 and this machine's; TensorRT this machine's",
        ),
    ] = None
    workspace: Annotated[
        str | None,
        engine_option(
            "--workspace",
            metavar="SIZE",
            help="Maximum scratch memory, such as 512M.",
            show_default="no limit",
        ),
    ] = None
    optimization_level: Annotated[
        int | None,
        engine_option("--optimization-level", min=0, max=5, help="The compiler's effort."),
    ] = None
    tf32: Annotated[
        bool, engine_option("--tf32", help="Allow TF32: faster float32 convolutions, less precise.")
    ] = False
    timing_cache: Annotated[
        Path | None,
        engine_option("--timing-cache", help="TensorRT: file that keeps its timings between runs."),
    ] = None
    version_compatible: Annotated[
        bool, engine_option("--version-compatible", help="TensorRT: run on later versions too.")
    ] = False
    hardware_compatible: Annotated[
        Literal["none", "ampere+", "same-capability"],
        engine_option("--hardware-compatible", help="TensorRT: run on other GPUs too."),
    ] = "none"
    refit: Annotated[
        bool, engine_option("--refit", help="Allow the engine's weights to be replaced later.")
    ] = False
    device: Annotated[
        int | None,
        engine_option(
            "--device",
            min=0,
            help="Number of the GPU to compile for, as CUDA counts them.",
            show_default="0, the first",
        ),
    ] = None
    strict: Annotated[
        bool,
        engine_option(
            "--strict",
            help="Refuse an engine whose layers do not run in their precision or do not tell it.",
        ),
    ] = False
    form: Annotated[
        Form | None,
        engine_option(
            "--form",
            help="How dense blocks are written for the compiler; the results are the same.",
            show_default="by library, precision and GPUs",
        ),
    ] = None

    def given(self) -> list[str]:
        """The options that differ from their defaults, as the command line names them."""
        renamed = {"smallest": "min", "best": "opt", "largest": "max"}
        return [
            "--" + renamed.get(field.name, field.name).replace("_", "-")
            for field in fields(self)
            if getattr(self, field.name) != field.default
        ]

    def refuse(self) -> None:
        """Raise `ParameterError` if an option was given although no engine is compiled."""
        if given := self.given():
            raise ParameterError(f"{', '.join(given)} can only be used with --engine")

    def refuse_in_refit(self, others: Mapping[str, bool]) -> None:
        """Raise `ParameterError` if an option was given that a refit cannot obey.

        Args:
            others: the command's own options of that kind: whether they were given, by name.
        """
        given = [option for option in self.given() if option not in _OF_REFITS]
        if given := given + [option for option, value in others.items() if value]:
            raise ParameterError(
                f"{', '.join(given)} cannot be used with --refit-from: it compiles nothing, the "
                "engines keep the settings that they were compiled with"
            )

    def resolve(self, engine: str) -> EngineOptions:
        """What to compile, `auto` resolved for this machine.

        Raises:
            ExportError: an option cannot be used, here or at all, or no compiler is installed.
            BackendError: there is no such GPU.
            FileError: the timing cache cannot be written.
        """
        from export.engine import compilers
        from export.engine.options import EngineOptions, parse_bytes, parse_capabilities
        from export.engine.profile import Sizes, parse
        from runtime.backends.cuda.device import Device
        from runtime.backends.tensorrt_engine import load_library

        low, middle, high = (
            None if value is None else parse(option, value)
            for option, value in (
                ("--min", self.smallest),
                ("--opt", self.best),
                ("--max", self.largest),
            )
        )
        library = compilers.resolve(engine, self.device or 0)
        load_library(library)
        if self.device is not None:
            Device.open(self.device)
        options = EngineOptions(
            library=library,
            sizes=Sizes(low, middle, high, self.batch),
            compute_capabilities=parse_capabilities(self.compute_capability)
            or compilers.default_targets(library, self.device or 0),
            workspace=parse_bytes("--workspace", self.workspace),
            optimization_level=self.optimization_level,
            tf32=self.tf32,
            timing_cache=self.timing_cache,
            version_compatible=self.version_compatible,
            hardware=self.hardware_compatible,
            refittable=self.refit,
            strict=self.strict,
            device=self.device or 0,
            form=self.form,
        )
        compilers.check(options)  # what is missing is said before any work
        return options
