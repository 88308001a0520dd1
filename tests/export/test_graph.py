"""A graph follows the contract and computes what the reference computes."""

import ast
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch

from export.errors import ExportError
from export.folded.fold import DTYPES, GraphSpec, deploy
from export.graph import contract, liveness, trace
from export.graph import emit as graph
from export.precision.emulation import emulate
from hcflow_ref.checkpoint.load import load
from hcflow_ref.network.config import HCFlowConfig, LevelConfig
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.synthetic_weights import synthetic
from runtime.bundle.manifest import Direction, Precision
from tests.support.golden_files import NETWORKS, arrays, latents, weights


def test_the_contract_names_every_operator_that_is_written() -> None:
    source = Path(graph.__file__).read_text(encoding="utf-8")
    texts = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    written = {text for text in texts if isinstance(text, str) and onnx.defs.has(text)}
    page = Path("docs/graph-contract.md").read_text(encoding="utf-8")
    named = page.partition("These are all that the exporter writes")[2].partition(
        "These are forbidden"
    )[0]
    assert {"Conv", "Tanh"} <= written
    assert [kind for kind in sorted(written) if f"`{kind}`" not in named] == []


def emit(
    model: HCFlow, direction: Direction, with_latents: bool = True, precision: Precision = "fp32"
) -> ir.Model:
    spec = GraphSpec(direction, precision, with_latents)
    traced = trace.trace(deploy(model, spec))
    emitted = graph.to_onnx(traced, model.config, spec)
    contract.check(emitted)
    return emitted


def session(model: ir.Model) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())


@pytest.mark.parametrize("network", NETWORKS)
def test_the_inverse_graph_gives_the_official_image(network: str) -> None:
    io = arrays(network)
    zs = {f"z{j + 1}": z.numpy() for j, z in enumerate(latents(io))}
    graph_ = session(emit(load(weights(network)).model, "inverse"))
    (hr,) = graph_.run(["hr"], {"lr": io["lr"].numpy()} | zs)
    assert np.abs(hr - io["inverse_hr_raw"].numpy()).max() <= 1e-5


@pytest.mark.parametrize("network", NETWORKS)
def test_the_forward_graph_gives_the_official_image_latents_and_likelihood(network: str) -> None:
    io = arrays(network)
    graph_ = session(emit(load(weights(network)).model, "forward"))
    names = [output.name for output in graph_.get_outputs()]
    got = dict(zip(names, graph_.run(None, {"hr": io["hr"].numpy()}), strict=True))
    assert np.abs(got["lr"] - io["forward_lr_raw"].numpy()).max() <= 1e-5
    for j, z in enumerate(latents(io, "forward_z")):
        assert np.abs(got[f"z{j + 1}"] - z.numpy()).max() <= 1e-5
    assert ("logp" in got) == ("forward_logp" in io)
    if "logp" in got:
        assert np.allclose(got["logp"], io["forward_logp"], rtol=1e-6)


@pytest.mark.parametrize("network", NETWORKS)
def test_an_inverse_without_latents_is_the_one_at_tau_0(network: str) -> None:
    model = load(weights(network)).model
    lr = arrays(network)["lr"]
    emitted = emit(model, "inverse", with_latents=False)
    assert [value.name for value in emitted.graph.inputs] == ["lr"]
    (hr,) = session(emitted).run(None, {"lr": lr.numpy()})
    assert np.abs(hr - model.inverse(lr, model.zero_latents(lr)).numpy()).max() <= 1e-5


@pytest.mark.parametrize("size", [(1, 1, 1), (3, 1, 7), (2, 5, 3)])
def test_batch_height_and_width_are_free(size: tuple[int, int, int]) -> None:
    n, h, w = size
    model = load(weights("sr_x8")).model
    zs = [torch.randn(n, *shape) for shape in model.config.latent_shapes(h, w)]
    lr = torch.rand(n, 3, h, w)
    feeds = {f"z{j + 1}": z.numpy() for j, z in enumerate(zs)} | {"lr": lr.numpy()}
    (hr,) = session(emit(model, "inverse")).run(None, feeds)
    assert np.abs(hr - model.inverse(lr, zs).numpy()).max() <= 1e-5
    lr_out = session(emit(model, "forward")).run(["lr"], {"hr": hr})[0]
    assert lr_out.shape == (n, 3, h, w)


@pytest.mark.parametrize(("network", "direction"), list(product(NETWORKS, ("inverse", "forward"))))
def test_nodes_and_initialisers_carry_their_path_in_the_reference(
    network: str, direction: Direction
) -> None:
    emitted = emit(load(weights(network)).model, direction)
    names = {node.name for node in emitted.graph if node.op_type == "Conv"}
    assert "level0/cond/trunk0/0/rdb2/conv4" in names
    assert "level1/steps/0/linear" in names
    assert "level1/cond/steps/0/coupling/net/conv3" in names
    assert "level0/cond/prior/conv" in names
    for name in names:
        assert {f"{name}/weight", f"{name}/bias"} <= emitted.graph.initializers.keys()


