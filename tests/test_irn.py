"""IRN is the official network, exactly, and is loaded from its file alone."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hcflow_ref.checkpoint import load
from hcflow_ref.errors import CheckpointError
from hcflow_ref.irn import IRN, IRN_X4, IRNConfig

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
    irn = IRN(IRNConfig((1, 1), 4)).double()
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
    ],
)
def test_a_damaged_file_is_refused_by_the_key(tmp_path, change, named):
    with pytest.raises(CheckpointError, match=named):
        load(damaged(tmp_path, change))
