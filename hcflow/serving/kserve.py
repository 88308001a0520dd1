"""The KServe v2 protocol, as Triton's own clients speak it: IMAGE in, UPSCALED out.

Tensors are bytes behind the JSON (`Inference-Header-Content-Length`), or lists in it.
"""

from __future__ import annotations

import json
import math
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hcflow.serving.limits import RefusedError
from hcflow.serving.metrics import Gate
from hcflow.serving.served import check_direction
from hcflow.serving.service import Service, exchange_of
from hcflow.version import __version__
from runtime.model import Model
from runtime.system.arguments import shown

LENGTH = "inference-header-content-length"
VERSION = "1"
_MOST_JSON = 4_000_000  # bytes: while it is read, nothing else is done
_MOST_LISTED = 1_000_000  # values of an output in JSON

_TYPES: dict[str, tuple[str, ...]] = {
    "IMAGE": ("UINT8",),
    "TAU": ("FP32", "FP64"),
    "SEED": ("UINT64", "INT64", "UINT32", "INT32"),
}
_DTYPES = {
    "UINT8": "u1",
    "FP32": "<f4",
    "FP64": "<f8",
    "UINT64": "<u8",
    "INT64": "<i8",
    "UINT32": "<u4",
    "INT32": "<i4",
}


@dataclass(frozen=True)
class Inference:
    """A request to infer.

    Attributes:
        image: uint8 [H, W, 3].
        tau: temperature; None is the model's.
        seed: of the latents.
        name: that the client gave it, to find in the answer.
        is_binary: whether the output comes as bytes.
    """

    image: NDArray[np.uint8]
    tau: float | None
    seed: int
    name: str | None
    is_binary: bool


def router(service: Service) -> APIRouter:
    """The paths under `/v2`."""
    api = APIRouter(prefix="/v2", tags=["KServe v2"])

    def model_of(name: str, version: str = VERSION) -> Model:
        model = service.models.by_name.get(name)
        if model is None or version != VERSION:
            raise RefusedError(404, "no such model, or no such version of it, is served here")
        return model

    @api.get("")
    async def server() -> dict[str, Any]:
        """Name, version and extensions of this server."""
        return {"name": "hcflow", "version": __version__, "extensions": ["binary_tensor_data"]}

    @api.get("/health/live")
    async def live() -> dict[str, bool]:
        """Whether this server runs."""
        return {"live": True}

    @api.get("/health/ready")
    async def ready() -> Response:
        """Whether this server can infer."""
        problem = await service.problem()
        return JSONResponse({"ready": problem is None}, 503 if problem else 200)

    @api.get("/models/{name}")
    @api.get("/models/{name}/versions/{version}")
    async def metadata(name: str, version: str = VERSION) -> dict[str, Any]:
        """Inputs and outputs of a model."""
        model_of(name, version)
        return {
            "name": name,
            "versions": [VERSION],
            "platform": "hcflow",
            "inputs": [
                {"name": "IMAGE", "datatype": "UINT8", "shape": [-1, -1, 3]},
                {"name": "TAU", "datatype": "FP32", "shape": [1], "optional": True},
                {"name": "SEED", "datatype": "UINT64", "shape": [1], "optional": True},
            ],
            "outputs": [{"name": "UPSCALED", "datatype": "UINT8", "shape": [-1, -1, 3]}],
        }

    @api.get("/models/{name}/ready")
    @api.get("/models/{name}/versions/{version}/ready")
    async def model_ready(name: str, version: str = VERSION) -> Response:
        """Whether a model can infer."""
        model_of(name, version)
        return await ready()

    @api.get("/models/{name}/config")
    @api.get("/models/{name}/versions/{version}/config")
    async def config(name: str, version: str = VERSION) -> dict[str, Any]:
        """A model's configuration as Triton would show it."""
        model_of(name, version)
        optional = {"dims": [1], "optional": True}
        return {
            "name": name,
            "platform": "hcflow",
            "max_batch_size": 0,
            "input": [
                {"name": "IMAGE", "data_type": "TYPE_UINT8", "dims": [-1, -1, 3]},
                {"name": "TAU", "data_type": "TYPE_FP32", **optional},
                {"name": "SEED", "data_type": "TYPE_UINT64", **optional},
            ],
            "output": [{"name": "UPSCALED", "data_type": "TYPE_UINT8", "dims": [-1, -1, 3]}],
        }

    @api.post("/repository/index")
    async def index() -> list[dict[str, str]]:
        """The models that are served."""
        return [
            {"name": name, "version": VERSION, "state": "READY"} for name in service.models.by_name
        ]

    @api.post("/models/{name}/infer")
    @api.post("/models/{name}/versions/{version}/infer")
    async def infer(request: Request, name: str, version: str = VERSION) -> Response:
        """Upscale an image: IMAGE, and optionally TAU and SEED, in; UPSCALED out."""
        model = model_of(name, version)
        check_direction(model, "upscale")
        body = await service.body(request)
        length = request.headers.get(LENGTH)

        def work(cancel: threading.Event, gate: Gate) -> Response:
            asked = parse(body, length)
            _check_size(asked, model, service.limits.hr_pixels)
            with gate:
                result = model.upscale(asked.image, tau=asked.tau, seed=asked.seed, cancel=cancel)
            return answer(name, asked, result)

        return await service.run(exchange_of(request), work)

    return api


