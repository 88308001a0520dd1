"""The evaluation protocol, as a person and as a program reads it."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from hcflow_ref.checkpoint import load
from hcflow_ref.errors import CheckpointError
from hcflow_ref.evaluation import (
    Settings,
    average,
    evaluate,
    evaluate_image,
    haarpsi,
    read_folder,
)
from hcflow_ref.evaluation_report import contact_sheet, table, to_json
from hcflow_ref.likelihood import quantise
from hcflow_ref.metrics import bicubic_downscale, fidelity
from hcflow_ref.models import weights
from hcflow_ref.photographs import photograph, to_image, to_tensor

SR = "tests/golden/sr_x4_small.safetensors"
RESCALING = "tests/golden/rescale_x4_small.safetensors"
IRN = "tests/golden/irn_x4_small.safetensors"


def crop():
    return np.ascontiguousarray(photograph("astronaut")[64:128, 160:240])


@pytest.mark.parametrize("path", [RESCALING, IRN])
def test_rescaling_is_measured_through_its_own_8_bit_lr(path):
    model = load(path).network
    row, outputs = evaluate_image(model, "crop", crop(), Settings(tau=0.0))
    with torch.no_grad():
        lr = quantise(model(to_tensor(crop())).lr)
        expected = to_image(model.inverse(lr, model.zero_latents(lr)))
    assert (outputs.restored == expected).all()
    assert (outputs.lr == to_image(lr)).all()
    assert row.restored == fidelity(expected, crop(), 4)
    assert (row.sampled, row.diversity, row.bits_per_pixel) == (None, None, None)


def test_super_resolution_starts_from_the_bicubic_lr_and_its_samples_differ():
    row, outputs = evaluate_image(load(SR).network, "crop", crop(), Settings(tau=0.9, samples=3))
    assert (outputs.lr == bicubic_downscale(crop(), 4)).all()
    assert row.lr_psnr == float("inf")
    assert row.diversity > 0
    assert row.sampled_consistency is not None
    assert np.isfinite(row.bits_per_pixel)


def test_the_same_seed_gives_the_same_figures_and_another_does_not():
    model = load(SR).network
    rows = [evaluate_image(model, "crop", crop(), Settings(0.9, seed, 1))[0] for seed in (0, 0, 1)]
    assert rows[0] == rows[1]
    assert rows[0].sampled != rows[2].sampled


def test_table_json_and_contact_sheet_hold_every_image(tmp_path):
    images = {"one": crop(), "two": crop()[::-1].copy()}
    settings = Settings(tau=0.9, samples=1)
    rows, outputs = evaluate(load(RESCALING).network, images, settings)
    assert table(rows, settings).row_count == 3
    content = json.loads(to_json(rows, settings, {"checkpoint": "x"}))
    assert [image["name"] for image in content["images"]] == ["one", "two"]
    mean = (rows[0].restored.psnr + rows[1].restored.psnr) / 2
    assert content["average"]["restored"]["psnr"] == pytest.approx(mean)
    assert average(rows).restored.psnr == pytest.approx(mean)
    sheet = contact_sheet(rows, outputs)
    assert sheet.shape == (2 * (3 * 96 + 16), 4 * 3 * 96, 3)


def test_a_folder_is_read_and_what_is_wrong_in_it_named(tmp_path):
    with pytest.raises(CheckpointError, match="holds no images"):
        read_folder(tmp_path, 4)
    with pytest.raises(CheckpointError, match="no such folder"):
        read_folder(tmp_path / "none", 4)
    Image.fromarray(crop()[:-1]).save(tmp_path / "a.png")
    assert read_folder(tmp_path, 4)["a.png"].shape == (60, 80, 3)
    (tmp_path / "b.jpg").write_bytes(b"no image")
    with pytest.raises(CheckpointError, match=r"b\.jpg: not a whole image"):
        read_folder(tmp_path, 4)


def test_the_command_prints_a_table_and_writes_what_it_is_asked(tmp_path):
    Image.fromarray(crop()).save(tmp_path / "a.png")
    command = [sys.executable, "-m", "hcflow_ref.evaluation_command", IRN, "--data", str(tmp_path)]
    files = ["--json", str(tmp_path / "e.json"), "--sheet", str(tmp_path / "sheet.webp")]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=True)
    assert "a.png" in done.stdout
    assert json.loads((tmp_path / "e.json").read_text())["settings"]["seed"] == 0
    assert Image.open(tmp_path / "sheet.webp").width == 4 * 3 * 96
    done = subprocess.run([*command[:3], "none.pth"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("hcflow evaluate: none.pth: cannot be read")


def test_the_perceptual_metric_is_piqs_where_it_can_be_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "piq", None)
    assert haarpsi(crop(), crop()) is None
    stand_in = SimpleNamespace(haarpsi=lambda a, b, data_range: (a - b).abs().max() + data_range)
    monkeypatch.setitem(sys.modules, "piq", stand_in)
    assert haarpsi(crop(), crop()) == 1.0


SHIPPED_ON_CHELSEA = (32.71, 0.8755, 40.4)
"""PSNR, SSIM and LR PSNR of the published table of the shipped weights at τ = 0."""


def test_the_shipped_rescaling_weights_give_their_published_figures():
    model = load(weights("rescale_x4")).network
    row, _ = evaluate_image(model, "chelsea", photograph("chelsea", 4), Settings(tau=0.0))
    psnr, ssim, lr = SHIPPED_ON_CHELSEA
    assert row.restored.psnr == pytest.approx(psnr, abs=0.01)
    assert row.restored.ssim == pytest.approx(ssim, abs=0.0001)
    assert row.lr_psnr == pytest.approx(lr, abs=0.1)
