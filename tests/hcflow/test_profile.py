"""`hcflow profile`: percentiles, counted work, layers, the floor, and a page that stands alone."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from export.graph import cost
from hcflow.commands.profile import profile
from hcflow.measure import profile as measure
from hcflow.pages.profile import HEADINGS, cells, page
from hcflow_ref.checkpoint.load import load
from runtime.backends import open_session
from runtime.backends.onnxruntime import OnnxRuntimeSession
from runtime.backends.session import Layer
from runtime.bundle.manifest import Numerics
from runtime.bundle.reader import Bundle
from runtime.checks import latency
from runtime.checks.layer_times import by_kind, layers
from runtime.errors import BundleError
from tests.support.bundles import inverse_graph, write_bundle
from tests.support.engine_graphs import onnx_bytes
from tests.support.golden_files import weights

NUMERICS = Numerics(False, "float32", "f32")
INVERSE = {"lr": (1, 3, 8, 8), "z1": (1, 6, 16, 16), "z2": (1, 21, 8, 8)}


def test_percentiles_are_times_that_were_measured() -> None:
    times = [float(n) for n in range(1, 101)]
    found = latency.summary(times[::-1])
    assert (found.runs, found.p50, found.p90, found.p99, found.mean) == (100, 50, 90, 99, 50.5)
    assert latency.summary([3.0]).p99 == 3.0


def test_warm_up_runs_are_not_counted_and_slow_runs_are_few() -> None:
    clock = itertools.count()
    runs = []
    found = latency.measure(lambda: runs.append(1), 0.5, lambda: float(next(clock)))
    assert found.runs == latency.FEWEST_RUNS
    assert len(runs) == latency.FEWEST_RUNS + latency.WARM_UP_RUNS


def test_the_floor_is_the_larger_of_work_and_traffic() -> None:
    ceiling = latency.Ceiling("x", flops=100, bandwidth=10, source="")
    assert ceiling.floor(1000, 10) == 10
    assert ceiling.floor(10, 1000) == 100


def test_a_gpu_is_found_by_its_exact_name_and_count_of_multiprocessors() -> None:
    found = latency.gpu_ceiling("NVIDIA L40S", "fp16", 142)
    assert found
    assert (found.name, found.flops, found.bandwidth) == ("L40S", 362e12, 864e9)
    assert latency.gpu_ceiling("NVIDIA A100-SXM4-40GB", "int8", 108)
    assert latency.gpu_ceiling("Tesla T4", "fp16", 40)
    assert latency.gpu_ceiling("NVIDIA GeForce RTX 4090", "fp8", 128)


@pytest.mark.parametrize(
    ("name", "multiprocessors"),
    [
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 14),
        ("NVIDIA A100-SXM4-40GB", 42),  # a slice, were its name the whole card's
        ("NVIDIA T400", 6),
        ("NVIDIA L20", 92),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 76),
        ("NVIDIA GeForce RTX 3080", 70),  # the later one with 12 GB
        ("NVIDIA GeForce 8800", 16),
        ("", 0),
    ],
)
def test_what_is_not_in_the_table_of_gpus_is_unknown(name: str, multiprocessors: int) -> None:
    assert latency.gpu_ceiling(name, "fp32", multiprocessors) is None


def test_a_precision_that_a_gpu_has_not_is_unknown() -> None:
    assert latency.gpu_ceiling("NVIDIA A10", "fp8", 72) is None
    assert latency.gpu_ceiling("NVIDIA A10", "fp4", 72) is None


def test_work_is_counted_by_hand_on_a_graph_of_one_convolution() -> None:
    # 1×1 convolution of 48 channels to 48 at every LR pixel; every tensor once, four bytes each.
    side = 4
    shapes = {"lr": (1, 3, side, side), "z1": (1, 6, 8, 8), "z2": (1, 21, side, side)}
    found = cost.count(inverse_graph(True), shapes)
    assert found.convolutions == 1
    assert found.flops == 2 * 48 * 48 * side**2
    assert found.bytes == 4 * (48 * 48 + 2 * 48 * side**2)


def test_work_grows_with_the_pixels_and_bytes_halve_in_fp16() -> None:
    small = cost.count(onnx_bytes("rescale_x4", "inverse", "fp32"), INVERSE)
    double = {name: (2, *shape[1:]) for name, shape in INVERSE.items()}
    assert cost.count(onnx_bytes("rescale_x4", "inverse", "fp32"), double).flops == 2 * small.flops
    half = cost.count(onnx_bytes("rescale_x4", "inverse", "fp16"), INVERSE)
    assert half.flops == small.flops
    assert half.bytes < small.bytes


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_layers_carry_the_graphs_names_and_their_times(backend: str) -> None:
    pytest.importorskip(backend)
    data = inverse_graph(True)
    random = np.random.default_rng(0)
    feeds = {name: random.random(shape, "float32") for name, shape in INVERSE.items()}
    found = layers(open_session(backend, data, NUMERICS, 1), feeds)
    assert found
    assert all(layer.seconds > 0 for layer in found)
    assert [x.seconds for x in found] == sorted((x.seconds for x in found), reverse=True)
    assert any("conv" in layer.kind.lower() for layer in found)


def test_a_backend_without_a_profiler_gives_no_layers() -> None:
    session = OnnxRuntimeSession(inverse_graph(True), ["CPUExecutionProvider"], 1)
    assert layers(session, {}) is None


def test_layers_are_summed_by_kind() -> None:
    found = [Layer("a", "Conv", 1), Layer("b", "Add", 3), Layer("c", "Conv", 4)]
    assert list(by_kind(found).items()) == [("Conv", 5), ("Add", 3)]


def run(*arguments: str | Path) -> str:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(profile)
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_measures_every_setting_asked_for(tmp_path: Path) -> None:
    bundle, page = write_bundle(tmp_path / "b"), tmp_path / "page.html"
    output = run(
        *(bundle, "--backend", "onnxruntime", "--direction", "both", "--size", "4x4"),
        *("--size", "8x6", "--batch", "1", "--batch", "2", "--seconds", "0.01"),
        *("--threads", "1", "--html", page, "--json"),
    )
    found = json.loads(output)["profiles"]
    assert len(found) == 2 * 2 * 2
    for each in found:
        assert each["latency"]["p50"] <= each["latency"]["p90"] <= each["latency"]["p99"]
        assert each["floor"] > 0
        assert each["flops"] > 0
        assert each["images_per_second"] > 0
        assert each["layers"]
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") >= 1 + 2 * len(found)
    assert "http" not in text  # nothing is fetched
    assert "<script" not in text


def test_a_backend_that_does_not_work_is_skipped_with_its_reason(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", directions=["inverse"])
    output = run(
        *(bundle, "--backend", "onnxruntime", "--backend", "tensorrt-rtx", "--size", "4x4"),
        *("--seconds", "0.01", "--json"),
    )
    works, fails = json.loads(output)["profiles"]
    assert works["skipped"] is None
    assert fails["latency"] is None
    assert fails["skipped"]


def test_int8_on_a_processor_has_no_floor_by_its_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "cpu_ceiling", pytest.fail)
    folder = write_bundle(tmp_path / "b", directions=["inverse"], precision="int8")
    bundle = Bundle.open(folder)
    (setting,) = measure.settings(["onnxruntime"], bundle, ("inverse",), None, [(4, 4)], [1])
    found = measure.profile(bundle, setting, 1, 0.01)
    assert found.skipped is None
    assert found.floor is None
    assert found.ceiling == "this CPU's int8 peak is not known"
    figures = dict(zip(HEADINGS, cells(found), strict=True))
    assert figures["÷ floor"] == "–"


def test_the_reference_runs_eager_and_compiled_beside_the_backends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(write_bundle(tmp_path / "b"))
    network = load(weights("rescale_x4")).network
    (setting,) = measure.settings(["onnxruntime"], bundle, ("forward",), None, [(2, 2)], [1])
    monkeypatch.setattr(torch, "compile", lambda call: call)  # its own time is not ours to test
    for compiled, name in ((False, "PyTorch eager"), (True, "torch.compile")):
        found = measure.reference(network, bundle, setting, 0.01, 1, compiled)
        assert found.setting.backend == name
        assert found.latency is not None, found.skipped


def test_the_reference_may_be_an_irn(tmp_path: Path) -> None:
    bundle, checkpoint = write_bundle(tmp_path / "b"), weights("irn_x4")
    manifest = bundle / "manifest.json"
    text = manifest.read_text(encoding="utf-8").replace("0" * 64, load(checkpoint).sha256)
    manifest.write_text(text, encoding="utf-8")
    output = run(
        *(bundle, "--backend", "onnxruntime", "--direction", "forward", "--size", "4x4"),
        *("--seconds", "0.01", "--reference", "--no-torch-compile", "--checkpoint", checkpoint),
        "--json",
    )
    eager = json.loads(output)["profiles"][-1]
    assert eager["setting"]["backend"] == "PyTorch eager"
    assert eager["latency"], eager["skipped"]


def test_a_checkpoint_of_the_reference_that_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    bundle, checkpoint = write_bundle(tmp_path / "b"), tmp_path / "none.pth"
    with pytest.raises(BundleError, match="cannot be read"):
        run(bundle, "--reference", "--checkpoint", checkpoint)


def test_names_in_the_page_are_text_and_never_markup(tmp_path: Path) -> None:
    bundle = Bundle.open(write_bundle(tmp_path / "b", directions=["inverse"]))
    (setting,) = measure.settings(["onnxruntime"], bundle, ("inverse",), None, [(4, 4)], [1])
    evil = measure.Profile(
        setting,
        1,
        latency=latency.summary([1.0]),
        layers=(Layer("<script>x</script>", "<b>", 1.0),),
    )
    text = page("<i>", ["<u>"], [evil])
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "<i>" not in text
