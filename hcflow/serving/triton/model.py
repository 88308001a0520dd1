"""A bundle as a model of Triton's Python backend: `hcflow triton` copies this file as `model.py`.

It runs the `runtime` package that lies beside it, and imports nothing else of ours. Triton's
process for Python ignores PYTHONPATH: where NumPy, Pillow and the backend are stands in the file
`python_path` beside this one, a folder a line.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))

# First of all: Triton's own module for Python models, which it imports next, needs NumPy.
sys.path.insert(0, _HERE)
if os.path.exists(os.path.join(_HERE, "python_path")):
    with open(os.path.join(_HERE, "python_path"), encoding="utf-8") as _folders:
        sys.path[1:1] = _folders.read().splitlines()

_SECONDS = 0.05  # between two questions whether a request was cancelled


class TritonPythonModel:
    """Upscales images of any size: `IMAGE` in, `UPSCALED` out, both uint8 [H, W, C]."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the model and run it once, so that one that cannot run is not loaded.

        Args:
            args: of Triton: the configuration, and the device that this process is for.
        """
        config = json.loads(args["model_config"])
        given = {k: v["string_value"] for k, v in config.get("parameters", {}).items()}
        if args.get("model_instance_kind") == "GPU":
            _see_one_gpu(int(args["model_instance_device_id"]))
        # Only now: what they need is on the path.
        import numpy as np

        import runtime

        threads = given.get("threads")
        self._model = runtime.load(
            os.path.join(_HERE, "bundle"),
            backend=given["backend"],
            precision=given["precision"],
            threads=None if threads is None else int(threads),
        )
        self._model.upscale(np.zeros((4, 4, 3), np.uint8))
        self._metrics = _Metrics(config["name"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer requests, one after another; what fails costs its own answer only."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        import triton_python_backend_utils as pb_utils

        from runtime import BundleError, Cancelled, HcflowError
        from runtime.errors import ImageError, ParameterError

        started = time.monotonic()
        kinds = pb_utils.TritonError
        pixels = 0
        try:
            with _Cancelled(request.is_cancelled) as cancelled:
                image, options = _inputs(request)
                large = self._model.upscale(image, cancel=cancelled, **options)
            pixels = large.shape[0] * large.shape[1]
            # `Tensor(name, array)` of a Triton made for NumPy 1 gives no bytes under NumPy 2.
            tensor = pb_utils.Tensor.from_dlpack("UPSCALED", large)
            answer = pb_utils.InferenceResponse([tensor])
            outcome = "done"
        except Cancelled:
            outcome = "cancelled"
            answer = _failure(pb_utils, "the request was cancelled", kinds.CANCELLED)
        except (ImageError, ParameterError) as error:
            outcome = "refused"
            answer = _failure(pb_utils, str(error), kinds.INVALID_ARG)
        except (BundleError, HcflowError) as error:
            outcome = "failed"
            answer = _failure(pb_utils, str(error), kinds.INTERNAL)
        except Exception as error:  # a fault of the program costs one request, not the server
            outcome = "failed"
            answer = _failure(pb_utils, f"{type(error).__name__}: {error}", kinds.INTERNAL)
        self._metrics.note(outcome, time.monotonic() - started, pixels)
        return answer


class _Cancelled:
    """Whether a request was cancelled, asked of Triton by one thread; for `Model.upscale`."""

    def __init__(self, ask: Callable[[], bool]) -> None:
        self._ask = ask
        self._is_cancelled, self._is_over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> threading.Event:
        if self._ask():
            self._is_cancelled.set()
        self._thread.start()
        return self._is_cancelled

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(_SECONDS):
            if self._ask():
                self._is_cancelled.set()
                return


class _Metrics:
    """Counters of this model; Triton's own do not count what a Python model refuses."""

    def __init__(self, model: str) -> None:
        import triton_python_backend_utils as pb_utils

        counter = pb_utils.MetricFamily.COUNTER
        self._families = [
            pb_utils.MetricFamily(
                name="hcflow_requests_total",
                description="Requests by outcome: done, refused, cancelled or failed",
                kind=counter,
            ),
            pb_utils.MetricFamily(
                name="hcflow_seconds_total", description="Seconds in the model", kind=counter
            ),
            pb_utils.MetricFamily(
                name="hcflow_pixels_total", description="Pixels of results", kind=counter
            ),
        ]
        requests, seconds, pixels = self._families
        labels = {"model": model}
        self._outcomes = {
            outcome: requests.Metric(labels={**labels, "outcome": outcome})
            for outcome in ("done", "refused", "cancelled", "failed")
        }
        self._seconds = seconds.Metric(labels=labels)
        self._pixels = pixels.Metric(labels=labels)

    def note(self, outcome: str, seconds: float, pixels: int) -> None:
        self._outcomes[outcome].increment(1)
        self._seconds.increment(seconds)
        self._pixels.increment(pixels)


def _inputs(request: Any) -> tuple[Any, dict[str, Any]]:
    """The image of a request, and the keywords of `Model.upscale` that it gives."""
    import numpy as np
    import triton_python_backend_utils as pb_utils

    def tensor(name: str) -> Any:
        found = pb_utils.get_input_tensor_by_name(request, name)
        return None if found is None else np.from_dlpack(found)

    tau, seed = tensor("TAU"), tensor("SEED")
    options = {} if tau is None else {"tau": float(tau.flat[0])}
    if seed is not None:
        options["seed"] = int(seed.flat[0])
    return tensor("IMAGE"), options


def _failure(pb_utils: Any, text: str, kind: Any) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(text, kind))


def _see_one_gpu(device: int) -> None:
    """Let this process see the GPU that Triton made it for, as its first and only one."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = seen.split(",") if seen else [str(number) for number in range(device + 1)]
    os.environ["CUDA_VISIBLE_DEVICES"] = names[device]
