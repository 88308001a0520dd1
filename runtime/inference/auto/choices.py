"""What computes each direction of a bundle: of several choices the first that opens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runtime.backends import auto, open_named, targets_of
from runtime.backends.session import Session
from runtime.bundle.manifest import Direction, Graph, Precision
from runtime.bundle.reader import Bundle
from runtime.errors import BackendError, BundleError


@dataclass(frozen=True)
class Choice:
    """A backend, and the precisions that images may be computed in on it.

    Attributes:
        backend: one of `runtime.backends.NAMES`.
        precisions: the first is that of whole arrays.
        fits: False for engines of which none is known to fit: opening one tells why.
    """

    backend: str
    precisions: tuple[Precision, ...]
    fits: bool = True


class Choices:
    """A bundle's graphs, loaded once each; every method may be called from many threads.

    Args:
        bundle: whose graphs.
        choices: the one to take first at the front; only the last may be `auto`.
        threads: of the backend; 0 is its own choice.
        io: type of images at the graph's boundary; None takes float32 where there is such a graph.
        device: number of the GPU, as CUDA counts; None is the first.
        prepare: called with every graph that was opened, and its session.
    """

    def __init__(
        self,
        bundle: Bundle,
        choices: Sequence[Choice],
        threads: int,
        io: str | None,
        device: int | None,
        prepare: Callable[[Graph, Session], None],
    ) -> None:
        self._bundle = bundle
        self._choices = tuple(choices)
        self._threads = threads
        self._io = io
        self._device = device
        self._prepare = prepare
        self._settled: dict[Direction, Choice] = {}
        self._settling = threading.Lock()
        self._sessions: dict[str, tuple[str, Session]] = {}
        self._refused: set[str] = set()
        self._opening = threading.Lock()

    @property
    def all(self) -> tuple[Choice, ...]:
        """Every choice, the first at the front."""
        return self._choices

    def of(self, direction: Direction, latents: bool | None) -> Choice:
        """What computes a direction.

        Of several it is settled when a direction is first asked for: the first whose graph opens.
        The log says why others were passed over.

        Args:
            direction: which way.
            latents: as for `Bundle.graph`.

        Raises:
            BundleError: a graph is damaged.
        """
        if len(self._choices) == 1:
            return self._choices[0]
        with self._settling:
            if direction not in self._settled:
                self._settled[direction] = self._first_to_open(direction, latents)
            return self._settled[direction]

    def graph(
        self, direction: Direction, latents: bool | None, precision: Precision | None = None
    ) -> Graph:
        """`Bundle.graph` of what computes a direction; without `precision` in its first one."""
        return self._graph(self.of(direction, latents), direction, latents, precision)

    def session(self, graph: Graph, backend: str | None = None) -> tuple[str, Session]:
        """The name of the backend that runs a graph, and its session.

        Args:
            graph: of the bundle.
            backend: that opens it where it is not open; None is the last choice.

        Raises:
            BundleError, BackendError: as `runtime.backends.open_graph`.
        """
        with self._opening:
            if graph.file not in self._sessions:
                # Where no engine fits, the first choice has told why: `auto` need not try again.
                engines = self._choices[0].fits and graph.file not in self._refused
                name, session = open_named(
                    backend or self._choices[-1].backend,
                    self._bundle,
                    graph,
                    self._threads,
                    self._device,
                    engines=engines,
                )
                self._prepare(graph, session)
                self._sessions[graph.file] = name, session
            return self._sessions[graph.file]

    def _first_to_open(self, direction: Direction, latents: bool | None) -> Choice:
        *firsts, last = self._choices
        for choice, instead in zip(firsts, self._choices[1:], strict=True):
            try:
                graph = self._graph(choice, direction, latents)
            except BundleError:  # there is this precision in the other direction alone
                continue
            try:
                self.session(graph, choice.backend)
            except BackendError as error:
                self._refused.add(graph.file)
                auto.pass_over(error, choice.backend, auto.name(instead.backend))
            else:
                return choice
        return last

    def _graph(
        self,
        choice: Choice,
        direction: Direction,
        latents: bool | None,
        precision: Precision | None = None,
    ) -> Graph:
        wanted = precision or choice.precisions[0]
        targets = targets_of(choice.backend)
        return self._bundle.graph(direction, wanted, latents, self._io, targets)
