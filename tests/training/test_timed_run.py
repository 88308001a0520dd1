"""A run that is bounded in time saves its state, travels in parts, and goes on elsewhere."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hcflow.commands import train as command
from hcflow_ref.checkpoint import safetensors_file
from hcflow_ref.checkpoint.load import load
from hcflow_ref.errors import TrainingError
from hcflow_ref.training import timed_run, trainer, travel
from hcflow_ref.training.config.settings import ScheduleSettings
from hcflow_ref.training.config.toml_file import read_config
from hcflow_ref.training.data import shards
from hcflow_ref.training.distributed import Process
from hcflow_ref.training.optimiser import factor, progress
from hcflow_ref.training.run_folder.state import resume
from hcflow_ref.training.setup import build
from tests.support.training_runs import run, same, saved, small_run, write_config


class Clock:
    """Time that goes on by a minute whenever a step is taken."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=lambda: self.now))
        real = trainer.take_step

        def take_step(*given):
            self.now += 60
            return real(*given)

        monkeypatch.setattr(trainer, "take_step", take_step)


def test_a_run_ends_with_a_checkpoint_when_its_minutes_are_over_and_goes_on(
    tmp_path, data, monkeypatch
):
    Clock(monkeypatch)
    config = small_run(steps=4, run={"minutes": 2.0, "save_every": 100})
    state, lines = run(config, data, tmp_path)
    assert (state.step, saved(tmp_path)["step"], state.stopped_by) == (2, 2, 0)
    assert any("2 minutes are over at step 2; the same command" in line for line in lines)
    longer = replace(config, run=replace(config.run, minutes=3.0))
    assert run(longer, data, tmp_path)[0].step == 4


def test_a_schedule_in_minutes_follows_the_time_trained_and_ends_the_run(
    tmp_path, data, monkeypatch
):
    Clock(monkeypatch)
    schedule = {"minutes": 2.0, "cosine": True}
    state, _ = run(small_run(steps=1000, schedule=schedule), data, tmp_path)
    assert (state.step, state.seconds) == (2, 120)


def test_the_learning_rate_is_where_steps_or_minutes_have_come_further():
    schedule = ScheduleSettings(steps=100, cosine=True, minutes=10)
    assert progress(schedule, 50, 60) == 0.5
    assert progress(schedule, 50, 540) == 0.9
    assert factor(schedule, 0, 300) == pytest.approx(0.5)
    assert factor(schedule, 0, 700) == pytest.approx(0)


