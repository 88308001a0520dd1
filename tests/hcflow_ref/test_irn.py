"""IRN is the official network, exactly, and is loaded from its file alone."""

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file

import runtime
from export.folded.fold import GraphSpec, deploy
from export.graph import contract, emit, trace
from export.pipeline import Request, build
from export.precision import evaluation
from hcflow_ref.checkpoint.load import load, save
from hcflow_ref.errors import CheckpointError
from hcflow_ref.network.irn import IRN, IRN_X4, IRNConfig
from hcflow_ref.network.synthetic_weights import synthetic

WEIGHTS = "tests/golden/irn_x4_small.safetensors"


@pytest.fixture(scope="module")
def golden():
    return {k: torch.from_numpy(v) for k, v in np.load("tests/golden/irn_x4_small_io.npz").items()}


@pytest.fixture(scope="module")
def irn():
    return load(WEIGHTS).network


def largest_error(a, b):
    return (a - b).abs().max().item()


def test_forward_gives_the_official_lr_and_latent(irn, golden):
    lr, (z,), _ = irn(golden["hr"])
    assert largest_error(lr, golden["forward_lr_raw"]) < 1e-5
    assert largest_error(z, golden["forward_z"]) < 1e-5


def test_inverse_gives_the_official_hr(irn, golden):
    hr = irn.inverse(golden["lr"], (golden["z"],))
    assert largest_error(hr, golden["inverse_hr_raw"]) < 1e-5


def test_inverse_undoes_forward_in_float64(golden):
    irn = load(WEIGHTS).network.double()
    hr = golden["hr"].double()
    lr, latents, _ = irn(hr)
    assert largest_error(irn.inverse(lr, latents), hr) < 1e-12


def test_logp_is_the_log_density_by_the_jacobian():
    torch.manual_seed(0)
    irn = IRN(IRNConfig((1, 1), (4, 4))).double()
    for p in irn.parameters():
        torch.nn.init.normal_(p, std=0.1)
    hr = torch.rand(1, 3, 4, 4, dtype=torch.float64)

    def flat(x):
        lr, (z,), _ = irn(x.reshape(hr.shape))
        return torch.cat([lr.flatten(), z.flatten()])

    jacobian = torch.autograd.functional.jacobian(flat, hr.flatten())
    z = irn(hr).latents[0]
    expected = (
        torch.distributions.Normal(0, 1).log_prob(z).sum() + torch.linalg.slogdet(jacobian)[1]
    )
    assert irn(hr).logp.item() == pytest.approx(expected.item(), rel=1e-9)


def test_the_published_network_has_the_published_size():
    irn = IRN(IRN_X4)
    assert sum(w.numel() for w in irn.state_dict().values()) == 4_355_376


def test_configuration_and_latent_shape_follow_from_the_file(irn):
    assert irn.config.scale == 4
    assert irn.config.latent_shapes(5, 7) == ((45, 5, 7),)
    assert [w.shape[0] for w in irn.zero_latents(torch.zeros(2, 3, 5, 7))] == [2]


def damaged(tmp_path, change):
    weights = load_file(WEIGHTS)
    change(weights)
    save_file(weights, tmp_path / "irn.safetensors")
    return tmp_path / "irn.safetensors"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda w: w.pop("operations.1.G.conv3.bias"), "operations.1.G.conv3.bias"),
        (lambda w: w["operations.2.H.conv1.weight"].fill_(torch.nan), "operations.2.H.conv1"),
        (lambda w: w["operations.0.haar_weights"].mul_(2), "operations.0.haar_weights"),
        (lambda w: w.update(extra=torch.zeros(1)), "extra"),
        (lambda w: w.pop("operations.1.F.conv1.weight"), "operations.1.F.conv1.weight"),
        (
            lambda w: w.update({"operations.1.F.conv1.weight": torch.zeros(10**6, 0, 3, 3)}),
            "operations.1.F.conv1.weight.*channels",
        ),
        (
            lambda w: w.update(
                {f"operations.{i}.haar_weights": torch.zeros(1) for i in range(100, 160)}
            ),
            "missing|levels",
        ),
    ],
)
def test_a_damaged_file_is_refused_by_the_key(tmp_path, change, named):
    with pytest.raises(CheckpointError, match=named):
        load(damaged(tmp_path, change))


def test_a_file_of_more_levels_than_there_are_is_refused_before_memory_is_asked_for(tmp_path):
    path = tmp_path / "irn.safetensors"
    save_file({f"operations.{i}.haar_weights": torch.zeros(1) for i in range(60)}, path)
    with pytest.raises(CheckpointError, match="60 levels, expected at most 4"):
        load(path)


