"""The folder of a run: one run at a time, whole files, and logs that a full disk does not spoil."""

import dataclasses
import errno
import fcntl
import json
import os
import resource
from contextlib import contextmanager

import pytest

from hcflow_ref.errors import TrainingError
from hcflow_ref.training.config.settings import (
    LossSettings,
    NetworkSettings,
    ScheduleSettings,
    TrainConfig,
)
from hcflow_ref.training.run_folder.lock import locked
from hcflow_ref.training.run_folder.log import RunLog
from hcflow_ref.training.run_folder.state import _same_configuration, save_state
from tests.support.training_runs import run, small_run


def test_a_folder_that_another_run_writes_to_is_refused(tmp_path, data):
    with locked(tmp_path), pytest.raises(TrainingError, match="another training run writes there"):
        run(small_run(), data, tmp_path)
    state, _ = run(small_run(steps=1), data, tmp_path)
    assert state.step == 1


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_takes_a_run(tmp_path, data, monkeypatch, number):
    asked = []

    def unknown(*arguments):
        asked.append(arguments)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", unknown)
    state, _ = run(small_run(steps=1), data, tmp_path)
    assert asked
    assert state.step == 1
    assert (tmp_path / "state.pt").exists()


def test_a_file_in_the_place_of_the_runs_folder_is_named(tmp_path, data):
    (tmp_path / "out").write_text("notes")
    with pytest.raises(TrainingError, match="out: cannot be written to"):
        run(small_run(), data, tmp_path / "out")


@contextmanager
def files_end_at(size):
    """As on a full disk, no file can grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("refused", ["model.safetensors", "state.pt"])
def test_a_full_disk_during_a_checkpoint_keeps_the_one_before(tmp_path, data, refused):
    config = small_run(steps=1)
    state, _ = run(config, data, tmp_path)
    before = (tmp_path / "state.pt").read_bytes()
    room = (tmp_path / "model.safetensors").stat().st_size - (refused == "model.safetensors")
    named = (
        rf"{refused}: cannot be written \(File too large\); the previous checkpoint is untouched"
    )
    with files_end_at(room), pytest.raises(TrainingError, match=named):
        save_state(state, config, tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == before
    assert not list(tmp_path.glob("*.tmp"))


def test_weights_are_written_for_everyone_to_read(tmp_path, data):
    run(small_run(steps=1), data, tmp_path)
    modes = [(tmp_path / name).stat().st_mode for name in ("model.safetensors", "state.pt")]
    assert modes[0] == modes[1]


def test_only_the_first_process_opens_a_log(tmp_path):
    RunLog(tmp_path, print, first=False).close()
    assert not list(tmp_path.iterdir())


def test_tensorboard_reads_what_was_logged(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = RunLog(tmp_path, print)
    log.write(20, {"hr": 0.5, "validation_psnr": 30.25})
    log.write(40, {"hr": 0.25})
    log.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("hr")] == [(20, 0.5), (40, 0.25)]
    assert [e.value for e in events.Scalars("validation_psnr")] == [30.25]


def test_a_full_disk_when_the_log_is_opened_is_one_line(tmp_path):
    (tmp_path / "tensorboard").write_text("in the way")
    pytest.importorskip("tensorboard")
    with pytest.raises(TrainingError, match=r"log\.jsonl: cannot be written \(File exists\)"):
        RunLog(tmp_path, print)


def test_a_full_disk_under_the_log_names_it_and_keeps_the_checkpoint(tmp_path, data):
    run(small_run(steps=1), data, tmp_path)
    before = (tmp_path / "state.pt").read_bytes()
    (tmp_path / "log.jsonl").unlink()
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(TrainingError, match=r"log\.jsonl: cannot be written \(No space left"):
        RunLog(tmp_path, print).write(1, {"hr": 0.5})
    assert (tmp_path / "state.pt").read_bytes() == before


def test_a_line_that_the_disk_cut_off_does_not_spoil_the_next(tmp_path):
    log = RunLog(tmp_path, print, first=False)
    log.write(1, {"hr": 0.5})
    with files_end_at(30), pytest.raises(TrainingError, match=r"log\.jsonl: cannot be written"):
        log.write(2, {"hr": 0.5})
    log.write(3, {"hr": 0.5})
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 3]


@pytest.mark.parametrize(
    "key", [("network", "blocks"), ("schedule", "halve_at"), ("data", "patch")]
)
def test_a_key_that_an_older_version_lacks_counts_as_its_default(tmp_path, key):
    config = TrainConfig(
        NetworkSettings("rescaling", 4), LossSettings("rescaling"), ScheduleSettings(10)
    )
    saved = json.loads(json.dumps(dataclasses.asdict(config)))
    given = saved[key[0]].pop(key[1])
    _same_configuration(saved, config, tmp_path)
    saved[key[0]][key[1]] = [*given, 1] if isinstance(given, list) else given + 1
    with pytest.raises(TrainingError, match=rf"{key[0]}\.{key[1]} = "):
        _same_configuration(saved, config, tmp_path)


def test_a_key_without_a_default_that_is_missing_is_named(tmp_path):
    config = TrainConfig(
        NetworkSettings("rescaling", 4), LossSettings("rescaling"), ScheduleSettings(10)
    )
    saved = json.loads(json.dumps(dataclasses.asdict(config)))
    del saved["loss"]["objective"]
    with pytest.raises(TrainingError, match=r"loss\.objective = None, the config says 'rescaling'"):
        _same_configuration(saved, config, tmp_path)
