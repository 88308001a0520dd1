"""Types of every cast and Q/DQ pair, float16 where it holds, INT8 by measurement."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from calib.encodings import FP8
from export import tile_grid
from export.engine.compile import compile_graph
from export.engine.options import EngineOptions
from export.errors import BudgetError, ExportError
from export.folded.fold import GraphSpec, deploy
from export.graph import trace
from export.pipeline import Request, build
from export.precision import calibration_cache, evaluation, int8, lower
from export.precision.evaluation import evaluator, inputs_of
from export.precision.lower import Calibration
from hcflow.cli.program import application
from hcflow.models import shipped
from hcflow_ref.checkpoint.load import load
from hcflow_ref.checkpoint.shipped import calibrations
from hcflow_ref.network.hcflow import HCFlow
from runtime.bundle.manifest import Loss, Manifest
from runtime.bundle.reader import Bundle
from tests.support.engine_graphs import SIZES, ranges
from tests.support.golden_files import weights

NETWORK = "rescale_x4"
TYPES = onnx.TensorProto
INT8 = GraphSpec("inverse", "int8")


@pytest.fixture(scope="module", autouse=True)
def _small_crops() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "PHOTOGRAPH_SIDE", 64)
        patch.setattr(lower, "CROP_SIDE", 12)
        patch.setattr(tile_grid, "certify", lambda graphs, *_: graphs)  # has tests of its own
        yield


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Procedural images: smooth fields with edges and noise."""
    folder = tmp_path_factory.mktemp("calibration")
    y, x = np.mgrid[:160, :160] / 160
    for seed in range(4):
        random = np.random.default_rng(seed)
        waves = [np.sin(random.uniform(3, 40) * x + random.uniform(3, 40) * y) for _ in range(3)]
        image = 0.5 + 0.3 * np.stack(waves, -1) * (x + y > random.uniform(0.5, 1.5))[..., None]
        image += random.normal(0, 0.02, image.shape)
        pixels = (image.clip(0, 1) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def bundle(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("bundle") / "b"
    request = Request(
        "small",
        ("inverse",),
        ("fp32", "fp16"),
        calibration=photographs,
        int8_budget_db=50.0,
        accept_over_budget=True,
    )
    return folder, build(load(weights(NETWORK)), folder, request)


def graph(bundle: tuple[Path, Manifest], name: str) -> onnx.ModelProto:
    folder, manifest = bundle
    (entry,) = [g for g in manifest.graphs if g.precision == name]
    return onnx.load(folder / entry.file)


def types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    found = {i.name: i.data_type for i in inferred.initializer}
    for value in (*inferred.value_info, *inferred.input, *inferred.output):
        found[value.name] = value.type.tensor_type.elem_type
    return found


@pytest.mark.parametrize("name", ["fp16", "int8"])
def test_casts_go_between_float32_and_float16_and_are_counted(
    bundle: tuple[Path, Manifest], name: str
) -> None:
    model = graph(bundle, name)
    known = types(model)
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    for node in casts:
        assert {known[node.input[0]], known[node.output[0]]} == {TYPES.FLOAT, TYPES.FLOAT16}
    (entry,) = [g for g in bundle[1].graphs if g.precision == name]
    assert entry.casts == len(casts)
    owners = [node.name.rsplit("/", 1)[0] for node in casts]
    assert max(map(owners.count, owners)) <= 2


def test_every_pair_is_symmetric_per_channel_and_before_a_convolution(
    bundle: tuple[Path, Manifest],
) -> None:
    model = graph(bundle, "int8")
    known = types(model)
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    makers = {out: node for node in model.graph.node for out in node.output}
    readers = {name: node for node in model.graph.node for name in node.input}
    pairs = [n for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs
    for node in pairs:
        assert known[node.input[1]] == TYPES.FLOAT16
        assert constants[node.input[2]].dtype == np.int8
        assert not constants[node.input[2]].any()
        assert (constants[node.input[1]] > 0).all()
    for node in model.graph.node:
        if node.op_type != "Conv":
            continue
        source = makers[node.input[0]]
        if source.op_type != "DequantizeLinear":
            continue
        assert not node.name.endswith("/linear")
        weight = makers[node.input[1]]
        scale = constants[weight.input[1]]
        assert scale.shape == (constants[weight.input[0]].shape[0],)
        assert known[node.input[2]] == TYPES.FLOAT16
        low = makers[source.input[0]]
        largest = np.abs(constants[weight.input[0]].astype(int)).max()
        if low.op_type == "Concat":  # what OpenVINO needs: INT8 before the concatenation
            assert {makers[part].op_type for part in low.input} == {"QuantizeLinear"}
            assert {makers[part].input[1] for part in low.input} == {source.input[1]}
            assert largest <= 127
        else:
            assert low.op_type == "QuantizeLinear"
            assert largest <= 63
        assert readers[source.output[0]] is not None


def test_the_int8_graph_computes_what_was_measured(bundle: tuple[Path, Manifest]) -> None:
    """ONNX Runtime without optimisation runs each Q/DQ as written."""
    folder, manifest = bundle
    (entry,) = [g for g in manifest.graphs if g.precision == "int8"]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(folder / entry.file, options)
    (row,) = [r for r in entry.losses if r.case == "coffee" and r.tau == 0]
    assert row.psnr_fp32_db is not None
    model = load(weights(NETWORK)).model
    (truth,) = [x for name, x in evaluation.photograph_trials(4) if name == "coffee"]
    trial = inputs_of(model, GraphSpec("inverse"), truth, 0.0)
    (low,) = session.run(["hr"], trial.inputs)
    spec = GraphSpec("inverse", "fp16")
    measured = evaluator(model, spec, trace.trace(deploy(model, spec)))
    got = measured.psnr(low.clip(0, 1), measured.exact_image(trial))[0]
    assert got == pytest.approx(row.psnr_fp32_db, abs=1.0)


def test_openvino_computes_the_int8_graph_right(bundle: tuple[Path, Manifest]) -> None:
    """Its own concatenation of quantised parts would be wrong by a quarter (docs/precision.md)."""
    openvino = pytest.importorskip("openvino")
    folder, manifest = bundle
    (entry,) = [g for g in manifest.graphs if g.precision == "int8"]
    model = load(weights(NETWORK)).model
    (truth,) = [x for name, x in evaluation.photograph_trials(4) if name == "coffee"]
    trial = inputs_of(model, GraphSpec("inverse"), truth, 0.0)
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(folder / entry.file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    found = next(iter(compiled.create_infer_request().infer(trial.inputs).values()))
    convolutions = [
        str(op.get_rt_info()["runtimePrecision"].astype(str))
        for op in compiled.get_runtime_model().get_ordered_ops()
        if str(op.get_rt_info()["layerType"].astype(str)) == "Convolution"
    ]
    assert sum(kind in ("u8", "i8") for kind in convolutions) > 0.5 * len(convolutions)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(folder / entry.file, options)
    (want,) = session.run(["hr"], trial.inputs)
    (single,) = [g for g in manifest.graphs if g.precision == "fp32"]
    (exact,) = onnxruntime.InferenceSession(folder / single.file).run(["hr"], trial.inputs)
    noise = np.mean(np.square(want - exact))
    assert np.mean(np.square(found - exact)) < 1.5 * noise + 1e-8


def test_the_report_stands_beside_the_graph_and_is_removed_with_it(
    bundle: tuple[Path, Manifest],
) -> None:
    folder, manifest = bundle
    for entry in manifest.graphs:
        if entry.precision == "fp32":
            assert entry.report is None
            continue
        assert entry.report is not None
        figures = json.loads((folder / entry.report).read_text())
        assert figures["graph"] == entry.file
        page = (folder / entry.report.replace(".json", ".html")).read_text()
        assert "data:image/png;base64," in page
        assert "http" not in page
        assert ("<svg" in page) == (entry.precision == "int8")
        assert {row.case for row in entry.losses} == {"astronaut", "chelsea", "coffee", "rocket"}


def test_verify_says_what_each_precision_is_and_costs(bundle: tuple[Path, Manifest]) -> None:
    folder, manifest = bundle
    arguments = ["verify", "--backend", "onnxruntime"]
    result = CliRunner().invoke(application(), [*arguments, str(folder), "--json"])
    (report,) = json.loads(result.stdout)["backends"]
    assert [row["precision"] for row in report["precisions"]] == ["fp32", "fp16", "int8"]
    for row, entry in zip(report["precisions"], manifest.graphs, strict=True):
        assert (row["bytes"], row["nodes"], row["casts"]) == (
            entry.bytes,
            entry.nodes,
            entry.casts,
        )
        assert len(row["losses_when_built"]) == len(entry.losses)
    assert "inverse int8" in CliRunner().invoke(application(), [*arguments, str(folder)]).stdout


def record_of(bundle: tuple[Path, Manifest]) -> dict[str, Any]:
    folder, manifest = bundle
    (entry,) = [g for g in manifest.graphs if g.precision == "int8"]
    assert entry.report is not None
    report: dict[str, Any] = json.loads((folder / entry.report).read_text())
    return report


def test_a_cached_calibration_gives_the_same_graph_without_photographs(
    bundle: tuple[Path, Manifest], tmp_path: Path
) -> None:
    checkpoint = load(weights(NETWORK))
    record = record_of(bundle)
    assert record["checkpoint"] == checkpoint.sha256
    assert record["int8"]["taus"] == [0.0, checkpoint.default_tau]
    request = Request(
        "small",
        ("inverse",),
        int8_budget_db=50.0,
        accept_over_budget=True,
        cached_calibrations={"inverse": calibration_cache.read(record)},
    )
    made = build(checkpoint, tmp_path / "b", request)
    files = {g.precision: g.file for g in made.graphs}
    assert files == {g.precision: g.file for g in bundle[1].graphs if g.precision != "fp16"}
    assert record_of((tmp_path / "b", made)) == record


def test_a_cached_calibration_of_int8_is_restored_in_fp8(bundle: tuple[Path, Manifest]) -> None:
    record = calibration_cache.read(record_of(bundle))
    spec = GraphSpec("inverse", "fp8", target="rtx")
    model = load(weights(NETWORK)).model
    traced = trace.trace(deploy(model, spec, frozenset(record.kept)))
    made = calibration_cache.restore(evaluator(model, spec, traced), record, 1e-9, FP8)
    assert made.encoding is FP8
    assert made.ranges.keys() < record.ranges.keys()  # chained convolutions stay in float16
    assert len(made.quantised) == len(made.ranges)
    assert made.method == "minmax"
    assert all(0 < reach < np.inf for reach in made.ranges.values())
    assert np.isnan(made.choice.loss_db)  # of FP8 the record knows no loss


@pytest.mark.slow
def test_a_cached_calibration_of_int8_gives_an_fp8_graph_without_photographs(
    bundle: tuple[Path, Manifest], tmp_path: Path
) -> None:
    record = calibration_cache.read(record_of(bundle))
    request = Request(
        "small",
        ("inverse",),
        fp8_budget_db=50.0,
        accept_over_budget=True,
        cached_calibrations={"inverse": record},
    )
    made = build(load(weights(NETWORK)), tmp_path / "b", request)
    assert [entry.title for entry in made.graphs] == ["inverse fp32", "inverse fp8 for rtx"]
    opened = Bundle.open(tmp_path / "b")
    model = onnx.load_from_string(opened.read_graph(made.graphs[1]))
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert {kinds[node.input[2]] for node in pairs} == {TYPES.FLOAT8E4M3FN}
    dequantised = {n.output[0] for n in model.graph.node if n.op_type == "DequantizeLinear"}
    convs = [node for node in model.graph.node if node.op_type == "Conv"]
    in_fp8 = {node.name for node in convs if node.input[1] in dequantised}
    assert in_fp8
    assert in_fp8 < record.ranges.keys()  # chained convolutions stay in float16
    assert all(np.isfinite(row.loss_db) for row in made.graphs[1].losses)


def test_an_fp8_graph_from_a_cached_calibration_is_held_to_its_budget() -> None:
    spec = GraphSpec("inverse", "fp8", target="rtx")
    losses = [Loss("a", 0.0, 40.0, 0.2), Loss("b", 0.0, 40.0, 0.1), Loss("a", 0.9, 40.0, 9.0)]
    lower._check_photographs(spec, losses, 0.16)
    with pytest.raises(BudgetError, match=r"loses 0\.150 dB .* more than 0\.1: give --calibration"):
        lower._check_photographs(spec, losses, 0.1)


def test_a_record_that_does_not_fit_is_refused(
    bundle: tuple[Path, Manifest], tmp_path: Path
) -> None:
    model = load(weights(NETWORK)).model
    fitting = calibration_cache.read(record_of(bundle))
    some = next(iter(fitting.channels))
    for record, budget, message in (
        (replace(fitting, channels={**fitting.channels, some: [1.0]}), 50.0, "does not fit"),
        (replace(fitting, ranges={"level9/conv": 1.0}), 50.0, "does not fit"),
        (fitting, fitting.choice.loss_db - 1e-6, "cached calibration loses"),
    ):
        calibration = Calibration(int8_budget_db=budget, cached=record)
        with pytest.raises(ExportError, match=message):
            lower.lower(model, INT8, record.taus, calibration, None, lambda _: None)
    for other in ({"tau": 1.5}, {"with_latents": False}, {"directions": ("inverse", "forward")}):
        request = Request(
            "x", ("inverse",), int8_budget_db=50.0, cached_calibrations={"inverse": fitting}
        )
        with pytest.raises(ExportError, match="no cached calibration for"):
            build(load(weights(NETWORK)), tmp_path / "b", replace(request, **other))
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "checkpoint": "x", "int8": {}}']
)
def test_a_damaged_record_is_named(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.inverse.int8.json").write_text(text)
    monkeypatch.setattr(
        calibration_cache, "calibrations", lambda _: [tmp_path / "x.inverse.int8.json"]
    )
    with pytest.raises(ExportError, match=r"x\.inverse\.int8\.json' is not a cached calibration"):
        calibration_cache.of_shipped("x", "x")


def test_shipped_records_are_of_the_shipped_weights() -> None:
    for name, path in shipped.weights().items():
        files = calibrations(name)
        found = calibration_cache.of_shipped(name, load(path).sha256)
        assert len(found) == len(files)
        for record in found.values():
            assert record.choice.loss_db <= evaluation.MOST_LOSS_DB["int8"]
    assert len(calibrations("rescale_x4")) == 2


def test_a_network_with_too_little_float16_is_not_blamed_on_the_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = SimpleNamespace(work={"level0.cond": 0.5, "level1.cond": 0.3})
    monkeypatch.setattr(int8, "prepare", lambda *_: few)
    with pytest.raises(BudgetError, match=r"80% of its multiply-adds .* at least 85% .* budget"):
        int8.choose(*[None] * 4, 0.1, print)  # type: ignore[arg-type]


def lower_for_tau_0(model: HCFlow) -> lower.Lowered:
    spec = GraphSpec("inverse", "fp16", latents=False)
    return lower.lower(model, spec, (0.0,), Calibration(), None, lambda _: None)


def test_a_seeded_overflow_is_named_and_kept_out_of_float16() -> None:
    model = load(weights("sr_x4")).model
    net = model.levels[1].cond.steps[0].net
    with torch.no_grad():  # the same function, by way of values around 1e6
        net.conv1.actnorm.logs += np.log(1e6)
        net.conv2.weight *= 1e-6
    lowered = lower_for_tau_0(model)
    seeded = "level1.cond.steps.0.coupling"
    assert list(lowered.kept) == [seeded]
    tensor, largest = lowered.kept[seeded]
    assert tensor.startswith(f"{seeded}.net")
    assert largest > 1e4
    kept = lowered.traced.get_submodule(f"{seeded}.net.conv1")
    assert kept.weight.dtype == torch.float32
    assert lowered.traced.get_submodule("level0.cond.conv_first").weight.dtype == torch.float16
    assert max(row.loss_db for row in lowered.losses) < 0.02


def test_a_model_that_overflows_everywhere_is_refused() -> None:
    model = load(weights("sr_x4")).model
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight *= 1e5
    with pytest.raises(ExportError, match="every network of this model exceeds 10000"):
        lower_for_tau_0(model)


def test_a_budget_that_cannot_be_met_says_what_was_reached(
    photographs: Path, tmp_path: Path
) -> None:
    request = Request("x", ("inverse",), calibration=photographs, int8_budget_db=-100.0)
    with pytest.raises(
        BudgetError, match=r"at least 85% are required\. The worst blocks are level"
    ):
        build(load(weights(NETWORK)), tmp_path / "b", request)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--int8", "--model", "nonsense"], "no shipped model is called 'nonsense'"),
        (["--int8", "--checkpoint", "x"], "--int8 needs --calibration DIR"),
        (["--calibration", "x"], "--calibration is for --fp16, --int8, --fp8: add one"),
        (["--fp16", "--int8-budget", "1"], "--int8-budget is for --int8"),
        (["--fp16", "--calibration", "/nowhere"], "no such folder"),
        (["--int8", "--calibration", "/nowhere"], "no such folder"),
    ],
)
def test_the_command_says_what_is_missing(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    result = CliRunner().invoke(
        application(), ["build", *arguments, "--output", str(tmp_path / "b")]
    )
    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())


def test_the_int8_graph_compiles_for_an_nvidia_gpu(bundle: tuple[Path, Manifest]) -> None:
    pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx-cu13 (240 MB)")
    folder, manifest = bundle
    options = EngineOptions("tensorrt-rtx", SIZES, compute_capabilities=("8.9",))
    (entry,) = [graph for graph in manifest.graphs if graph.precision == "int8"]
    data = Bundle.open(folder).read_graph(entry)
    assert compile_graph(data, (ranges(data),), "int8", options).data
