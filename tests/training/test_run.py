"""A run resumes to the bit, survives its end, and stops with one clear line."""

import errno
import fcntl
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import typer

from hcflow.commands import train as command
from hcflow_ref.checkpoint.load import load
from hcflow_ref.errors import TrainingError
from hcflow_ref.training import step as step_module
from hcflow_ref.training import trainer
from hcflow_ref.training.config.toml_file import read_config
from hcflow_ref.training.losses.vgg import VGGFeatures
from hcflow_ref.training.run_folder import state as state_module
from hcflow_ref.training.run_folder.lock import locked
from hcflow_ref.training.run_folder.log import RunLog
from hcflow_ref.training.trainer import train
from hcflow_ref.training.validation import bicubic_psnr
from tests.support.training_runs import small_run, write_images


def small_features():
    torch.manual_seed(0)
    return VGGFeatures((4, 0, 8)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


def run(config, data, out, features=None):
    lines = []
    state = train(config, data, out, lines.append, features)
    return state, lines


def stop_after(monkeypatch, step):
    """Interrupt the run as Ctrl-C does, once `step` is reached."""
    real = trainer.take_step

    def stopping(state, *rest):
        values = real(state, *rest)
        if state.step == step:
            os.kill(os.getpid(), signal.SIGINT)
        return values

    monkeypatch.setattr(trainer, "take_step", stopping)


def saved(out):
    return torch.load(out / "state.pt", weights_only=True)


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


@pytest.mark.parametrize("objective", ["rescaling", "gan"])
def test_a_run_interrupted_and_resumed_ends_in_the_same_bits(
    tmp_path, data, monkeypatch, objective
):
    config = small_run(objective)
    run(config, data, tmp_path / "whole", small_features())
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        _, lines = run(config, data, tmp_path / "parts", small_features())
        assert "interrupted at step 3" in lines[-1]
    _, lines = run(config, data, tmp_path / "parts", small_features())
    assert "resuming from step 3" in "\n".join(lines)
    whole, parts = saved(tmp_path / "whole"), saved(tmp_path / "parts")
    for part in ("step", "model", "average", "optimisers", "discriminator", "config"):
        assert same(whole[part], parts[part]), part


def test_the_average_is_shipped_under_official_names_with_its_temperature(tmp_path, data):
    state, _ = run(small_run(loss={"latent_weight": 0.0}), data, tmp_path)
    shipped = load(tmp_path / "model.safetensors")
    assert same(shipped.model.state_dict(), state.average.state_dict())
    assert shipped.default_tau == 0.9
    assert not same(shipped.model.state_dict(), state.model.state_dict())


def test_progress_tells_losses_speed_and_time_left_and_the_log_keeps_them(tmp_path, data):
    config = small_run(run={"validate_every": 2})
    _, lines = run(config, data, tmp_path)
    assert any(
        all(word in line for word in ("step 2/4", "hr ", "lr ", "images/s", "left"))
        for line in lines
    )
    assert any(line.startswith("step 2: validation PSNR") for line in lines)
    assert any("bicubic's validation PSNR, for comparison:" in line for line in lines)
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [e["step"] for e in entries if "hr" in e] == [1, 2, 3, 4]
    assert [e["step"] for e in entries if "validation_psnr" in e] == [2, 4]


SMALL = (
    '[network]\narchitecture = "rescaling"\nsteps = 2\nhidden = 8\ncond_steps = 2\n'
    "cond_hidden = 8\nfeatures = 8\ngrowth = 4\nblocks = [1, 1]\n"
    '[loss]\nobjective = "rescaling"\ntau = 0.5\n[schedule]\nsteps = {steps}\n'
    "[data]\npatch = 32\nbatch = 2\nvalidation = 1\n[run]\nsave_every = 1\nthreads = 1\n"
)


def started(tmp_path, data, steps, out):
    """A training process that has written its first checkpoint."""
    config = tmp_path / "run.toml"
    config.write_text(SMALL.format(steps=steps))
    command = [sys.executable, "-m", "hcflow", "train", str(config)]
    process = subprocess.Popen([*command, "--data", str(data), "--out", str(out)])
    until = time.monotonic() + 120
    while not (out / "state.pt").exists() and time.monotonic() < until:
        time.sleep(0.01)
    return config, process


def test_kill_9_loses_at_most_the_interval_and_the_run_ends_in_the_same_bits(tmp_path, data):
    steps = 16
    config, process = started(tmp_path, data, steps, tmp_path / "killed")
    process.kill()
    process.wait()
    assert 1 <= saved(tmp_path / "killed")["step"] < steps
    run(read_config(config), data, tmp_path / "killed")
    run(read_config(config), data, tmp_path / "whole")
    killed, whole = saved(tmp_path / "killed"), saved(tmp_path / "whole")
    for part in ("step", "model", "average", "optimisers"):
        assert same(whole[part], killed[part]), part


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_what_is_reached_and_is_the_exit_code(tmp_path, data, number, code):
    out = tmp_path / "out"
    _, process = started(tmp_path, data, 100000, out)
    process.send_signal(number)
    assert process.wait(timeout=60) == code
    assert saved(out)["step"] >= 1


def test_a_resume_from_another_config_names_the_difference_and_changes_nothing(tmp_path, data):
    run(small_run(), data, tmp_path)
    before = (tmp_path / "state.pt").read_bytes()
    with pytest.raises(TrainingError, match=r"schedule\.lr = 0\.001, the config says 0\.002"):
        run(small_run(schedule={"lr": 2e-3}), data, tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == before


def test_how_often_to_save_may_change_on_resume(tmp_path, data):
    run(small_run(), data, tmp_path)
    _, lines = run(small_run(run={"save_every": 3}), data, tmp_path)
    assert "resuming from step 4" in "\n".join(lines)


def test_a_damaged_state_is_named(tmp_path, data):
    run(small_run(), data, tmp_path)
    whole = (tmp_path / "state.pt").read_bytes()
    (tmp_path / "state.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainingError, match=r"state\.pt: not a whole training state"):
        run(small_run(), data, tmp_path)


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
def test_a_state_of_another_making_is_one_line(tmp_path, data, change, complaint):
    config = small_run(steps=1)
    run(config, data, tmp_path)
    torch.save(saved(tmp_path) | change, tmp_path / "state.pt")
    with pytest.raises(TrainingError, match=complaint) as raised:
        run(config, data, tmp_path)
    assert "\n" not in str(raised.value)


def test_a_run_of_a_version_without_a_key_goes_on(tmp_path, data):
    run(small_run(steps=1), data, tmp_path)
    content = saved(tmp_path)
    older = json.loads(content["config"])
    del older["loss"]["consistency_weight"]
    torch.save(content | {"config": json.dumps(older)}, tmp_path / "state.pt")
    _, lines = run(small_run(steps=1), data, tmp_path)
    assert "resuming from step 1" in "\n".join(lines)


def test_a_validation_that_is_not_finite_is_null_in_the_log(tmp_path, data, monkeypatch):
    monkeypatch.setattr(trainer, "validation_psnr", lambda *_: float("nan"))
    run(small_run(steps=1, run={"validate_every": 1}), data, tmp_path)
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [e["validation_psnr"] for e in entries if "validation_psnr" in e] == [None]
    assert "NaN" not in (tmp_path / "log.jsonl").read_text()


def test_a_flat_image_counts_for_50_db_in_the_validation():
    flat, noisy = np.full((64, 64, 3), 90, np.uint8), np.indices((64, 64, 3)).sum(0) % 2 * 255
    assert bicubic_psnr([flat], 4) == 50
    assert bicubic_psnr([flat, noisy.astype(np.uint8)], 4) == pytest.approx(
        (50 + bicubic_psnr([noisy.astype(np.uint8)], 4)) / 2
    )


def test_only_the_first_process_opens_a_log(tmp_path):
    RunLog(tmp_path, print, first=False).close()
    assert not list(tmp_path.iterdir())


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
    state, _ = run(small_run(), data, tmp_path)
    before = (tmp_path / "state.pt").read_bytes()
    room = (tmp_path / "model.safetensors").stat().st_size - (refused == "model.safetensors")
    named = (
        rf"{refused}: cannot be written \(File too large\); the previous checkpoint is untouched"
    )
    with files_end_at(room), pytest.raises(TrainingError, match=named):
        state_module.save_state(state, small_run(), tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == before
    assert not list(tmp_path.glob("*.tmp"))


def test_weights_are_written_for_everyone_to_read(tmp_path, data):
    run(small_run(steps=1), data, tmp_path)
    modes = [(tmp_path / name).stat().st_mode for name in ("model.safetensors", "state.pt")]
    assert modes[0] == modes[1]


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


def test_a_resumed_run_no_longer_needs_the_weights_it_started_from(tmp_path, data):
    run(small_run(steps=1), data, tmp_path / "first")
    weights = tmp_path / "first" / "model.safetensors"
    config = small_run(steps=2, network={"init": str(weights)})
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 1)
        run(config, data, tmp_path / "second")
    weights.unlink()
    state, _ = run(config, data, tmp_path / "second")
    assert state.step == 2


def test_a_folder_that_another_run_writes_to_is_refused(tmp_path, data):
    with locked(tmp_path), pytest.raises(TrainingError, match="another training run writes there"):
        run(small_run(), data, tmp_path)
    run(small_run(steps=1), data, tmp_path)


def test_a_file_in_the_place_of_the_runs_folder_is_named(tmp_path, data):
    (tmp_path / "out").write_text("notes")
    with pytest.raises(TrainingError, match="out: cannot be written to"):
        run(small_run(), data, tmp_path / "out")


def test_images_that_are_all_smaller_than_the_patch_are_one_line(tmp_path):
    folder = write_images(tmp_path / "images", 3, size=24)
    with pytest.raises(TrainingError, match=r"no usable image among 3 .* at least 32×32") as raised:
        run(small_run(), folder, tmp_path / "out")
    assert "\n" not in str(raised.value)


def test_nan_stops_the_run_with_step_and_layer_and_keeps_the_last_checkpoint(
    tmp_path, data, monkeypatch
):
    real = trainer.take_step

    def poisoned(state, *rest):
        if state.step == 3:
            with torch.no_grad():
                state.model.levels[1].cond.steps[0].net.conv2.weight[0] = torch.nan
        return real(state, *rest)

    monkeypatch.setattr(trainer, "take_step", poisoned)
    named = (
        r"step 3, rescaling: loss .* is nan; first seen in layer 'levels\.1\.cond\.steps\.0\.net"
    )
    with pytest.raises(TrainingError, match=named):
        run(small_run(), data, tmp_path)
    kept = saved(tmp_path)
    assert kept["step"] == 2
    assert all(torch.isfinite(w).all() for w in kept["model"].values())


def test_a_singular_1x1_convolution_stops_the_run_by_its_name(tmp_path, data, monkeypatch):
    real = trainer.take_step

    def singular(state, *rest):
        with torch.no_grad():
            state.model.levels[1].cond.steps[0].permute.weight[0] = 0
        return real(state, *rest)

    monkeypatch.setattr(trainer, "take_step", singular)
    named = r"step 0, inverse: .*singular; first seen in layer 'levels\.1\.cond\.steps\.0\.permute'"
    with pytest.raises(TrainingError, match=named):
        run(small_run(loss={"latent_weight": 0.0}), data, tmp_path)


def test_an_exploding_inverse_stops_the_run(tmp_path, data, monkeypatch):
    real = trainer.take_step

    def exploding(state, *rest):
        if state.step == 1:
            with torch.no_grad():
                state.model.levels[1].steps[0].actnorm.logs.fill_(-12)
        return real(state, *rest)

    monkeypatch.setattr(trainer, "take_step", exploding)
    exploded = r"step 1, rescaling: .*exploded; first seen in layer 'levels\."
    with pytest.raises(TrainingError, match=exploded):
        run(small_run(loss={"latent_weight": 0.0, "lr_weight": 0.0}), data, tmp_path)


def test_weights_that_are_not_finite_are_never_saved(tmp_path, data):
    state, _ = run(small_run(), data, tmp_path)
    before = (tmp_path / "state.pt").read_bytes()
    with torch.no_grad():
        state.model.levels[0].steps[1].actnorm.logs[:] = torch.inf
    with pytest.raises(TrainingError, match=r"weight 'levels\.0\.steps\.1\.actnorm\.logs'"):
        state_module.save_state(state, small_run(), tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == before


def test_a_held_out_image_that_is_cut_off_is_named(tmp_path):
    folder = write_images(tmp_path / "images")
    chosen = folder / "image2.bmp"
    chosen.write_bytes(chosen.read_bytes()[:-2000])
    state, lines = run(small_run(), folder, tmp_path / "out")
    assert state.step == 4
    assert any(re.search(r"skipped .*image2\.bmp: cannot be read", line) for line in lines)


def test_a_run_does_not_go_on_with_other_images(tmp_path):
    folder = write_images(tmp_path / "images", count=5)
    run(small_run(steps=2), folder, tmp_path / "out")
    (folder / "image0.png").unlink()
    with pytest.raises(TrainingError, match="other images than those in --data"):
        run(small_run(steps=2), folder, tmp_path / "out")


def test_a_discriminator_that_breaks_is_named_and_never_saved(tmp_path, data, monkeypatch):
    features = small_features()
    real = step_module.total

    def poisoned(terms):
        loss = real(terms)
        return loss * torch.nan if "discriminator" in terms else loss

    monkeypatch.setattr(step_module, "total", poisoned)
    with pytest.raises(TrainingError, match=r"step 0, discriminator: .*norm is nan; first seen in"):
        run(small_run("gan"), data, tmp_path, features)
    monkeypatch.undo()
    state, _ = run(small_run("gan"), data, tmp_path / "whole", features)
    before = (tmp_path / "whole" / "state.pt").read_bytes()
    with torch.no_grad():
        next(state.discriminator.parameters()).fill_(torch.nan)
    with pytest.raises(TrainingError, match=r"weight 'discriminator\."):
        state_module.save_state(state, small_run("gan"), tmp_path / "whole")
    assert (tmp_path / "whole" / "state.pt").read_bytes() == before


def test_one_patch_a_process_is_too_little_for_the_discriminator(tmp_path, data):
    with pytest.raises(TrainingError, match=r"'data\.batch' leaves one patch"):
        run(small_run("gan", data={"batch": 1}), data, tmp_path)


def test_starting_weights_of_another_architecture_are_refused(tmp_path, data):
    config = small_run(network={"init": "tests/golden/rescale_x4_small.safetensors"})
    with pytest.raises(TrainingError, match=r"network\.init.*the config asks for"):
        run(config, data, tmp_path)


def test_the_command_says_what_is_wrong_in_one_line(tmp_path):
    command = [sys.executable, "-m", "hcflow", "train", str(tmp_path / "none.toml")]
    done = subprocess.run(
        [*command, "--data", str(tmp_path), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "none.toml: cannot be read" in done.stderr
    assert done.stderr.count("\n") == 1


def test_names_that_no_terminal_shows_end_no_run_and_are_escaped(tmp_path):
    config = tmp_path / "run.toml"
    config.write_text(
        '[network]\narchitecture = "sr"\n[loss]\nobjective = "nll"\n[schedule]\nsteps = 1\n'
    )
    (tmp_path / "\udcff\x1b\n.png").write_bytes(b"")
    command = [sys.executable, "-m", "hcflow", "train", str(config)]
    done = subprocess.run(
        [*command, "--data", str(tmp_path), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "\\udcff\\x1b\\n.png: cannot be read" in done.stdout
    assert "no usable image among 1 image files" in done.stderr
    assert (done.stdout.count("\n"), done.stderr.count("\n")) == (1, 1)


def test_several_processes_train_as_one_and_go_on_to_the_bit(tmp_path, data):
    config = tmp_path / "run.toml"
    config.write_text(
        '[network]\narchitecture = "rescaling"\nsteps = 2\nhidden = 8\ncond_steps = 2\n'
        "cond_hidden = 8\nfeatures = 8\ngrowth = 4\nblocks = [1, 1]\n"
        '[loss]\nobjective = "rescaling"\ntau = 0.0\n'
        "[schedule]\nsteps = 4\nactnorm_steps = 0\n"
        "[data]\npatch = 32\nbatch = 3\nvalidation = 1\n[run]\nthreads = 1\nsave_every = 2\n"
    )
    dies = tmp_path / "dies.py"
    dies.write_text(
        "import os\nfrom pathlib import Path\n"
        "from hcflow_ref.training import trainer\n"
        "from hcflow_ref.training.config.toml_file import read_config\n"
        "step = trainer.take_step\n"
        "def take_step(state, *rest):\n"
        "    return os._exit(9) if state.step == 3 else step(state, *rest)\n"
        "trainer.take_step = take_step\n"
        f"trainer.train(read_config({str(config)!r}), Path({str(data)!r}), "
        f"Path({str(tmp_path / 'resumed')!r}), print)\n"
    )
    module = ["-m", "hcflow", "train", str(config), "--data", str(data), "--out"]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3"]
    alone, together, resumed = (str(tmp_path / name) for name in ("alone", "together", "resumed"))
    subprocess.run([sys.executable, *module, alone], check=True)
    done = subprocess.run(
        [sys.executable, *launcher, *module, together], check=True, capture_output=True, text=True
    )
    assert "Warning" not in done.stdout + done.stderr
    assert subprocess.run([sys.executable, *launcher, str(dies)], check=False).returncode != 0
    assert saved(tmp_path / "resumed")["step"] == 2
    subprocess.run([sys.executable, *launcher, *module, resumed], check=True)
    one, three, again = (saved(Path(name))["model"] for name in (alone, together, resumed))
    assert all(torch.allclose(one[k], three[k], atol=2e-6) for k in one)
    assert all(torch.equal(three[k], again[k]) for k in three)


def test_a_launch_that_leads_nowhere_is_one_line(tmp_path, data, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainingError, match=r"cannot connect \(.*RANK.*: start them with"):
        run(small_run(), data, tmp_path)


def test_memory_that_runs_out_is_one_line(tmp_path, data, monkeypatch, capsys):
    def hungry(*_):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes\nat")

    monkeypatch.setattr(trainer, "take_step", hungry)
    config = tmp_path / "run.toml"
    config.write_text(
        '[network]\narchitecture = "irn"\nsteps = 1\ngrowth = 4\n[loss]\nobjective = "rescaling"\n'
        "[schedule]\nsteps = 1\n[data]\npatch = 32\nvalidation = 1\n"
    )
    with pytest.raises(typer.Exit) as ended:
        command.train(config, data, tmp_path / "out")
    said = capsys.readouterr().err
    assert ended.value.exit_code == 1
    assert said.startswith("hcflow train: out of memory ([enforce fail]")
    assert said.endswith("the last checkpoint is kept\n")


def test_a_file_system_without_locks_takes_a_run(tmp_path, monkeypatch):
    def unknown(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", unknown)
    with locked(tmp_path):
        pass


def test_a_line_that_the_disk_cut_off_does_not_spoil_the_next(tmp_path):
    log = RunLog(tmp_path, print, first=False)
    log.write(1, {"hr": 0.5})
    with files_end_at(30), pytest.raises(TrainingError, match=r"log\.jsonl: cannot be written"):
        log.write(2, {"hr": 0.5})
    log.write(3, {"hr": 0.5})
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 3]
