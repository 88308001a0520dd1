"""What every backend gives: a session on one graph. Protocols name what only some sessions can do.

Each backend's library is imported by `import_library`, and only when a session is opened.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from numpy.typing import NDArray

from runtime.errors import BackendError, one_line

if TYPE_CHECKING:  # what knows engines loads for GPUs alone
    from runtime.bundle.engines.entry import Engine
    from runtime.system.gpus import Card

Arrays = Mapping[str, Any]
"""Arrays by name: float32 NCHW, or uint8 NHWC where the graph's images are uint8; for a session
that draws latents also `latents.Region`."""

Shapes = Mapping[str, tuple[int, ...]]


class Session(Protocol):
    """One graph, loaded and ready; `run` may be called from many threads at once."""

    def run(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs by name for inputs by name, as the graph has them.

        Raises:
            BackendError: the backend failed.
        """


@runtime_checkable
class ExpectsShapes(Session, Protocol):
    """A session that runs inputs of one set of shapes faster when told of them beforehand."""

    def expect(self, shapes: Shapes) -> None:
        """Prepare for inputs of exactly these shapes; to be called before the first `run`."""


@runtime_checkable
class LimitsThreads(Session, Protocol):
    """A session that takes fewer threads for small images, so that their bytes stay the same."""

    def threads_for(self, feeds: Arrays) -> int:
        """Threads that `run` takes for these inputs."""


@runtime_checkable
class DrawsLatents(Session, Protocol):
    """A session that may take latents as regions and draw them on its own device."""

    @property
    def draws_latents(self) -> bool:
        """Whether it does so on this machine."""


@runtime_checkable
class KnowsProgram(Session, Protocol):
    """A session that knows the kernels it runs, and the GPU that runs them."""

    engine: Engine

    @property
    def card(self) -> Card:
        """The GPU."""

    def engine_for(self, shapes: Shapes) -> Engine:
        """The engine that runs inputs of these shapes, where there are several.

        Raises:
            GpuMemoryError, BackendError: it cannot be loaded.
        """


@runtime_checkable
class ReservesMemory(Session, Protocol):
    """A session on a device whose memory is its own: it can be asked before a run."""

    def reserve(self, shapes: Shapes, runs: int = 1) -> None:
        """Take the memory that a run of inputs of exactly these shapes needs.

        Args:
            shapes: of every input.
            runs: how many an image will take.

        Raises:
            GpuMemoryError: there is not enough.
        """


@dataclass(frozen=True)
class Layer:
    """One layer: its node's name, its operator or kernel, and its seconds in one run."""

    name: str
    kind: str
    seconds: float


@runtime_checkable
class TimesLayers(Session, Protocol):
    """A session that can measure its layers by the profiler of its library."""

    def layer_times(self, feeds: Arrays, runs: int) -> list[Layer]:
        """Every layer with its mean over so many runs, after a warm-up.

        Raises:
            BackendError: the backend failed.
        """


@runtime_checkable
class Closes(Session, Protocol):
    """A session on a device whose memory it gives back when it is closed."""

    def close(self) -> None:
        """Free everything; it cannot be used any more."""


S = TypeVar("S", bound=Session)


@contextlib.contextmanager
def closing(session: S) -> Iterator[S]:
    """The session, closed at the end where it can be."""
    try:
        yield session
    finally:
        if isinstance(session, Closes):
            session.close()


def import_library(module: str, title: str, remedy: str) -> Any:
    """The module of a backend's library.

    Raises:
        BackendError: it is not installed, or its own libraries do not load; says what to do.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        raise BackendError(f"{title} cannot be imported ({one_line(error)}): {remedy}") from error
