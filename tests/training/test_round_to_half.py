"""Weights rounded to float16 are the network they were, at half the size."""

import sys

import pytest
import torch

from hcflow_ref.checkpoint.load import load, save
from hcflow_ref.errors import CheckpointError
from hcflow_ref.training.parameters.round_to_half import main, round_to_half
from tests.support.golden_files import weights


@pytest.mark.parametrize("network", ["sr_x4", "rescale_x4", "irn_x4"])
def test_rounded_weights_load_as_the_same_network_in_half_the_size(tmp_path, network):
    source, target = weights(network), tmp_path / "half.safetensors"
    round_to_half(source, target)
    exact, rounded = load(source), load(target)
    assert rounded.config == exact.config
    assert rounded.default_tau == exact.default_tau
    for name, weight in exact.network.state_dict().items():
        assert torch.equal(rounded.network.state_dict()[name], weight.half().float()), name
    assert target.stat().st_size < 0.6 * source.stat().st_size


def test_a_weight_beyond_float16_is_named_and_nothing_is_written(tmp_path):
    network = load(weights("rescale_x4")).model
    network.levels[0].steps[0].actnorm.bias[0, 0] = 1e5
    save(network, tmp_path / "large.safetensors", {})
    with pytest.raises(CheckpointError, match=r"'flow\.layers\.1\.actnorm\.bias' exceeds ±65504"):
        round_to_half(tmp_path / "large.safetensors", tmp_path / "half.safetensors")
    assert not (tmp_path / "half.safetensors").exists()


def test_the_command_says_what_is_wrong_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["round_to_half", "none.pth", "half.safetensors"])
    assert main() == 1
    said = capsys.readouterr().err
    assert said.startswith("round_to_half: none.pth: cannot be read")
    assert said.count("\n") == 1
