"""Whether an engine fits a machine, which of several is taken, and the command that makes one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.bundle.engines.entry import Engine, Library
from runtime.errors import BackendError, ParameterError

_RTX_SERVES = ("7.5", "8.0", "8.6", "8.9")  # and 12.0 and later
_NAMES: Mapping[str, str] = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}


@dataclass(frozen=True)
class Machine:
    """What an engine must fit: the library and its version, and the GPU's compute capability."""

    library: Library
    version: str
    compute_capability: str


def misfit(engine: Engine, machine: Machine) -> str | None:
    """Why an engine does not fit a machine, in a few words; None when it does."""
    if engine.library != machine.library:
        return f"it is a {_NAMES[engine.library]} engine, not {_NAMES[machine.library]}"
    if not _version_fits(engine, machine.version):
        return f"it was built by {_NAMES[engine.library]} {engine.version}, not {machine.version}"
    if not _capability_fits(engine, machine.compute_capability):
        return (
            f"it was built for compute capability {', '.join(engine.compute_capabilities)}, this "
            f"GPU has {machine.compute_capability}"
        )
    return None


def fitting(
    engines: Sequence[tuple[Engine, Path]], machine: Machine, where: str, *, tf32: bool = False
) -> list[tuple[Engine, Path]]:
    """The engines that fit a machine, and their files: the one to prefer first.

    Those with the graph's own TF32 come first, then those for smaller shapes, which need less
    memory and are tuned closer to what they run; of equal ones the newest.

    Args:
        engines: every engine of one graph, with its file.
        machine: the one it is to run on.
        where: the bundle's folder, for the command that compiles a fitting engine.
        tf32: whether the graph allows TF32.

    Raises:
        BackendError: none fits; says why, and which command compiles one.
    """
    reasons, fits = [], []
    for engine, path in engines:
        reason = misfit(engine, machine)
        if reason is None:
            fits.append((engine, path))
        elif engine.library == machine.library:
            reasons.append(f"engine '{engine.file}' does not fit: {reason}")
    if fits:
        return sorted(fits, key=lambda each: _preference(*each, tf32=tf32))
    found = "; ".join(reasons) or f"there is no {_NAMES[machine.library]} engine of this graph here"
    raise BackendError(
        f"{found}; compile one: {command(machine.library, where, machine.compute_capability)}"
    )


def _preference(engine: Engine, path: Path, *, tf32: bool) -> tuple[bool, int, float]:
    values = (sum(math.prod(r.largest) for r in p.values()) for p in engine.profiles)
    largest = max(values, default=0)  # an entry may state no shapes
    try:
        made = path.stat().st_mtime
    except OSError:  # a missing file is told of when it is opened
        made = 0.0
    return engine.tf32 != tf32, largest, -made


def command(library: Library, where: str, capability: str | None = None) -> str:
    """The command line that compiles a bundle's graphs for this machine.

    Args:
        library: that is to run them.
        where: the bundle's folder.
        capability: of this machine's GPU; None is unknown.
    """
    plain = f"hcflow compile '{where}' --engine"
    if library == "tensorrt" or capability is None:
        return f"{plain} {library}"
    if not rtx_serves(capability):
        return f"{plain} tensorrt (TensorRT-RTX serves no GPU of compute capability {capability})"
    return f"{plain} tensorrt-rtx --compute-capability {capability}"


def rtx_serves(capability: str) -> bool:
    """Whether TensorRT-RTX has code for GPUs of a compute capability."""
    return capability in _RTX_SERVES or _numbers(capability) >= (12, 0)


def profile_for(
    inputs: Sequence[str],
    engines: Sequence[Engine],
    where: str,
    shapes: Mapping[str, tuple[int, ...]],
) -> int:
    """The number of the first engine's profile that holds these shapes.

    Args:
        inputs: names of every input.
        engines: that one, and the others, for the error.
        where: the bundle's folder, for the command in the error.
        shapes: of every input.

    Raises:
        ParameterError: an input is missing.
        BackendError: no profile holds them.
    """
    if missing := [name for name in inputs if name not in shapes]:
        raise ParameterError(f"input '{missing[0]}' is missing")
    index = engines[0].holds(shapes)
    if index is None:
        given = ", ".join(f"{n} {'×'.join(map(str, s))}" for n, s in shapes.items())
        ranges = " or ".join(map(describe_ranges, engines))
        raise BackendError(
            f"{given} is outside the engine's shapes ({ranges}): give tiles or smaller images, or "
            f"compile a larger one: {command(engines[0].library, where)} "
            "--max HEIGHTxWIDTH --batch N"
        )
    return index


def describe_ranges(engine: Engine) -> str:
    """The accepted shapes in words, `lr 1×3×8×8 … 1×3×256×256 or …`."""
    return " or ".join(
        ", ".join(
            f"{name} {'×'.join(map(str, r.smallest))} … {'×'.join(map(str, r.largest))}"
            for name, r in profile.items()
        )
        for profile in engine.profiles
    )


def _version_fits(engine: Engine, version: str) -> bool:
    """Same version; a version-compatible engine also runs on later ones of its major version.

    Three numbers are compared: a fourth counts builds of the same version.
    """
    built, here = _numbers(engine.version)[:3], _numbers(version)[:3]
    if engine.version_compatible:
        return built[0] == here[0] and built <= here
    return built == here


def _capability_fits(engine: Engine, capability: str) -> bool:
    if capability in engine.compute_capabilities:
        return True
    here = _numbers(capability)
    built = [_numbers(c) for c in engine.compute_capabilities]
    if engine.library == "tensorrt-rtx":  # code for 12.0 also runs on 12.1 and later
        return any(b[0] == here[0] >= 12 and b <= here for b in built)
    return engine.hardware == "ampere+" and here >= (8, 0) and all(b >= (8, 0) for b in built)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
