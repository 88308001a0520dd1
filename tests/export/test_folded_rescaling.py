"""The rescaling network's main flow keeps two parts, and its ActNorms cost no convolution."""

import pytest
import torch
from torch import Tensor

from export.folded.fold import GraphSpec, deploy
from export.graph import emit, trace
from hcflow_ref.network.config import HCFlowConfig, LevelConfig
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.layers import ActNorm
from hcflow_ref.network.synthetic_weights import synthetic
from runtime.bundle.manifest import Direction


def network(steps: int, levels: int = 1) -> HCFlow:
    """A rescaling network whose ActNorms are far from doing nothing."""
    hyper = tuple(LevelConfig(steps, 4, 1, 4, 4, 3, (1, 1)) for _ in range(levels))
    model = synthetic(HCFlowConfig("rescaling", hyper))
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, ActNorm):
            module.logs.data += 0.3 * torch.randn_like(module.logs)
            module.bias.data += 0.3 * torch.randn_like(module.bias)
    return model.eval()


def assert_close(got: Tensor, want: Tensor) -> None:
    assert (got - want).abs().max() <= 2e-5 * max(1.0, want.abs().max().item())


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_scales_carried_through_the_couplings_are_the_references_actnorms(
    steps: int, levels: int
) -> None:
    model = network(steps, levels)
    exact = network(steps, levels).double()
    side = 3 * 2**levels
    with torch.no_grad():
        hr = torch.rand(2, 3, side, side)
        want = exact(hr.double())
        lr, *latents = deploy(model, GraphSpec("forward"))(hr)
        assert_close(lr, want.lr)
        for z, true in zip(latents, want.latents, strict=True):
            assert_close(z, true)
        back = deploy(model, GraphSpec("inverse"))(lr, tuple(latents))
        assert_close(back, exact.inverse(lr.double(), [z.double() for z in latents]))


@pytest.mark.parametrize("direction", ["inverse", "forward"])
def test_of_two_actnorms_between_couplings_at_most_one_is_an_addition(
    direction: Direction,
) -> None:
    model = network(6)
    spec = GraphSpec(direction)
    emitted = emit.to_onnx(trace.trace(deploy(model, spec)), model.config, spec)
    main = [n for n in emitted.graph if (n.name or "").startswith("level0/steps/")]
    state = [n for n in main if "/net/" not in (n.name or "")]
    assert [n.name for n in state if n.op_type == "Conv"] == ["level0/steps/0/linear"]
    assert sum(n.op_type == "Concat" for n in state) == 0
    offsets = [n for n in state for x in n.inputs if x and "offset" in (x.name or "")]
    assert len(offsets) == 3  # of five ActNorms


def test_zero_padding_is_of_the_true_values_at_the_borders() -> None:
    """A bias that a 3×3 convolution reads may not be left for later: its padding is zero."""
    model = network(4)
    for module in model.modules():
        if isinstance(module, ActNorm):
            module.bias.data += 3.0
    lr = torch.rand(1, 3, 1, 1)  # one pixel: nothing but borders
    latents = model.zero_latents(lr)
    with torch.no_grad():
        want = model.double().inverse(lr.double(), [z.double() for z in latents])
        got = deploy(model.float(), GraphSpec("inverse"))(lr, tuple(latents))
    assert_close(got, want)