def test_two_builds_of_one_checkpoint_are_the_same_bytes() -> None:
    first, second = (
        ir.to_proto(emit(load(weights("rescale_x4")).model, "inverse")).SerializeToString(
            deterministic=True
        )
        for _ in range(2)
    )
    assert first == second


def test_a_forbidden_node_is_named() -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]>'
        "hcflow (float[N, 3, H, W] lr) => (float[N, 3, W, H] hr)"
        "{ [turn] hr = Transpose <perm = [0, 1, 3, 2]> (lr) }"
    )
    with pytest.raises(ExportError, match="'turn' is a standard Transpose"):
        contract.check(ir.from_proto(proto))


def casts(model: ir.Model) -> Counter[str]:
    """Number of casts by the coupling or feature extractor that holds them."""
    return Counter(node.name.rsplit("/", 1)[0] for node in model.graph if node.op_type == "Cast")


@pytest.mark.parametrize(("network", "direction"), list(product(NETWORKS, ("inverse", "forward"))))
def test_in_fp16_networks_are_half_the_state_is_single_and_casts_are_few(
    network: str, direction: Direction
) -> None:
    emitted = emit(load(weights(network)).model, direction, precision="fp16")
    inferred = onnx.shape_inference.infer_shapes(ir.to_proto(emitted), strict_mode=True)
    types = {v.name: v.type.tensor_type.elem_type for v in inferred.graph.value_info}
    for node in inferred.graph.node:
        if node.op_type == "Conv":
            expected = "FLOAT" if node.name.endswith("/linear") else "FLOAT16"
            assert types[node.output[0]] == onnx.TensorProto.DataType.Value(expected)
        if node.op_type in {"Exp", "Atan", "DepthToSpace"} and node.output[0] in types:
            assert types[node.output[0]] == onnx.TensorProto.FLOAT
    assert max(casts(emitted).values()) <= 2


@pytest.mark.parametrize(("task", "levels"), list(product(("sr", "rescaling"), (1, 2, 3))))
def test_graphs_of_every_depth_and_width_give_the_reference_and_undo_each_other(
    task: Literal["sr", "rescaling"], levels: int
) -> None:
    hyper = tuple(LevelConfig(1 + j, 4 + j, 2, 5, 6, 3, (1, j)) for j in range(levels))
    model = synthetic(HCFlowConfig(task, hyper))
    hr = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    outputs = session(emit(model, "forward")).run(None, {"hr": hr.numpy()})
    with torch.no_grad():
        reference = model(hr)
    for got, want in zip(outputs, (reference.lr, *reference.latents, reference.logp), strict=False):
        assert np.abs(got - want.numpy()).max() <= 1e-4 * np.abs(want.numpy()).max()
    names = ["lr", *(f"z{level + 1}" for level in range(levels))]
    feeds = dict(zip(names, outputs, strict=False))
    (back,) = session(emit(model, "inverse")).run(["hr"], feeds)
    assert np.abs(back - hr.numpy()).max() <= 1e-4


def test_emulation_sees_an_overflow_that_a_cpu_runtime_hides() -> None:
    model = load(weights("sr_x4")).model
    with torch.no_grad():
        model.levels[1].cond.features.conv_first.weight *= 1e6
        for block in ("trunk0", "trunk1"):
            for conv in getattr(model.levels[1].cond.features, block)[0].modules():
                if isinstance(conv, torch.nn.Conv2d):
                    conv.weight *= 1e-3
    traced = trace.trace(deploy(model, GraphSpec("inverse", "fp16", latents=False)))
    lr = np.ones((1, 3, 4, 4), np.float32)
    hr = emulate(traced, ["hr"], {"lr": lr})["hr"]
    assert not np.isfinite(hr).all()


def test_emulation_without_float16_is_the_module_itself() -> None:
    model = load(weights("sr_x4")).model
    module = deploy(model, GraphSpec("inverse", latents=False))
    lr = arrays("sr_x4")["lr"]
    got = emulate(trace.trace(module), ["hr"], {"lr": lr.numpy()})["hr"]
    assert np.array_equal(got, module(lr).numpy())


def test_emulation_equals_pytorch_in_float16() -> None:
    model = load(weights("rescale_x4")).model
    module = deploy(model, GraphSpec("inverse", "fp16", latents=False))
    assert module.level0.cond.conv_first.weight.dtype == DTYPES["fp16"]
    lr = arrays("rescale_x4")["lr"]
    got = emulate(trace.trace(module), ["hr"], {"lr": lr.numpy()})["hr"]
    exact = deploy(model, GraphSpec("inverse", latents=False))(lr).numpy()
    rounded = module(lr).numpy()
    # Sums run in another order, so single values differ; the error's size must agree.
    assert np.std(got - exact) == pytest.approx(np.std(rounded - exact), rel=0.1)


def test_memory_per_pixel_counts_what_lives_at_once() -> None:
    model = load(weights("sr_x4")).model
    traced = trace.trace(deploy(model, GraphSpec("inverse")))
    per_pixel = liveness.bytes_per_lr_pixel(traced)
    # lr, two latents and the finest level's coupling input with its feature are alive together.
    at_least = 4 * (4 * 6 + 4 * (6 + 2 * 16 + 3 + 32))
    assert at_least < per_pixel < 20 * at_least
