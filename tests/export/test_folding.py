"""Each fold gives one convolution that equals the layers it replaces."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.folded import algebra
from export.folded.algebra import Affine, Kernel
from hcflow_ref.network.blocks import NormedConv, ResidualDenseBlock, ScaledConv
from hcflow_ref.network.config import HCFlowConfig, LevelConfig
from hcflow_ref.network.hcflow import Level
from hcflow_ref.network.layers import ActNorm, depth_to_space, haar, haar_inverse, space_to_depth
from hcflow_ref.network.steps import AffineStep

EXACT = 1e-12


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def shaken(module: nn.Module) -> nn.Module:
    """The module in float64 with every parameter off its initial value."""
    for parameter in module.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return module.double().requires_grad_(False)


def image(channels: int) -> Tensor:
    return torch.randn(2, channels, 6, 4, dtype=torch.float64)


def run(kernel: Kernel, x: Tensor, stride: int = 1) -> Tensor:
    padding = kernel.weight.shape[2] // 2 if stride == 1 else 0
    return F.conv2d(x, kernel.weight, kernel.bias, stride=stride, padding=padding)


def assert_equal(got: Tensor, want: Tensor) -> None:
    assert (got - want).abs().max() <= EXACT * max(1.0, want.abs().max().item())


def level(task: str) -> Level:
    hyper = LevelConfig(1, 4, 1, 4, 4, 3, (1, 1))
    built = shaken(Level(HCFlowConfig(task, (hyper,)), 0))  # type: ignore[arg-type]
    assert isinstance(built, Level)
    return built


def test_actnorm_is_an_affine_map() -> None:
    layer, x = shaken(ActNorm(5)), image(5)
    assert isinstance(layer, ActNorm)
    assert_equal(run(algebra.pointwise(algebra.actnorm(layer)), x), layer(x))


def test_actnorm_and_matrix_of_a_step_are_one_convolution() -> None:
    step, x = shaken(AffineStep(6, 4)), image(6)
    assert isinstance(step, AffineStep)
    linear = algebra.step_linear(step)
    assert_equal(run(algebra.pointwise(linear), x), step.permute(step.actnorm(x)))
    undone = step.actnorm.inverse(step.permute.inverse(x))
    assert_equal(run(algebra.pointwise(linear.inverse()), x), undone)


@pytest.mark.parametrize(("task", "squeeze"), [("sr", space_to_depth), ("rescaling", haar)])
def test_a_squeeze_and_a_linear_map_are_one_convolution_of_stride_2(task, squeeze) -> None:
    x = image(3)
    then = Affine(torch.randn(12, 12, dtype=torch.float64), torch.randn(12, dtype=torch.float64))
    folded = algebra.stride2(algebra.squeeze(level(task), 3).then(then))
    assert_equal(run(folded, x, stride=2), run(algebra.pointwise(then), squeeze(x)))


@pytest.mark.parametrize(
    ("task", "unsqueeze"), [("sr", depth_to_space), ("rescaling", haar_inverse)]
)
def test_its_inverse_is_one_convolution_and_a_depth_to_space(task, unsqueeze) -> None:
    x = image(12)
    then = Affine(torch.randn(12, 12, dtype=torch.float64), torch.randn(12, dtype=torch.float64))
    folded = algebra.pointwise(algebra.squeeze(level(task), 3).then(then).inverse())
    want = unsqueeze(run(algebra.pointwise(then.inverse()), x))
    assert_equal(depth_to_space(run(folded, x)), want)


def test_the_actnorm_behind_a_convolution_goes_into_it() -> None:
    conv, x = shaken(NormedConv(5, 7, 3)), image(5)
    assert isinstance(conv, NormedConv)
    assert_equal(run(algebra.normed(conv), x), conv(x))


def test_the_output_scale_goes_into_its_convolution() -> None:
    conv, x = shaken(ScaledConv(5, 8)), image(5)
    assert isinstance(conv, ScaledConv)
    assert_equal(run(algebra.scaled(conv), x), conv(x))


def test_the_residual_scale_goes_into_the_fifth_convolution() -> None:
    block, x = shaken(ResidualDenseBlock(4, 3)), image(4)
    assert isinstance(block, ResidualDenseBlock)
    dense = x
    for conv in (block.conv1, block.conv2, block.conv3, block.conv4):
        dense = torch.cat([dense, F.leaky_relu(conv(dense), 0.2)], 1)
    folded = algebra.residual(algebra.plain(block.conv5))
    assert_equal(run(folded, dense) + x, block(x))


def test_interleaved_outputs_become_contiguous_and_scaled() -> None:
    conv, x = shaken(ScaledConv(5, 8)), image(5)
    assert isinstance(conv, ScaledConv)
    h = conv(x)
    folded = algebra.deinterleave(algebra.scaled(conv), even=-1, odd=2)
    assert_equal(run(folded, x), torch.cat([-h[:, 0::2], 2 * h[:, 1::2]], 1))
