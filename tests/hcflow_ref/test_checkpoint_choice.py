"""Of several networks in a file none is passed over in silence, and what is none is not counted."""

import logging
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hcflow_ref.checkpoint.candidates import choose, find
from hcflow_ref.checkpoint.load import load
from hcflow_ref.checkpoint.official_names import to_official
from hcflow_ref.errors import CheckpointError
from tests.support.checkpoints import KEY, Weights, prefixed


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


def parameters_of(network: Weights) -> Weights:
    """What averages keep: no constants."""
    return {key: weight for key, weight in network.items() if "haar" not in key}


def squeezed(network: Weights) -> Weights:
    """Names without dots, as PyTorch wants of buffers: so `LitEma` of latent diffusion has them."""
    return {key.replace(".", ""): weight for key, weight in network.items()}


COUNTERS = {"decay": torch.tensor(0.999), "num_updates": torch.tensor(5)}


@pytest.mark.parametrize(
    ("raw", "ema", "ended"),
    [
        ("model.", "model_ema.", "'model_ema' are used, not 'model'"),
        ("", "ema.", "'ema' are used, not no key"),
        ("model.net.", "model_ema.net", "'model_ema' are used, not 'model.net'"),
        ("lightning.net.", "net_ema.", "'net_ema' are used, not 'lightning.net'"),
    ],
)
def test_averages_under_names_without_dots_are_used(
    raw: str, ema: str, ended: str, official: Weights, other: Weights, tmp_path: Path
) -> None:
    content = prefixed(raw, other) | prefixed(ema, squeezed(parameters_of(official)))
    content |= prefixed(ema.rpartition(".")[0] + ".", COUNTERS)
    assert chosen(content) == (
        official[KEY],
        f"the averaged weights (EMA) {ended}, which adds what they lack",
    )
    torch.save({"state_dict": content}, tmp_path / "x.pth")
    assert torch.equal(to_official(load(tmp_path / "x.pth").model)[KEY], official[KEY])


def test_such_averages_are_used_in_a_dictionary_of_their_own(
    official: Weights, other: Weights
) -> None:
    content = {"state_dict": other, "ema": squeezed(official) | COUNTERS}
    sentence = "the averaged weights (EMA) 'ema' are used, not 'state_dict'"
    assert chosen(content) == (official[KEY], sentence)


@pytest.mark.parametrize(
    ("extra", "place"),
    [
        (
            lambda w: {"ema": {"shadow_params": list(w.values()), "decay": 0.99}},
            "ema.shadow_params",
        ),
        (lambda w: {"shadow_params": list(w.values())}, "shadow_params"),
        (lambda w: {"state": [{"avg": tuple(w.values())}]}, "state.0.avg"),
        (lambda w: {f"ema.{i}": x for i, x in enumerate(w.values())}, "ema"),
        (lambda w: {"params_ema": {f"p{i}": x for i, x in enumerate(w.values())}}, "params_ema"),
    ],
)
def test_averages_without_names_are_told_of_in_a_warning(
    extra: Any, place: str, official: Weights, other: Weights, tmp_path: Path, caplog: Any
) -> None:
    path = tmp_path / "x.pth"
    torch.save(prefixed("model.", official) | extra(other), path)
    with caplog.at_level(logging.WARNING):
        checkpoint = load(path)
    sentence = (
        f"'model' is used, not the averaged weights (EMA) {place!r}: they lack the names of weights"
    )
    assert torch.equal(to_official(checkpoint.model)[KEY], official[KEY])
    assert caplog.messages == [f"{path}: {sentence}"]
    assert checkpoint.provenance == {"weights": sentence}


@pytest.mark.parametrize(
    "extra",
    [
        {"ema": {"decay": torch.tensor(0.9), "losses": torch.zeros(100)}},
        {"netD_ema": {"features.0.weight": torch.zeros(3, 3, 3, 3)}},
        {"optimizer": {"avg": [torch.zeros(3, 3)]}},
        {"ema": {}, "use_ema": True, "ema_decay": 0.999},
    ],
)
def test_no_warning_is_given_of_what_is_no_average_of_the_network(
    extra: dict[str, Any], official: Weights, tmp_path: Path, caplog: Any
) -> None:
    torch.save({"model": official, **extra}, tmp_path / "x.pth")
    with caplog.at_level(logging.WARNING):
        assert load(tmp_path / "x.pth").provenance == {}
    assert caplog.messages == []


@pytest.mark.parametrize(
    "table",
    [
        lambda w: {"param_shapes": [OrderedDict((k, x.shape) for k, x in w.items())]},
        lambda w: {"lr_mult": dict.fromkeys(w, 1.0)},
        lambda w: {"requires_grad": dict.fromkeys(w, True)},
        lambda w: {"opt": {"state": {k: {"exp_avg": x + 1} for k, x in w.items()}}},
        lambda w: {"hyper_parameters": {"init": dict.fromkeys(w, "kaiming")}},
        lambda w: {"norms": {k: x.norm() for k, x in w.items()}},
    ],
)
def test_tables_by_the_names_of_weights_are_no_networks(table: Any, official: Weights) -> None:
    assert chosen({"module": official} | table(official)) == (official[KEY], "")
    assert chosen(table(official) | {"module": official}) == (official[KEY], "")


def test_a_table_alone_is_named_for_what_it_is(official: Weights, tmp_path: Path) -> None:
    torch.save({"model": dict.fromkeys(official, 1.0)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"key 'flow\..* is a float, expected a state_dict"):
        load(tmp_path / "x.pth")


def test_a_stranger_below_a_network_is_still_one_of_its_keys(official: Weights) -> None:
    (found,) = find(official | {"extra": torch.zeros(1)})
    assert "extra" in found.weights
