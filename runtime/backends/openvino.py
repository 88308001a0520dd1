"""OpenVINO on the CPU: compiled programs are kept on disk, so that the second start is fast.

The bytes of a result depend neither on the number of threads nor on other runs, but a program
compiled for one shape and the program for any shape round differently. Which of them runs an input
therefore depends on the input's shape alone, never on what was run before.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.backends.session import Arrays, Layer, Shapes, import_library
from runtime.bundle.graph_entry import Numerics
from runtime.errors import BackendError, one_line
from runtime.system import atomic, machine, regular_file
from runtime.system.cache import user_cache

_DEVICE = "CPU"
_DIGEST_BYTES = 32
_MOST_BLOB = 1 << 30  # bytes of a cached program, as in C++
HINTS = ("f32", "bf16", "f16")
"""Values of `Numerics.openvino_precision_hint` that this backend takes."""

_FIRST_USE = threading.Lock()
_cores: list[Any] = []

_logger = logging.getLogger(__name__)


class OpenVinoSession:
    """One graph; each program is compiled, or read from the cache, when first needed."""

    def __init__(self, graph: bytes, numerics: Numerics, threads: int) -> None:
        hint = numerics.openvino_precision_hint
        if hint not in HINTS:
            raise BackendError(
                f"OpenVINO has no inference precision '{hint}': one of {', '.join(HINTS)}; "
                "build the bundle again"
            )
        self._graph = graph
        self._core = _core()
        self._config = {
            "INFERENCE_PRECISION_HINT": hint,  # without it OpenVINO takes bf16 where the CPU has it
            "INFERENCE_NUM_THREADS": threads or machine.usable_cpus(),
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # several processes may share the processors
        }
        self._expected: Shapes | None = None
        self._programs: dict[bool, _Program] = {}
        self._compiling = threading.Lock()
        self._program(False)  # a graph that OpenVINO refuses is refused now

    def expect(self, shapes: Shapes) -> None:
        """Compile a program for exactly these shapes: about 6 % faster, but a second to compile.

        To be called before the first `run`, always with the same shapes for the same graph.
        """
        self._expected = {name: tuple(shape) for name, shape in shapes.items()}

    def run(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs by name for inputs by name."""
        shapes = {name: value.shape for name, value in feeds.items()}
        try:
            return self._program(shapes == self._expected).run(feeds)
        except Exception as error:  # its binding raises several kinds
            listed = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
            raise BackendError(f"OpenVINO failed on {listed}: {one_line(error)}") from error

    def layer_times(self, feeds: Arrays, runs: int) -> list[Layer]:
        """Every layer with its mean over so many runs, by OpenVINO's profiler."""
        config = self._config | {"PERF_COUNT": True}
        compiled = self._core.compile_model(self._core.read_model(self._graph), _DEVICE, config)
        request = compiled.create_infer_request()
        times: dict[tuple[str, str], float] = defaultdict(float)
        for run in range(runs + 1):
            request.infer(dict(feeds))
            for info in request.profiling_info if run else ():  # the first run warms up
                if info.real_time.total_seconds() > 0:
                    times[info.node_name, info.node_type] += info.real_time.total_seconds() / runs
        return [Layer(name, kind, seconds) for (name, kind), seconds in times.items()]

    def _program(self, fixed: bool) -> _Program:
        with self._compiling:
            if fixed not in self._programs:
                try:
                    self._programs[fixed] = _Program(self._compile(self._expected if fixed else {}))
                except Exception as error:  # its binding raises several kinds
                    raise BackendError(f"OpenVINO refuses the graph: {one_line(error)}") from error
            return self._programs[fixed]

    def _compile(self, shapes: Shapes | None) -> Any:
        """The compiled model for these shapes; without shapes, for any."""
        cached = self._cache_file(shapes or {})
        if cached is not None and (blob := _read(cached)) is not None:
            try:
                return self._core.import_model(blob, _DEVICE, self._config)
            except Exception as error:  # a cache: what cannot be used is made again
                _logger.info("'%s' is compiled again: %s", cached, one_line(error))
        model = self._core.read_model(self._graph)
        if shapes:
            model.reshape({name: list(shape) for name, shape in shapes.items()})
        compiled = self._core.compile_model(model, _DEVICE, self._config)
        if cached is not None:
            _write(cached, compiled.export_model().getvalue())
        return compiled

    def _cache_file(self, shapes: Shapes) -> Path | None:
        """Named by everything a program depends on: graph, shapes, settings, library, processor.

        None where there is no cache.
        """
        cache = user_cache()
        if cache is None:
            return None
        facts = [
            _openvino().get_version(),
            str(self._core.get_property(_DEVICE, "FULL_DEVICE_NAME")),
            str(sorted(self._core.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES"))),
            str(sorted(machine.cpu_flags())),
            str(sorted(self._config.items())),
            str(sorted((name, tuple(shape)) for name, shape in shapes.items())),
        ]
        key = hashlib.sha256("\n".join(facts).encode()).hexdigest()
        digest = hashlib.sha256(self._graph).hexdigest()
        return cache / "openvino" / f"{digest[:16]}.{key[:16]}.blob"


class _Program:
    """A compiled model and its idle infer requests, one for each thread that is running."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._idle: list[Any] = []
        # A cast that is optimised away leaves its name at an output, beside the graph's own.
        self._names = [sorted(output.get_names()) for output in compiled.outputs]

    def run(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        results = request.infer(dict(feeds), share_inputs=True)
        values = {name: results[i] for i, names in enumerate(self._names) for name in names}
        self._idle.append(request)  # one that failed is not used again
        return values


def open_cpu(
    graph: bytes, numerics: Numerics, threads: int, folder: Path | None, device: int
) -> OpenVinoSession:
    """A session on the CPU."""
    return OpenVinoSession(graph, numerics, threads)


def has_cpu() -> bool:
    """Whether OpenVINO is installed; raises `BackendError` if not."""
    return _DEVICE in _core().available_devices


def _read(path: Path) -> bytes | None:
    """What `_write` wrote; None where the file is missing, damaged or open to other users."""
    try:
        data = regular_file.read(path, _MOST_BLOB, links=False, private=True)
    except FileNotFoundError:
        return None
    except OSError as error:
        _logger.info("'%s' is not used: %s", path, error.strerror)
        return None
    digest, blob = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    return blob if hashlib.sha256(blob).digest() == digest else None


def _write(path: Path, blob: bytes) -> None:
    """Cache a program; when several processes do so at once, the last one's whole file stays."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        atomic.write_cached(path, hashlib.sha256(blob).digest() + blob)
        path.chmod(0o600)
    except OSError as error:
        _logger.info("'%s' is not cached: %s", path, error.strerror)


def _openvino() -> Any:
    return import_library("openvino", "OpenVINO", "pip install 'hcflow-deploy[openvino]'")


def _core() -> Any:
    """The one Core of this process, which is never destroyed.

    A Core installs a signal stack for its thread and, when it is destroyed, restores the one that
    it replaced. Two Cores that are destroyed in the order of their creation leave the thread with a
    stack that has been freed, and the next signal crashes the process.
    """
    library = _openvino()
    with _FIRST_USE:
        if not _cores:
            # The binding fills its tables of types at first use, where two threads deadlock.
            library.Type.f32.to_dtype()
            library.Tensor(np.zeros(1, np.float32))
            _cores.append(library.Core())
        return _cores[0]
