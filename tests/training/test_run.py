"""A run trains, reports and validates, and ships its averaged weights."""

import json
import re

import numpy as np
import pytest
import torch

from hcflow_ref.checkpoint.load import load
from hcflow_ref.errors import TrainingError
from hcflow_ref.training import trainer
from hcflow_ref.training.parameters import ema
from hcflow_ref.training.validation import bicubic_psnr
from tests.support.training_runs import run, same, small_run, write_images


def logged(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_the_average_is_shipped_under_official_names_with_its_temperature(tmp_path, data):
    state, _ = run(small_run(steps=2, loss={"latent_weight": 0.0}), data, tmp_path)
    shipped = load(tmp_path / "model.safetensors")
    assert same(shipped.model.state_dict(), state.average.state_dict())
    assert shipped.default_tau == 0.9
    assert not same(shipped.model.state_dict(), state.model.state_dict())


@pytest.mark.parametrize(("step", "decay"), [(0, 1 / 4), (2, 3 / 6), (10**6, 0.9)])
def test_the_average_moves_by_its_decay_and_faster_early_on(step, decay):
    model = torch.nn.Linear(3, 2)
    average = ema.averaged_copy(model)
    before = [p.clone() for p in average.parameters()]
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1)
    ema.update(average, model, 0.9, step)
    for was, now, new in zip(before, average.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(now, decay * was + (1 - decay) * new)
        assert not now.requires_grad


def test_progress_tells_losses_speed_and_time_left_and_the_log_keeps_them(tmp_path, data):
    config = small_run(run={"validate_every": 2})
    _, lines = run(config, data, tmp_path)
    assert any(
        all(word in line for word in ("step 2/4", "hr ", "lr ", "images/s", "left"))
        for line in lines
    )
    assert any(line.startswith("step 2: validation PSNR") for line in lines)
    assert any("bicubic's validation PSNR, for comparison:" in line for line in lines)
    entries = logged(tmp_path)
    assert [e["step"] for e in entries if "hr" in e] == [1, 2, 3, 4]
    assert [e["step"] for e in entries if "validation_psnr" in e] == [2, 4]


def test_a_validation_that_is_not_finite_is_null_in_the_log(tmp_path, data, monkeypatch):
    monkeypatch.setattr(trainer, "validation_psnr", lambda *_: float("nan"))
    run(small_run(steps=1, run={"validate_every": 1}), data, tmp_path)
    assert [e["validation_psnr"] for e in logged(tmp_path) if "validation_psnr" in e] == [None]
    assert "NaN" not in (tmp_path / "log.jsonl").read_text()


def test_a_flat_image_counts_for_50_db_in_the_validation():
    flat, noisy = np.full((64, 64, 3), 90, np.uint8), np.indices((64, 64, 3)).sum(0) % 2 * 255
    assert bicubic_psnr([flat], 4) == 50
    assert bicubic_psnr([flat, noisy.astype(np.uint8)], 4) == pytest.approx(
        (50 + bicubic_psnr([noisy.astype(np.uint8)], 4)) / 2
    )


def test_a_held_out_image_that_is_cut_off_is_named(tmp_path):
    folder = write_images(tmp_path / "images")
    chosen = folder / "image2.bmp"
    chosen.write_bytes(chosen.read_bytes()[:-2000])
    state, lines = run(small_run(steps=1), folder, tmp_path / "out")
    assert state.step == 1
    assert any(re.search(r"skipped .*image2\.bmp: cannot be read", line) for line in lines)


def test_images_that_are_all_smaller_than_the_patch_are_one_line(tmp_path):
    folder = write_images(tmp_path / "images", 3, size=24)
    with pytest.raises(TrainingError, match=r"no usable image among 3 .* at least 32×32") as raised:
        run(small_run(), folder, tmp_path / "out")
    assert "\n" not in str(raised.value)


def test_starting_weights_of_another_architecture_are_refused(tmp_path, data):
    config = small_run(network={"init": "tests/golden/rescale_x4_small.safetensors"})
    with pytest.raises(TrainingError, match=r"network\.init.*the config asks for"):
        run(config, data, tmp_path)
