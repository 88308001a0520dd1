"""A run that diverges stops at the step it happens, names the layer, and saves nothing of it."""

import pytest
import torch

from hcflow_ref.errors import TrainingError
from hcflow_ref.training import step as step_module
from hcflow_ref.training.run_folder.state import save_state
from tests.support.training_runs import before_step, run, saved, small_features, small_run


def test_nan_stops_the_run_with_step_and_layer_and_keeps_the_last_checkpoint(
    tmp_path, data, monkeypatch
):
    def poison(state):
        state.model.levels[1].cond.steps[0].net.conv2.weight[0] = torch.nan

    before_step(monkeypatch, 3, poison)
    named = (
        r"step 3, rescaling: loss .* is nan; first seen in layer 'levels\.1\.cond\.steps\.0\.net"
    )
    with pytest.raises(TrainingError, match=named):
        run(small_run(), data, tmp_path)
    kept = saved(tmp_path)
    assert kept["step"] == 2
    assert all(torch.isfinite(w).all() for w in kept["model"].values())


def test_a_singular_1x1_convolution_stops_the_run_by_its_name(tmp_path, data, monkeypatch):
    def make_singular(state):
        state.model.levels[1].cond.steps[0].permute.weight[0] = 0

    before_step(monkeypatch, 0, make_singular)
    named = r"step 0, inverse: .*singular; first seen in layer 'levels\.1\.cond\.steps\.0\.permute'"
    with pytest.raises(TrainingError, match=named):
        run(small_run(loss={"latent_weight": 0.0}), data, tmp_path)


def test_an_exploding_inverse_stops_the_run(tmp_path, data, monkeypatch):
    before_step(
        monkeypatch, 1, lambda state: state.model.levels[1].steps[0].actnorm.logs.fill_(-12)
    )
    exploded = r"step 1, rescaling: .*exploded; first seen in layer 'levels\."
    with pytest.raises(TrainingError, match=exploded):
        run(small_run(loss={"latent_weight": 0.0, "lr_weight": 0.0}), data, tmp_path)


def test_weights_that_are_not_finite_are_never_saved(tmp_path, data):
    config = small_run(steps=1)
    state, _ = run(config, data, tmp_path)
    before = (tmp_path / "state.pt").read_bytes()
    with torch.no_grad():
        state.model.levels[0].steps[1].actnorm.logs[:] = torch.inf
    with pytest.raises(TrainingError, match=r"weight 'levels\.0\.steps\.1\.actnorm\.logs'"):
        save_state(state, config, tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == before


def test_a_discriminator_that_breaks_is_named(tmp_path, data, monkeypatch):
    real = step_module.total

    def poisoned(losses):
        loss = real(losses)
        return loss * torch.nan if "discriminator" in losses else loss

    monkeypatch.setattr(step_module, "total", poisoned)
    with pytest.raises(TrainingError, match=r"step 0, discriminator: .*norm is nan; first seen in"):
        run(small_run("gan"), data, tmp_path, small_features())


def test_a_discriminator_that_is_not_finite_is_never_saved(tmp_path, data):
    config = small_run("gan", steps=1)
    state, _ = run(config, data, tmp_path, small_features())
    before = (tmp_path / "state.pt").read_bytes()
    with torch.no_grad():
        next(state.discriminator.parameters()).fill_(torch.nan)
    with pytest.raises(TrainingError, match=r"weight 'discriminator\."):
        save_state(state, config, tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == before
