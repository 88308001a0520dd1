"""A run that was stopped goes on where it was, to the bit, or says why it cannot."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from hcflow_ref.errors import TrainingError
from hcflow_ref.training.config.toml_file import read_config
from tests.support.training_runs import (
    after_step,
    run,
    same_run,
    saved,
    small_features,
    small_run,
    write_config,
    write_images,
)


def interrupt():
    """What Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("objective", ["rescaling", "gan"])
def test_a_run_interrupted_and_resumed_ends_in_the_same_bits(
    tmp_path, data, monkeypatch, objective
):
    config = small_run(objective)
    run(config, data, tmp_path / "whole", small_features())
    with monkeypatch.context() as patch:
        after_step(patch, 3, interrupt)
        _, lines = run(config, data, tmp_path / "parts", small_features())
        assert "interrupted at step 3" in lines[-1]
    _, lines = run(config, data, tmp_path / "parts", small_features())
    assert "resuming from step 3" in "\n".join(lines)
    assert same_run(tmp_path / "whole", tmp_path / "parts")


KILLED = """
import os, signal, sys
from pathlib import Path
from hcflow.commands.train import train
from hcflow_ref.training import trainer
real = trainer.take_step
def take_step(state, *rest):
    values = real(state, *rest)
    if state.step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return values
trainer.take_step = take_step
train(*map(Path, sys.argv[1:]))
"""


def test_kill_9_loses_at_most_the_interval_and_the_run_ends_in_the_same_bits(tmp_path, data):
    config = write_config(small_run(), tmp_path / "run.toml")
    command = [sys.executable, "-c", KILLED, config, data, tmp_path / "killed"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert saved(tmp_path / "killed")["step"] == 2
    run(read_config(config), data, tmp_path / "killed")
    run(read_config(config), data, tmp_path / "whole")
    assert same_run(tmp_path / "whole", tmp_path / "killed")


def test_a_resume_from_another_config_names_the_difference_and_changes_nothing(tmp_path, data):
    run(small_run(steps=1), data, tmp_path)
    before = (tmp_path / "state.pt").read_bytes()
    with pytest.raises(TrainingError, match=r"schedule\.lr = 0\.001, the config says 0\.002"):
        run(small_run(steps=1, schedule={"lr": 2e-3}), data, tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == before


def test_how_often_to_save_may_change_on_resume(tmp_path, data):
    run(small_run(steps=1), data, tmp_path)
    _, lines = run(small_run(steps=1, run={"save_every": 3}), data, tmp_path)
    assert "resuming from step 1" in "\n".join(lines)


def test_a_damaged_state_is_named(tmp_path, data):
    run(small_run(steps=1), data, tmp_path)
    whole = (tmp_path / "state.pt").read_bytes()
    (tmp_path / "state.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainingError, match=r"state\.pt: not a whole training state"):
        run(small_run(steps=1), data, tmp_path)


@pytest.fixture(scope="module")
def one_step(tmp_path_factory, data):
    """The state after a step."""
    out = tmp_path_factory.mktemp("run")
    run(small_run(steps=1), data, out)
    return saved(out)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": 7}, "a training state of format 7, this version resumes format 1"),
        ({"model": None}, "not a whole training state"),
        ({"model": [1, 2]}, "not a whole training state"),
        ({"optimisers": {"flow": 3}}, "not a whole training state"),
        ({"config": "[]"}, "not a whole training state"),
        ({"generator": "none"}, "not a whole training state"),
        ({"step": "1"}, "not a whole training state \\(step '1' after"),
        ({"step": -1}, "not a whole training state"),
        ({"seconds": float("nan")}, "step 1 after nan seconds"),
        ({"seconds": None}, "not a whole training state"),
    ],
)
def test_a_state_of_another_making_is_one_line(tmp_path, data, one_step, change, complaint):
    torch.save(one_step | change, tmp_path / "state.pt")
    with pytest.raises(TrainingError, match=complaint) as raised:
        run(small_run(steps=1), data, tmp_path)
    assert "\n" not in str(raised.value)


def test_a_run_of_a_version_without_a_key_goes_on(tmp_path, data, one_step):
    older = json.loads(one_step["config"])
    del older["loss"]["consistency_weight"]
    torch.save(one_step | {"config": json.dumps(older)}, tmp_path / "state.pt")
    _, lines = run(small_run(steps=1), data, tmp_path)
    assert "resuming from step 1" in "\n".join(lines)


def test_a_resumed_run_no_longer_needs_the_weights_it_started_from(tmp_path, data, monkeypatch):
    run(small_run(steps=1), data, tmp_path / "first")
    weights = tmp_path / "first" / "model.safetensors"
    config = small_run(steps=2, network={"init": str(weights)})
    with monkeypatch.context() as patch:
        after_step(patch, 1, interrupt)
        run(config, data, tmp_path / "second")
    weights.unlink()
    state, _ = run(config, data, tmp_path / "second")
    assert state.step == 2


def test_a_run_does_not_go_on_with_other_images(tmp_path):
    folder = write_images(tmp_path / "images", count=5)
    run(small_run(steps=1), folder, tmp_path / "out")
    (folder / "image0.png").unlink()
    with pytest.raises(TrainingError, match="other images than those in --data"):
        run(small_run(steps=1), folder, tmp_path / "out")
