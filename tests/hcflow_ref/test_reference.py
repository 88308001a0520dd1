"""The reference equals the official implementation, and inverts and measures itself exactly."""

import pytest
import torch
from torch import Tensor

from hcflow_ref.checkpoint.load import load
from hcflow_ref.checkpoint.official_names import official_shapes
from hcflow_ref.network.config import OFFICIAL, HCFlowConfig, LevelConfig
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.likelihood import nll
from hcflow_ref.network.lr_image import quantise
from hcflow_ref.network.synthetic_weights import synthetic
from tests.support.golden_files import NETWORKS, arrays, latents, weights

IMAGE_BUDGET = 1e-5
LOGP_BUDGET = 1e-6


def assert_near(got: Tensor, want: Tensor, budget: float = IMAGE_BUDGET) -> None:
    assert got.shape == want.shape
    assert (got - want).abs().max() <= budget


@pytest.mark.parametrize("network", NETWORKS)
def test_the_inverse_flow_gives_the_official_image(network: str) -> None:
    io = arrays(network)
    hr = load(weights(network)).model.inverse(io["lr"], latents(io))
    assert_near(hr, io["inverse_hr_raw"])
    assert_near(hr.clamp(0, 1), io["inverse_hr"])


@pytest.mark.parametrize("network", NETWORKS)
def test_the_forward_flow_gives_the_official_image_and_latents(network: str) -> None:
    io = arrays(network)
    encoding = load(weights(network)).model(io["hr"])
    assert_near(encoding.lr, io["forward_lr_raw"])
    expected = latents(io, "forward_z")
    assert len(encoding.latents) == len(expected)
    for got, want in zip(encoding.latents, expected, strict=True):
        assert_near(got, want)


@pytest.mark.parametrize("network", ["sr_x4", "sr_x8"])
def test_the_likelihood_is_the_official_one(network: str) -> None:
    io = arrays(network)
    model = load(weights(network)).model
    got, want = model(io["hr"]).logp, io["forward_logp"]
    assert ((got - want) / want).abs().max() <= LOGP_BUDGET
    bits, expected = nll(model, io["hr"], io["lr"], io["noise"]).mean(), io["nll_bits_per_pixel"]
    assert abs(bits - expected) <= LOGP_BUDGET * abs(expected)
    noisy = model(io["hr"] + io["noise"] / model.config.quantisation)
    assert_near(quantise(noisy.lr), io["forward_lr_quantized_with_noise"])


@pytest.mark.parametrize("network", NETWORKS)
def test_in_float64_the_inverse_undoes_the_forward(network: str) -> None:
    model = load(weights(network)).model.double()
    hr = arrays(network)["hr"].double()
    encoding = model(hr)
    assert_near(model.inverse(encoding.lr, encoding.latents), hr, 1e-12)


@pytest.mark.parametrize("task", ["sr", "rescaling"])
@pytest.mark.parametrize("levels", [1, 2])
def test_logp_agrees_with_the_numerical_jacobian(task: str, levels: int) -> None:
    level = LevelConfig(2, 4, 2, 4, 4, 3, (1, 1))
    model = synthetic(HCFlowConfig(task, (level,) * levels), seed=3).double()  # type: ignore[arg-type]
    side = 2**levels
    hr = torch.rand(1, 3, side, side, dtype=torch.float64)

    def flat(x: Tensor) -> Tensor:
        lr, zs, _ = model(x.reshape(hr.shape))
        return torch.cat([lr.flatten(), *(z.flatten() for z in zs)])

    jacobian = torch.autograd.functional.jacobian(flat, hr.flatten())
    log_det = torch.linalg.slogdet(jacobian).logabsdet
    log_normal = sum(torch.distributions.Normal(0, 1).log_prob(z).sum() for z in model(hr).latents)
    assert model(hr).logp.item() == pytest.approx((log_det + log_normal).item(), abs=1e-9)


def test_quantise_rounds_forward_and_passes_gradients_straight_through() -> None:
    y = torch.tensor([-0.3, 0.4999, 1.7], requires_grad=True)
    quantised = quantise(y)
    assert torch.equal(quantised.detach(), torch.tensor([0.0, 127 / 255, 1.0]))
    quantised.sum().backward()
    assert torch.equal(y.grad, torch.ones(3))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("network", "parameters"),
    [("sr_x4", 23_232_539), ("sr_x8", 27_017_723), ("rescale_x4", 4_396_350)],
)
def test_the_official_networks_have_the_published_number_of_parameters(
    network: str, parameters: int
) -> None:
    shapes = official_shapes(OFFICIAL[network])
    assert sum(shape.numel() for shape in shapes.values()) == parameters


def test_a_new_network_is_the_identity_up_to_its_squeezes() -> None:
    config = HCFlowConfig("rescaling", (LevelConfig(2, 4, 1, 4, 4, 3, (1, 0)),))
    model = HCFlow(config)
    hr = torch.rand(1, 3, 4, 6)
    block_means = torch.nn.functional.avg_pool2d(hr, 2)
    assert_near(model(hr).lr, block_means, 1e-6)
