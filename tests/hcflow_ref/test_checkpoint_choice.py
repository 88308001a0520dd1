"""Of several networks in a file none is passed over in silence, and what is none is not counted."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from hcflow_ref.checkpoint.candidates import choose, find
from hcflow_ref.checkpoint.load import load
from hcflow_ref.checkpoint.official_names import to_official
from hcflow_ref.errors import CheckpointError
from tests.support.golden_files import weights

Weights = dict[str, Tensor]
KEY = "flow.level0_condFlow.conv_first.weight"


@pytest.fixture(scope="module")
def official() -> Weights:
    return load_file(weights("rescale_x4"))


@pytest.fixture
def other(official: Weights) -> Weights:
    return official | {KEY: official[KEY] + 1}


def prefixed(prefix: str, network: Weights) -> Weights:
    return {prefix + key: weight for key, weight in network.items()}


def chosen(content: Any) -> tuple[Tensor, str]:
    """A weight of the network that is chosen, and the sentence about the choice."""
    candidate, sentence = choose(find(content))
    return candidate.weights[KEY], sentence


NAMED_BY_A_WORD_OF_TRAINING = [
    *("optimal", "optimum", "optimised", "optimized_model", "best_loss", "best-val-loss", "loss"),
    *("vgg_loss_model", "lowest_criterion", "rescheduled", "net_d", "with_grad_clip", "no_grad"),
]


@pytest.mark.parametrize("key", NAMED_BY_A_WORD_OF_TRAINING)
def test_a_network_named_by_a_word_of_training_is_found(
    key: str, official: Weights, other: Weights
) -> None:
    assert chosen({"epoch": 3, key: official}) == (official[KEY], "")
    for content in (
        {"initial": other, key: official},
        {"state_dict": prefixed("initial.", other) | prefixed(f"{key}.", official)},
    ):
        with pytest.raises(CheckpointError, match=f"2 networks, under .*{key}'"):
            chosen(content)


def test_the_only_network_of_a_file_loads_under_such_a_name(
    official: Weights, tmp_path: Path
) -> None:
    torch.save({"epoch": 3, "best_loss": official}, tmp_path / "x.pth")
    assert torch.equal(to_official(load(tmp_path / "x.pth").model)[KEY], official[KEY])


@pytest.mark.parametrize(
    "key",
    [
        *("optim", "optims", "optim_g", "optimG", "optimizer", "optimiser", "optimizers", "grads"),
        *("optimizer_states", "g_optimizer", "optimizerG", "OptimizerState", "optim-state"),
        *("gradients", "acc_grads", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer"),
    ],
)
def test_what_an_optimiser_keeps_by_the_names_of_weights_is_no_network(
    key: str, official: Weights, other: Weights
) -> None:
    for content in (
        {"model": official, key: {"master": other}},
        {"model": official, "opt": {key: other}},
        prefixed("model.", official) | prefixed(f"{key}.", other),
    ):
        assert chosen(content) == (official[KEY], "")


def test_parts_of_a_discriminator_with_names_of_a_network_are_none(official: Weights) -> None:
    parts = {"operations.0.weight": torch.zeros(3), "operations.1.bias": torch.zeros(3)}
    for content in (
        {"netG": official, "netD": parts},
        {"netG": official, "loss": {"discriminator": parts}},
        prefixed("netG.", official) | prefixed("netD.", parts),
    ):
        assert chosen(content) == (official[KEY], "")