def _check_size(asked: Inference, model: Model, most: int) -> None:
    height, width, _ = asked.image.shape
    if height * width * model.scale**2 > most:
        raise RefusedError(
            413,
            f"IMAGE of {width}×{height} would become more than {most} pixels, the limit: send a "
            "smaller one",
        )


def parse(body: bytes, header_length: str | None) -> Inference:
    """What a body asks to infer.

    Args:
        body: the whole body.
        header_length: bytes of JSON before the tensors, as the header says; None is all of it.

    Raises:
        RefusedError: it is not as the protocol wants it.
    """
    length = len(body)
    if header_length is not None:
        length = int(header_length) if header_length.isdigit() and len(header_length) < 10 else -1
        if not 0 < length <= len(body):
            raise RefusedError(400, f"{LENGTH} is not a length within the body")
    if length > _MOST_JSON:
        raise RefusedError(413, f"more than {_MOST_JSON} bytes of JSON: send tensors as bytes")
    try:
        request = json.loads(body[:length])
    except (ValueError, RecursionError):
        raise RefusedError(400, "the request is not JSON") from None
    inputs = request.get("inputs") if isinstance(request, dict) else None
    if not isinstance(inputs, list) or not all(isinstance(each, dict) for each in inputs):
        raise RefusedError(400, "the request is not an object with a list of inputs")
    tensors: dict[str, NDArray[Any]] = {}
    rest = memoryview(body)[length:]
    for each in inputs:
        name = each.get("name")
        if not isinstance(name, str) or name not in _TYPES or name in tensors:
            raise RefusedError(400, f"inputs are {', '.join(_TYPES)}, each once")
        tensors[name], rest = _tensor(name, each, rest)
    if rest:
        raise RefusedError(400, f"{len(rest)} bytes come after the last input")
    if "IMAGE" not in tensors:
        raise RefusedError(400, "input IMAGE is missing")
    identity = request.get("id")
    if identity is not None and not (isinstance(identity, str) and len(identity) <= 256):
        raise RefusedError(400, "id must be a text of at most 256 characters")
    return Inference(
        image=tensors["IMAGE"],
        tau=float(tensors["TAU"].item()) if "TAU" in tensors else None,
        seed=int(tensors["SEED"].item()) if "SEED" in tensors else 0,
        name=identity,
        is_binary=_wants_binary(request),
    )