def test_every_level_has_its_own_growth(tmp_path):
    path = tmp_path / "irn.safetensors"
    config = IRNConfig((1, 2), (3, 5))
    save(IRN(config), path, {})
    assert load(path).config == config


@pytest.mark.parametrize("count", [0, 2])
def test_another_number_of_latents_is_refused(irn, golden, count):
    with pytest.raises(ValueError, match=f"{count} latents given, expected 1"):
        irn.inverse(golden["lr"], (golden["z"],) * count)


def session(irn, direction, with_latents=True):
    spec = GraphSpec(direction, latents=with_latents)
    emitted = emit.to_onnx(trace.trace(deploy(irn, spec)), irn.config, spec)
    contract.check(emitted)
    return onnxruntime.InferenceSession(ir.to_proto(emitted).SerializeToString())


def test_the_inverse_graph_gives_the_official_hr(irn, golden):
    feeds = {"lr": golden["lr"].numpy(), "z1": golden["z"].numpy()}
    (hr,) = session(irn, "inverse").run(["hr"], feeds)
    assert np.abs(hr - golden["inverse_hr_raw"].numpy()).max() <= 1e-5


def test_the_forward_graph_gives_the_official_lr_and_latent(irn, golden):
    lr, z = session(irn, "forward").run(["lr", "z1"], {"hr": golden["hr"].numpy()})
    assert np.abs(lr - golden["forward_lr_raw"].numpy()).max() <= 1e-5
    assert np.abs(z - golden["forward_z"].numpy()).max() <= 1e-5


def test_an_inverse_without_latents_is_the_one_at_tau_0(irn, golden):
    (hr,) = session(irn, "inverse", with_latents=False).run(None, {"lr": golden["lr"].numpy()})
    expected = irn.inverse(golden["lr"], irn.zero_latents(golden["lr"])).numpy()
    assert np.abs(hr - expected).max() <= 1e-5


def test_nodes_carry_their_path_in_the_reference(irn):
    spec = GraphSpec("inverse")
    emitted = emit.to_onnx(trace.trace(deploy(irn, spec)), irn.config, spec)
    names = {node.name for node in emitted.graph}
    assert {"operations/0", "operations/1/F/conv5", "operations/2/H/conv1"} <= names


def test_every_depth_and_width_exports():
    for blocks in ((1,), (2, 1), (1, 1, 2)):
        model = synthetic(IRNConfig(blocks, tuple(range(3, 3 + len(blocks)))))
        scale = model.config.scale
        hr = torch.rand(2, 3, 3 * scale, 2 * scale)
        expected, (z,), _ = model(hr)
        feeds = {"lr": expected.numpy(), "z1": z.numpy()}
        lr, _ = session(model, "forward").run(["lr", "z1"], {"hr": hr.numpy()})
        assert np.abs(lr - expected.numpy()).max() <= 1e-5
        (back,) = session(model, "inverse").run(None, feeds)
        assert np.abs(back - hr.numpy()).max() <= 1e-4


def test_a_bundle_holds_checked_graphs_of_both_precisions_and_runs(tmp_path, golden, monkeypatch):
    monkeypatch.setattr(evaluation, "PHOTOGRAPH_SIDE", 64)
    request = Request("irn", precisions=("fp32", "fp16"))
    manifest = build(load(WEIGHTS), tmp_path / "bundle", request)
    assert len(manifest.graphs) == 6
    assert all(graph.within_budget for graph in manifest.graphs)
    assert (manifest.task, manifest.scale, manifest.default_tau) == ("rescaling", 4, 1.0)
    assert [(level.channels, level.factor) for level in manifest.latents.levels] == [(45, 1)]
    model = runtime.load(tmp_path / "bundle")
    hr = model.decode(golden["lr"].numpy(), [golden["z"].numpy()])
    assert np.abs(hr - golden["inverse_hr_raw"].numpy()).max() <= 1e-5
    small = np.zeros((5, 7, 3), np.uint8)
    assert model.upscale(small, tau=1.0, seed=3).shape == (20, 28, 3)
    assert model.downscale(np.zeros((20, 28, 3), np.uint8)).shape == (5, 7, 3)


@pytest.mark.slow
def test_the_published_size_builds_within_budget(tmp_path):
    path = tmp_path / "irn.safetensors"
    save(synthetic(IRN_X4), path, {"weights": "synthetic, seed 0"})
    request = Request("irn", precisions=("fp32", "fp16"))
    manifest = build(load(path), tmp_path / "bundle", request)
    assert all(graph.within_budget and graph.nodes <= 800 for graph in manifest.graphs)
    single, half = (g for g in manifest.graphs if g.direction == "inverse")
    assert half.bytes <= 0.52 * single.bytes
