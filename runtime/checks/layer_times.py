"""Where does the time of a run go? Seconds by layer, as each backend's own profiler tells."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.backends import Arrays, Session
from runtime.errors import BackendError
from runtime.system import machine

RUNS = 5


@dataclass(frozen=True)
class Layer:
    """One layer: its node's name, its operator or kernel, and seconds a run."""

    name: str
    kind: str
    seconds: float


def layers(
    backend: str, graph: bytes, feeds: Arrays, threads: int, session: Session
) -> list[Layer] | None:
    """Layers of a graph on a backend, slowest first; None where its profiler is not read here.

    Raises:
        BackendError: the backend failed.
    """
    readers = {
        "onnxruntime": _onnxruntime,
        "openvino": _openvino,
        "tensorrt": _engine,
        "tensorrt-rtx": _engine,
    }
    reader = readers.get(backend)
    if reader is None:
        return None
    return sorted(reader(graph, feeds, threads, session), key=lambda layer: -layer.seconds)


def by_kind(found: Iterable[Layer]) -> dict[str, float]:
    """Seconds by operator, most first."""
    sums: dict[str, float] = defaultdict(float)
    for layer in found:
        sums[layer.kind] += layer.seconds
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def _onnxruntime(graph: bytes, feeds: Arrays, threads: int, _: Session) -> list[Layer]:
    import onnxruntime  # noqa: PLC0415 - only where it is the backend

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or machine.usable_cpus()
    options.log_severity_level = 3
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        for _run in range(RUNS + 1):
            session.run(None, dict(feeds))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            key = event["name"].removesuffix("_kernel_time"), event["args"]["op_name"]
            times[key].append(event["dur"] * 1e-6)
    return [  # the first run warms up
        Layer(name, kind, sum(seconds[1:]) / RUNS) for (name, kind), seconds in times.items()
    ]


def _openvino(graph: bytes, feeds: Arrays, threads: int, _: Session) -> list[Layer]:
    try:
        import openvino  # noqa: PLC0415
    except ImportError as error:
        raise BackendError(f"OpenVINO cannot be imported ({error})") from error
    core = openvino.Core()
    options: dict[str, Any] = {
        "PERF_COUNT": True,
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads or machine.usable_cpus(),
    }
    request = core.compile_model(core.read_model(graph), "CPU", options).create_infer_request()
    times: dict[tuple[str, str], float] = defaultdict(float)
    for run in range(RUNS + 1):
        request.infer(dict(feeds))
        for info in request.profiling_info if run else ():
            if info.real_time.total_seconds() > 0:
                times[info.node_name, info.node_type] += info.real_time.total_seconds() / RUNS
    return [Layer(name, kind, seconds) for (name, kind), seconds in times.items()]


def _engine(_graph: bytes, feeds: Arrays, _threads: int, session: Session) -> list[Layer]:
    from runtime.backends.tensorrt import EngineSession  # noqa: PLC0415

    assert isinstance(session, EngineSession)
    times = session.layer_times(feeds, RUNS)
    return [Layer(name, "engine layer", seconds) for name, seconds in times.items()]