def _tensor(name: str, given: dict[str, Any], rest: memoryview) -> tuple[NDArray[Any], memoryview]:
    """An input, and the bytes that are left for those after it."""
    datatype, shape = given.get("datatype"), given.get("shape")
    if not isinstance(datatype, str) or datatype not in _TYPES[name]:
        raise RefusedError(400, f"{name} must be {' or '.join(_TYPES[name])}")
    if not isinstance(shape, list) or not all(type(side) is int and side > 0 for side in shape):
        raise RefusedError(400, f"the shape of {name} must be a list of whole numbers above 0")
    is_right = len(shape) == 3 and shape[2] == 3 if name == "IMAGE" else shape == [1]
    if not is_right:
        raise RefusedError(400, f"{name} must be {'[H, W, 3]' if name == 'IMAGE' else '[1]'}")
    dtype, count = np.dtype(_DTYPES[datatype]), math.prod(shape)
    parameters = given.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is not None:
        if type(size) is not int or size != count * dtype.itemsize or size > len(rest):
            raise RefusedError(400, f"{name} has not the bytes that its shape needs")
        return np.frombuffer(rest[:size], dtype).reshape(shape), rest[size:]
    try:
        listed = np.array(_listed(given.get("data"), count))
        with np.errstate(invalid="ignore"):  # what changes is refused below
            values = listed.astype(dtype)
        if dtype.kind != "f" and not np.array_equal(values, listed):
            raise ValueError
        return values.reshape(shape), rest
    except (ValueError, TypeError, OverflowError):
        raise RefusedError(400, f"{name} holds not {shown(count)} values of {datatype}") from None


def _listed(data: Any, count: int) -> list[float]:
    """So many numbers from a list, or from lists in it, all of one length; else `ValueError`."""
    level = data if isinstance(data, list) else [data]
    while level and isinstance(level[0], list):
        length = len(level[0])
        if not all(isinstance(each, list) and len(each) == length for each in level):
            raise ValueError
        level = [value for each in level for value in each]
    # NumPy would make every item as long as the longest text among them.
    if len(level) != count or not all(isinstance(value, int | float) for value in level):
        raise ValueError
    return level


def _wants_binary(request: dict[str, Any]) -> bool:
    outputs = request.get("outputs")
    if outputs is None:
        parameters = request.get("parameters")
        return isinstance(parameters, dict) and parameters.get("binary_data_output") is True
    if not isinstance(outputs, list) or len(outputs) != 1 or not isinstance(outputs[0], dict):
        raise RefusedError(400, "the only output is UPSCALED")
    output = outputs[0]
    if output.get("name") != "UPSCALED":
        raise RefusedError(400, "the only output is UPSCALED")
    parameters = output.get("parameters")
    if not isinstance(parameters, dict):
        return False
    if parameters.keys() - {"binary_data"}:
        raise RefusedError(400, "the only output parameter is binary_data")
    return parameters.get("binary_data") is True


def answer(name: str, asked: Inference, result: NDArray[np.uint8]) -> Response:
    """The answer of an inference.

    Raises:
        RefusedError: so large an output is not written as JSON.
    """
    output: dict[str, Any] = {
        "name": "UPSCALED",
        "datatype": "UINT8",
        "shape": list(result.shape),
    }
    facts: dict[str, Any] = {"model_name": name, "model_version": VERSION, "outputs": [output]}
    if asked.name is not None:
        facts["id"] = asked.name
    if not asked.is_binary:
        if result.size > _MOST_LISTED:
            raise RefusedError(400, f"an output of {result.size} values needs binary_data")
        output["data"] = result.ravel().tolist()
        return Response(json.dumps(facts).encode(), media_type="application/json")
    data = result.tobytes()
    output["parameters"] = {"binary_data_size": len(data)}
    header = json.dumps(facts).encode()
    headers = {LENGTH: str(len(header))}
    return Response(header + data, 200, headers, "application/octet-stream")