def test_a_batch_is_halved_until_it_fits(monkeypatch):
    def take_step(state, losses, hr, config, process):
        if len(hr) > 3:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(timed_run, "take_step", take_step)
    lines = []
    assert timed_run.fitting_batch(small_run(data={"batch": 8}), lines.append) == 2
    assert lines[:2] == [f"a batch of {n} does not fit into memory" for n in (8, 4)]
    monkeypatch.setattr(timed_run, "build", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        timed_run.fitting_batch(small_run(), lines.append)


def test_what_does_not_fit_at_all_is_said(monkeypatch):
    def build(*_):
        raise MemoryError

    monkeypatch.setattr(timed_run, "build", build)
    with pytest.raises(TrainingError, match="not even one patch fits"):
        timed_run.fitting_batch(small_run(), lambda line: None)


def test_a_state_travels_in_parts_and_the_run_goes_on_from_them(tmp_path, data, monkeypatch):
    monkeypatch.setattr(timed_run, "PART_BYTES", 100_000)
    config = small_run(steps=1)
    lines = []
    timed_run.run(config, data, tmp_path / "away", tmp_path / "parts", lines.append)
    parts = travel.parts(tmp_path / "parts")
    assert len(parts) > 1
    assert all(path.stat().st_size <= 100_000 for path in parts)
    assert travel.main([str(tmp_path / "parts"), "--out", str(tmp_path / "home")]) == 0
    away, home = saved(tmp_path / "away"), saved(tmp_path / "home")
    for part in ("model", "average", "step", "config"):
        assert same(away[part], home[part])
    assert same(
        load(tmp_path / "home" / "model.safetensors").network.state_dict(),
        load(tmp_path / "away" / "model.safetensors").network.state_dict(),
    )
    lines.clear()
    timed_run.run(config, data, tmp_path / "again", tmp_path / "parts", lines.append)
    assert any(line.startswith("going on from step 1, which ") for line in lines)
    state, _ = build(config, Process(torch.device("cpu")))
    state.images = away["images"]
    assert resume(state, config, tmp_path / "again")
    there = away["optimisers"]["flow"]["state"].values()
    here = state.optimisers["flow"].state_dict()["state"].values()
    for was, now in zip(there, here, strict=True):
        torch.testing.assert_close(now["exp_avg"], was["exp_avg"], rtol=1e-2, atol=1e-9)


@pytest.mark.parametrize("cut", [0, 300])
def test_parts_that_are_missing_or_cut_are_named_and_nothing_is_written(tmp_path, capsys, cut):
    if cut:
        (tmp_path / "state.pt.000").write_bytes(b"PK" * cut)
    assert travel.main([str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert str(tmp_path) in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hcflow_rescaling_x4_gpu", "hcflow_plus_x4_gpu"])
def test_the_configs_for_a_gpu_take_two_steps_on_the_cpu_and_go_on(tmp_path, name):
    crops = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), np.uint8)
    (tmp_path / "crops-000.npy.xz").write_bytes(shards.compress(crops // 8 + 100))
    config = read_config(f"configs/{name}.toml")
    config = replace(
        config,
        data=replace(config.data, patch=32, batch=2),
        schedule=replace(config.schedule, steps=2),
        run=replace(config.run, log_every=1, threads=1),
    )
    lines = []
    timed_run.run(config, tmp_path, tmp_path / "away", tmp_path / "parts", lines.append)
    assert any(line.startswith("step 2/2") for line in lines)
    longer = replace(config, run=replace(config.run, minutes=60.0))
    state = timed_run.run(longer, tmp_path, tmp_path / "next", tmp_path / "parts", lines.append)
    assert state.step == 2
    assert load(tmp_path / "next" / "model.safetensors").config == config.network.build()


def test_hcflow_train_takes_minutes_too(tmp_path, data, monkeypatch):
    given = []

    def train(config, *_):
        given.append(config)
        return SimpleNamespace(stopped_by=0)

    monkeypatch.setattr(trainer, "train", train)
    path = write_config(small_run(run={"minutes": 3.0}), tmp_path / "run.toml")
    command.train(path, data, tmp_path, minutes=0.5)
    command.train(path, data, tmp_path)
    assert [config.run.minutes for config in given] == [0.5, 3.0]


def test_the_script_says_what_is_wrong_in_one_line(tmp_path, data, capsys):
    path = write_config(small_run(), tmp_path / "run.toml")
    given = [str(path), "--data", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    assert timed_run.main(given) == 1
    assert "no such folder" in capsys.readouterr().err


def test_safetensors_are_the_same_with_and_without_the_library():
    tensors = {
        "b": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "a": torch.tensor([1, 2], dtype=torch.int64),
        "half": torch.ones(3, 1, dtype=torch.float16),
        "none": torch.empty(0, 2),
    }
    plain = safetensors_file.save_plainly(tensors, {"made": "here"})
    library = safetensors_file.save(tensors, {"made": "here"})
    for data in (plain, library):
        assert same(safetensors_file.load(data), tensors)
        assert same(safetensors_file.load_plainly(data), tensors)


@pytest.mark.parametrize("cut", [4, 40, -1])
def test_bytes_that_are_no_whole_safetensors_file_are_refused_without_the_library(cut):
    data = safetensors_file.save_plainly({"a": torch.ones(4)}, {})
    with pytest.raises(safetensors_file.SafetensorsError):
        safetensors_file.load_plainly(data[:cut])
