"""`hcflow triton`: repositories that Triton's own definition parses, and its real server runs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from typer.testing import CliRunner

import runtime
from hcflow.cli.program import application
from hcflow.serving.triton import config, repository
from runtime.bundle.engines.entry import Engine, Memory, Range
from runtime.bundle.manifest import Manifest
from runtime.bundle.reader import Bundle
from runtime.errors import FileError, ParameterError
from tests.support import triton_server
from tests.support.bundles import write_bundle

PARAMETERS = {"backend": "onnxruntime", "precision": "fp32"}
ROOT = Path(__file__).parents[2]
SITE = str(Path(np.__file__).parents[1])


def _parsed(path: Path | str) -> Any:
    text = path.read_text() if isinstance(path, Path) else path
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def _with_bytes(manifest: Manifest) -> Manifest:
    """A manifest whose inverse graph has bytes at its boundary and a TensorRT engine."""
    graphs = tuple(
        replace(graph, io="uint8" if graph.direction == "inverse" else graph.io, tile=40, overlap=8)
        for graph in manifest.graphs
    )
    inverse = next(graph for graph in graphs if graph.direction == "inverse")
    engine = Engine(
        file="inverse.plan",
        sha256="1" * 64,
        bytes=4,
        graph=inverse.sha256,
        direction="inverse",
        precision="fp32",
        latents=True,
        library="tensorrt",
        version="10.7.0",
        compute_capabilities=("8.9",),
        profiles=({"lr": Range((1, 1, 1, 3), (1, 48, 48, 3), (4, 64, 64, 3))},),
        tf32=False,
        version_compatible=False,
        hardware="none",
        refittable=False,
        optimization_level=None,
        build_seconds=1.0,
        memory=Memory(None, None, None),
    )
    return replace(manifest, graphs=graphs, engines=(json.loads(json.dumps(asdict(engine))),))


def test_the_python_model_takes_images_of_any_size_one_at_a_time(tmp_path: Path) -> None:
    bundle = Bundle.open(write_bundle(tmp_path / "tiny"))
    written = repository.write(bundle, tmp_path / "models", parameters=PARAMETERS, instances=2)
    assert written == ["tiny_x4"]
    parsed = _parsed(tmp_path / "models" / "tiny_x4" / "config.pbtxt")
    assert (parsed.name, parsed.backend, parsed.max_batch_size) == ("tiny_x4", "python", 0)
    inputs = {each.name: (each.data_type, list(each.dims), each.optional) for each in parsed.input}
    kinds = model_config_pb2
    assert inputs == {
        "IMAGE": (kinds.TYPE_UINT8, [-1, -1, -1], False),
        "TAU": (kinds.TYPE_FP32, [1], True),
        "SEED": (kinds.TYPE_UINT64, [1], True),
    }
    assert [each.name for each in parsed.output] == ["UPSCALED"]
    assert parsed.instance_group[0].count == 2
    assert not parsed.response_cache.enable
    assert parsed.version_policy.latest.num_versions == 1
    queue = parsed.dynamic_batching.default_queue_policy
    assert (queue.max_queue_size, queue.default_timeout_microseconds) == (16, 60_000_000)
    assert {k: v.string_value for k, v in parsed.parameters.items()} == PARAMETERS


def test_graphs_and_engines_with_bytes_are_native_models_of_tiles(tmp_path: Path) -> None:
    manifest = _with_bytes(Bundle.open(write_bundle(tmp_path / "tiny")).manifest)
    graph, engine = config.native_models("tiny", manifest)
    for model, platform, most, side in (
        (graph, "onnxruntime_onnx", config.MOST_BATCH, 56),
        (engine, "tensorrt_plan", 4, 48),
    ):
        parsed = _parsed(model.text)
        assert (parsed.name, parsed.platform, parsed.max_batch_size) == (model.name, platform, most)
        image, *latents = parsed.input
        assert (image.name, list(image.dims)) == ("lr", [-1, -1, 3])
        assert [list(z.dims) for z in latents] == [[6, -1, -1], [21, -1, -1]]
        result, health = parsed.output
        assert (result.name, list(result.dims)) == ("hr", [-1, -1, 3])
        assert (health.name, health.HasField("reshape")) == ("health", True)
        assert list(health.reshape.shape) == []
        (warm,) = parsed.model_warmup
        assert list(warm.inputs["lr"].dims) == [side, side, 3]
        assert list(warm.inputs["z1"].dims) == [6, 2 * side, 2 * side]
        assert parsed.HasField("dynamic_batching")
        assert not parsed.response_cache.enable
    assert (graph.file, engine.file) == (manifest.graphs[0].file, "inverse.plan")


@pytest.mark.parametrize("policy", ["version_policy", "dynamic_batching", "response_cache"])
def test_every_policy_is_explained_in_the_line_above_it(tmp_path: Path, policy: str) -> None:
    manifest = _with_bytes(Bundle.open(write_bundle(tmp_path / "tiny")).manifest)
    texts = [config.python_model("a", PARAMETERS, 1)]
    texts += [model.text for model in config.native_models("a", manifest)]
    for text in texts:
        lines = text.splitlines()
        (place,) = (i for i, line in enumerate(lines) if line.startswith(policy))
        assert lines[place - 1].startswith("# ")


def test_a_bundle_with_bytes_at_its_boundary_has_its_native_models_written(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "tiny")
    manifest = _with_bytes(Bundle.open(folder).manifest)
    (folder / "inverse.plan").write_bytes(b"plan")
    written = repository.write(
        Bundle(folder, manifest), tmp_path / "models", name="sr", parameters=PARAMETERS
    )
    assert written == ["sr", "sr_inverse_fp32_onnx", "sr_inverse_fp32_trt"]
    graph = tmp_path / "models" / "sr_inverse_fp32_onnx" / "1" / "model.onnx"
    assert graph.read_bytes() == (folder / manifest.graphs[0].file).read_bytes()
    plan = tmp_path / "models" / "sr_inverse_fp32_trt" / "1" / "model.plan"
    assert plan.read_bytes() == b"plan"
    assert sorted(os.listdir(tmp_path / "models")) == written


def test_what_stands_in_a_repository_stays(tmp_path: Path) -> None:
    bundle = Bundle.open(write_bundle(tmp_path / "tiny"))
    repository.write(bundle, tmp_path / "models", parameters=PARAMETERS)
    with pytest.raises(FileError, match="exists: give another repository, or --name"):
        repository.write(bundle, tmp_path / "models", parameters=PARAMETERS)
    repository.write(bundle, tmp_path / "models", name="other", parameters=PARAMETERS)
    with pytest.raises(ParameterError, match="is no name of a model"):
        repository.write(bundle, tmp_path / "models", name="../up", parameters=PARAMETERS)
    assert sorted(os.listdir(tmp_path / "models")) == ["other", "tiny_x4"]


def test_the_copied_runtime_runs_without_the_rest_of_the_project(tmp_path: Path) -> None:
    bundle = Bundle.open(write_bundle(tmp_path / "tiny"))
    repository.write(bundle, tmp_path / "models", parameters=PARAMETERS)
    version = tmp_path / "models" / "tiny_x4" / "1"
    code = (
        "import sys, numpy; sys.path.insert(0, sys.argv[1]); import runtime\n"
        "assert runtime.__file__.startswith(sys.argv[1])\n"
        "model = runtime.load(sys.argv[1] + '/bundle')\n"
        "assert model.upscale(numpy.zeros((2, 3, 3), numpy.uint8)).shape == (8, 12, 3)\n"
        "assert not {'torch', 'onnx', 'hcflow'} & set(sys.modules)\n"
    )
    words = [sys.executable, "-c", code, str(version)]
    run = subprocess.run(words, cwd=tmp_path, env={}, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()


def test_the_command_writes_what_it_says(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "tiny")
    words = ["triton", str(bundle), "-o", str(tmp_path / "models"), "--exact", "--threads", "2"]
    run = CliRunner().invoke(application(), [*words, "--python-path", "/opt/a:/opt/b", "--json"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["models"] == ["tiny_x4"]
    model = tmp_path / "models" / "tiny_x4"
    assert (model / "1" / "python_path").read_text() == "/opt/a\n/opt/b\n"
    given = {k: v.string_value for k, v in _parsed(model / "config.pbtxt").parameters.items()}
    assert given == {**PARAMETERS, "threads": "2"}
    assert CliRunner().invoke(application(), [*words, "--backend", "auto"]).exit_code == 2


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, runtime.Model]]:
    """The real server with a bundle whose large images have many tiles, and the bundle here."""
    folder = tmp_path_factory.mktemp("triton")
    bundle = Bundle.open(write_bundle(folder / "tiny", tile=16, overlap=4))
    repository.write(
        bundle,
        folder / "models",
        parameters={**PARAMETERS, "threads": "1"},
        python_path=[SITE],
    )
    with triton_server.running(folder / "models", folder / "server.log") as server:
        yield server, runtime.load(folder / "tiny", threads=1)


def _client(server: triton_server.Server, kind: str) -> tuple[Any, Any]:
    import tritonclient.grpc  # noqa: PLC0415 - seconds, which the fast tests do without
    import tritonclient.http  # noqa: PLC0415

    module = tritonclient.http if kind == "http" else tritonclient.grpc
    more = {"concurrency": 32} if kind == "http" else {}
    address = server.http if kind == "http" else server.grpc
    return module, module.InferenceServerClient(address, **more)


def _inputs(module: Any, image: Any, tau: float | None = None, seed: int | None = None) -> Any:
    arrays = {"IMAGE": (image, "UINT8")}
    if tau is not None:
        arrays["TAU"] = (np.array([tau], np.float32), "FP32")
    if seed is not None:
        arrays["SEED"] = (np.array([seed], np.uint64), "UINT64")
    given = []
    for name, (array, kind) in arrays.items():
        given.append(module.InferInput(name, list(array.shape), kind))
        given[-1].set_data_from_numpy(array)
    return given


def _picture(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, np.uint8)


def _metric(server: triton_server.Server, start: str) -> float:
    with urllib.request.urlopen(server.metrics) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(start))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["http", "grpc"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_answers_are_the_bytes_of_the_model_here(served: Any, kind: str, channels: int) -> None:
    server, model = served
    assert int(np.__version__.split(".")[0]) >= 2  # with which `Tensor(name, array)` has no bytes
    module, client = _client(server, kind)
    for size in ((1, 1), (7, 5), (60, 41)):
        image = _picture(*size, channels)
        answer = client.infer("tiny_x4", _inputs(module, image)).as_numpy("UPSCALED")
        assert np.array_equal(answer, model.upscale(image))
    answer = client.infer("tiny_x4", _inputs(module, image, 0.5, 2**64 - 1)).as_numpy("UPSCALED")
    assert np.array_equal(answer, model.upscale(image, tau=0.5, seed=2**64 - 1))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_what_is_wrong_with_a_request_is_its_own_answer_and_is_counted(
    served: Any, kind: str
) -> None:
    server, _ = served
    module, client = _client(server, kind)
    before = _metric(server, 'hcflow_requests_total{model="tiny_x4",outcome="refused"}')
    failures = _metric(server, "nv_inference_request_failure{")
    for image, tau, reason in (
        (_picture(3, 3, 5), None, "with C from 1 to 4"),
        (np.zeros((0, 3, 3), np.uint8), None, "has no pixels"),
        (_picture(3, 3, 3), -1.0, "τ is -1.0"),
    ):
        with pytest.raises(Exception, match=reason) as error:
            client.infer("tiny_x4", _inputs(module, image, tau))
        assert error.value.status() in ("400", "StatusCode.INVALID_ARGUMENT")
    after = _metric(server, 'hcflow_requests_total{model="tiny_x4",outcome="refused"}')
    assert after == before + 3
    assert _metric(server, "nv_inference_request_failure{") == failures  # why there are our own


@pytest.mark.slow
def test_the_request_and_the_probe_of_the_page_are_answered(served: Any) -> None:
    server, _ = served
    page = (ROOT / "docs" / "triton.md").read_text(encoding="utf-8").replace("sr_x4", "tiny_x4")
    (request,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    found: dict[str, Any] = {}
    exec(request.replace("127.0.0.1:8000", server.http), found)
    assert found["large"].shape == (160, 240, 3)
    ((path, body),) = re.findall(r"localhost:8000(\S+) \\\n\s+-d '(.*)'", page)
    with urllib.request.urlopen(f"http://{server.http}{path}", body.encode()) as answer:
        assert answer.status == 200


def _long_request(server: triton_server.Server) -> tuple[Any, list[Any]]:
    module, client = _client(server, "grpc")
    answers = list[Any]()
    image = np.zeros((1500, 1500, 3), np.uint8)
    call = client.async_infer(
        "tiny_x4", _inputs(module, image), lambda result, error: answers.append(result or error)
    )
    return call, answers


def _until(server: triton_server.Server, start: str, value: float) -> None:
    while _metric(server, start) < value:
        time.sleep(0.1)


@pytest.mark.slow
def test_a_cancelled_request_ends_between_two_tiles(served: Any) -> None:
    server, _ = served
    counter = 'hcflow_requests_total{model="tiny_x4",outcome="cancelled"}'
    before = _metric(server, counter)
    done = _metric(server, 'hcflow_requests_total{model="tiny_x4",outcome="done"}')
    call, _answers = _long_request(server)
    _until(server, 'nv_inference_pending_request_count{model="tiny_x4"', 0)
    time.sleep(1)  # the request is on its way; what follows holds however far it has come
    call.cancel()
    _until(server, counter, before + 1)
    assert _metric(server, 'hcflow_requests_total{model="tiny_x4",outcome="done"}') == done


@pytest.mark.slow
def test_a_full_queue_is_answered_by_503_and_what_waits_is_answered(served: Any) -> None:
    server, model = served
    module, client = _client(server, "http")
    call, _ = _long_request(server)
    time.sleep(1)
    pictures = [_picture(4, 4 + i, 3) for i in range(30)]
    calls = [client.async_infer("tiny_x4", _inputs(module, each)) for each in pictures]
    time.sleep(1)
    call.cancel()
    refused = list[str]()
    for picture, each in zip(pictures, calls, strict=True):
        try:
            answer = each.get_result().as_numpy("UPSCALED")
        except module.InferenceServerException as error:
            refused.append(error.status())
        else:
            assert np.array_equal(answer, model.upscale(picture))
    assert set(refused) == {"503"}


@pytest.mark.slow
def test_a_model_whose_process_was_killed_seems_ready_and_an_inference_tells(served: Any) -> None:
    server, model = served
    module, client = _client(server, "http")
    image = _picture(4, 4, 3)
    (stub,) = server.stubs()
    os.kill(stub, signal.SIGKILL)
    with pytest.raises(Exception, match="is not healthy"):
        client.infer("tiny_x4", _inputs(module, image))
    assert client.is_model_ready("tiny_x4")
    client.unload_model("tiny_x4")
    while client.is_model_ready("tiny_x4"):
        time.sleep(0.1)
    client.load_model("tiny_x4")
    answer = client.infer("tiny_x4", _inputs(module, image)).as_numpy("UPSCALED")
    assert np.array_equal(answer, model.upscale(image))
