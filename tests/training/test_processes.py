"""Several processes train as one, and go on to the bit."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from hcflow_ref.errors import TrainingError
from hcflow_ref.training.config.settings import ScheduleSettings
from hcflow_ref.training.config.toml_file import read_config
from tests.support.training_runs import run, same_run, saved, small_run, write_config


@pytest.fixture
def config(tmp_path):
    schedule = ScheduleSettings(steps=4, actnorm_steps=0)
    config = small_run(loss={"tau": 0.0}, data={"batch": 3})
    config = replace(config, schedule=schedule)
    return write_config(config, tmp_path / "run.toml")


def near(one, other):
    """Whether the weights of two runs agree but for the order of their sums."""
    a, b = saved(one)["model"], saved(other)["model"]
    return all(torch.allclose(a[key], b[key], atol=2e-6) for key in a)


def test_several_processes_train_as_one_and_go_on_to_the_bit(tmp_path, config, data):
    module = [sys.executable, "-m", "tests.support.training_processes"]
    subprocess.run([*module, config, data, tmp_path], check=True)
    run(read_config(config), data, tmp_path / "alone")
    assert near(tmp_path / "alone", tmp_path / "together")
    assert same_run(tmp_path / "together", tmp_path / "resumed")


@pytest.mark.slow
@pytest.mark.parametrize("bf16", [False, True])
def test_torchrun_starts_the_command_in_several_processes(tmp_path, config, data, bf16):
    if bf16:
        text = config.read_text(encoding="utf-8").replace("bf16 = false", "bf16 = true")
        config.write_text(text, encoding="utf-8")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3"]
    command = ["-m", "hcflow", "train", config, "--data", data, "--out", tmp_path / "together"]
    done = subprocess.run(
        [sys.executable, *launcher, *command], check=True, capture_output=True, text=True
    )
    assert "Warning" not in done.stdout + done.stderr
    assert done.stdout.count("step 4/4") == 1
    if not bf16:
        run(read_config(config), data, tmp_path / "alone")
        assert near(tmp_path / "alone", tmp_path / "together")


def test_a_launch_that_leads_nowhere_is_one_line(tmp_path, data, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainingError, match=r"cannot connect \(.*RANK.*: start them with"):
        run(small_run(), data, tmp_path)


def test_one_patch_a_process_is_too_little_for_the_discriminator(tmp_path, data):
    with pytest.raises(TrainingError, match=r"'data\.batch' leaves one patch"):
        run(small_run("gan", data={"batch": 1}), data, tmp_path)
