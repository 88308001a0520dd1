"""Triton's own client works against the server unchanged, and gets the bytes of `upscale`."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

from hcflow.serving.kserve import parse
from hcflow.serving.limits import RefusedError
from tests.support.serving import Running, noise


@pytest.fixture
def client(server: Running) -> triton.InferenceServerClient:
    return triton.InferenceServerClient(server.url.removeprefix("http://"))


def _inputs(binary: bool = True, **tensors: Any) -> list[triton.InferInput]:
    types = {"IMAGE": "UINT8", "TAU": "FP32", "SEED": "UINT64"}
    made = []
    for name, values in tensors.items():
        made.append(triton.InferInput(name, list(values.shape), types[name]))
        made[-1].set_data_from_numpy(values, binary_data=binary)
    return made


def test_the_client_finds_the_server_and_its_model(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny_x4")
    assert client.is_model_ready("tiny_x4", "1")
    assert not client.is_model_ready("another")
    assert client.get_server_metadata()["name"] == "hcflow"
    metadata = client.get_model_metadata("tiny_x4")
    assert [each["name"] for each in metadata["inputs"]] == ["IMAGE", "TAU", "SEED"]
    assert client.get_model_config("tiny_x4")["max_batch_size"] == 0
    assert client.get_model_repository_index()[0]["name"] == "tiny_x4"


@pytest.mark.parametrize("binary", [True, False])
def test_an_inference_has_the_bytes_of_model_upscale(
    server: Running, client: triton.InferenceServerClient, binary: bool
) -> None:
    picture = noise(7, 9)
    tau, seed = np.array([0.3], np.float32), np.array([2**63 + 5], np.uint64)
    inputs = _inputs(binary, IMAGE=picture, TAU=tau, SEED=seed)
    outputs = [triton.InferRequestedOutput("UPSCALED", binary_data=binary)]
    result = client.infer("tiny_x4", inputs, outputs=outputs, request_id="seven")
    expected = server.model.upscale(picture, tau=float(tau[0]), seed=2**63 + 5)
    assert np.array_equal(result.as_numpy("UPSCALED"), expected)
    assert result.get_response()["id"] == "seven"


def test_tau_and_seed_may_be_left_out(
    server: Running, client: triton.InferenceServerClient
) -> None:
    picture = noise(5, 5)
    result = client.infer("tiny_x4", _inputs(IMAGE=picture))
    assert np.array_equal(result.as_numpy("UPSCALED"), server.model.upscale(picture))


def test_the_client_is_told_what_is_wrong(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="no such model"):
        client.infer("another", _inputs(IMAGE=noise(2, 2)))
    inputs = _inputs(IMAGE=noise(2, 2), TAU=np.array([-1], np.float32))
    with pytest.raises(InferenceServerException, match="τ is -1"):
        client.infer("tiny_x4", inputs)
    with pytest.raises(InferenceServerException, match=r"IMAGE must be \[H, W, 3\]"):
        client.infer("tiny_x4", _inputs(IMAGE=noise(2, 2, 4)))
    with pytest.raises(InferenceServerException, match="more than 67108864 pixels"):
        client.infer("tiny_x4", _inputs(IMAGE=np.zeros((2100, 2100, 3), np.uint8)))


IMAGE = {"name": "IMAGE", "datatype": "UINT8", "shape": [1, 2, 3], "data": [1, 2, 3, 4, 5, 6]}


def test_nested_lists_are_taken_as_well() -> None:
    nested = {**IMAGE, "data": [[[1, 2, 3], [4, 5, 6]]]}
    request = json.dumps({"inputs": [nested]}).encode()
    assert np.array_equal(parse(request, None).image.ravel(), range(1, 7))


def _binary(size: Any) -> dict[str, Any]:
    return {**IMAGE, "data": None, "parameters": {"binary_data_size": size}}


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"[" * 100_000,
        b"\xff\xfe",
        {},
        {"inputs": 3},
        {"inputs": [3]},
        {"inputs": []},
        {"inputs": [IMAGE, IMAGE]},
        {"inputs": [{**IMAGE, "name": "OTHER"}]},
        {"inputs": [{**IMAGE, "name": ["IMAGE"]}]},
        {"inputs": [{**IMAGE, "datatype": "FP32"}]},
        {"inputs": [{**IMAGE, "datatype": {}}]},
        {"inputs": [{**IMAGE, "shape": [1, 2]}]},
        {"inputs": [{**IMAGE, "shape": [1, -2, 3]}]},
        {"inputs": [{**IMAGE, "shape": [True, 2, 3]}]},
        {"inputs": [{**IMAGE, "shape": [10**9, 10**9, 3]}]},
        {"inputs": [{**IMAGE, "data": [1, 2, 3, 4, 5, 256]}]},
        {"inputs": [{**IMAGE, "data": [1, 2, 3, 4, 5, -1]}]},
        {"inputs": [{**IMAGE, "data": [1, 2, 3, 4, 5, 6.5]}]},
        {"inputs": [{**IMAGE, "data": [1, 2, 3, 4, 5, "6"]}]},
        {"inputs": [{**IMAGE, "data": [1, 2, 3, 4, 5, [6]]}]},
        {"inputs": [{**IMAGE, "data": [[1, 2], [3, 4, 5, 6]]}]},
        {"inputs": [{**IMAGE, "data": [[[]], [1, 2, 3, 4, 5, 6]]}]},
        {"inputs": [{**IMAGE, "data": [[]] * 6}]},
        {"inputs": [{**IMAGE, "data": [None] * 6}]},
        {"inputs": [{**IMAGE, "data": ["1"] * 6}]},
        {"inputs": [{**IMAGE, "data": {"a": 1}}]},
        {"inputs": [{**IMAGE, "data": "123456"}]},
        {"inputs": [IMAGE, {"name": "TAU", "datatype": "FP32", "shape": [1], "data": ["0.5"]}]},
        {"inputs": [{**IMAGE, "shape": [10**4000, 10**4000, 3]}]},
        {"inputs": [{**IMAGE, "data": [10**400] * 6}]},
        {"inputs": [_binary(5)]},
        {"inputs": [_binary(6)]},
        {"inputs": [_binary(-6)]},
        {"inputs": [_binary("6")]},
        {"inputs": [IMAGE], "id": 5},
        {"inputs": [IMAGE], "id": "x" * 1000},
        {"inputs": [IMAGE], "outputs": [{"name": "OTHER"}]},
        {"inputs": [IMAGE], "outputs": {}},
        {"inputs": [IMAGE], "outputs": [{"name": "UPSCALED", "parameters": {"shared": 1}}]},
        {"inputs": [IMAGE, {"name": "SEED", "datatype": "INT64", "shape": [2], "data": [1, 2]}]},
        {"inputs": [IMAGE, {"name": "SEED", "datatype": "UINT64", "shape": [1], "data": [1e30]}]},
    ],
)
def test_a_request_that_is_not_the_protocols_is_400(request_: Any) -> None:
    body = request_ if isinstance(request_, bytes) else json.dumps(request_).encode()
    with pytest.raises(RefusedError) as refused:
        parse(body, None)
    assert refused.value.status == 400


@pytest.mark.parametrize("datatype", ["UINT8", "FP32"])
def test_one_long_text_among_the_values_costs_no_more_than_the_body(datatype: str) -> None:
    name, shape = ("IMAGE", [1, 1, 3]) if datatype == "UINT8" else ("TAU", [1])
    tensor = {
        "name": name,
        "datatype": datatype,
        "shape": shape,
        "data": ["x" * 200] + [""] * 50_000,
    }
    body = json.dumps({"inputs": [tensor]}).encode()
    tracemalloc.start()
    try:
        with pytest.raises(RefusedError) as refused:
            parse(body, None)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused.value.status == 400
    assert most < 20 * len(body)


@pytest.mark.parametrize("length", ["", "-1", "0", "1e3", "999999", "9" * 5000, "٣"])
def test_a_header_length_beyond_the_body_is_400(length: str) -> None:
    with pytest.raises(RefusedError) as refused:
        parse(json.dumps({"inputs": [IMAGE]}).encode(), length)
    assert refused.value.status == 400


def test_much_json_is_413() -> None:
    with pytest.raises(RefusedError, match="send tensors as bytes") as refused:
        parse(b" " * 4_000_001, None)
    assert refused.value.status == 413


def test_bytes_after_the_last_input_are_400() -> None:
    header = json.dumps({"inputs": [_binary(6)]}).encode()
    assert parse(header + bytes(6), str(len(header))).image.shape == (1, 2, 3)
    with pytest.raises(RefusedError, match="1 bytes come after"):
        parse(header + bytes(7), str(len(header)))
