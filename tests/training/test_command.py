"""`hcflow train` ends with the exit code of what ended it, and says what is wrong in one line."""

import os
import signal
import subprocess
import sys
import time

import pytest
import typer

from hcflow.commands.train import train
from hcflow_ref.training import trainer
from tests.support.training_runs import after_step, saved, small_run, write_config


@pytest.fixture
def config(tmp_path):
    return write_config(small_run(), tmp_path / "run.toml")


def ended(config, data, out):
    """The exit code of a command that does not end well."""
    with pytest.raises(typer.Exit) as raised:
        train(config, data, out)
    return raised.value.exit_code


SIGNALS = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


@SIGNALS
def test_a_signal_saves_what_is_reached_and_is_the_exit_code(
    tmp_path, config, data, monkeypatch, number, code
):
    after_step(monkeypatch, 3, lambda: os.kill(os.getpid(), number))
    assert ended(config, data, tmp_path / "out") == code
    assert saved(tmp_path / "out")["step"] == 3


@pytest.mark.slow
@SIGNALS
def test_a_signal_to_the_program_is_its_exit_code(tmp_path, data, number, code):
    config = write_config(small_run(steps=100000, run={"save_every": 1}), tmp_path / "run.toml")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "hcflow", "train", config, "--data", data, "--out", out]
    process = subprocess.Popen(command)
    while not (out / "state.pt").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait() == code
    assert saved(out)["step"] >= 1


def test_the_command_says_what_is_wrong_in_one_line(tmp_path, capsys):
    assert ended(tmp_path / "none.toml", tmp_path, tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "none.toml: cannot be read" in said
    assert said.count("\n") == 1


def test_names_that_no_terminal_shows_end_no_run_and_are_escaped(tmp_path, config):
    (tmp_path / "\udcff\x1b\n.png").write_bytes(b"")
    command = [sys.executable, "-m", "hcflow", "train", config]
    done = subprocess.run(
        [*command, "--data", tmp_path, "--out", tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "\\udcff\\x1b\\n.png: cannot be read" in done.stdout
    assert "no usable image among 1 image files" in done.stderr
    assert (done.stdout.count("\n"), done.stderr.count("\n")) == (1, 1)


def test_memory_that_runs_out_is_one_line(tmp_path, config, data, monkeypatch, capsys):
    def hungry(*_):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes\nat")

    monkeypatch.setattr(trainer, "take_step", hungry)
    assert ended(config, data, tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert said.startswith("hcflow train: out of memory ([enforce fail]")
    assert said.endswith("the last checkpoint is kept\n")
    assert said.count("\n") == 1
