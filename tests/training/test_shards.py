"""Shards hold the crops that a folder of images gives, and a run trains on them alone."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont

from hcflow_ref.checkpoint.load import save
from hcflow_ref.errors import TrainingError
from hcflow_ref.training.config.settings import DataSettings
from hcflow_ref.training.data import shards, write_shards
from hcflow_ref.training.data.patches import Patches, list_images
from hcflow_ref.training.data.rendering_materials import SENTENCES, Sources
from hcflow_ref.training.data.write_shards import Request, write
from hcflow_ref.training.setup import build_network
from tests.support.training_runs import run, small_run, write_config, write_images

CPU = torch.device("cpu")
REQUEST = Request(side=48, validation=1, seed=5, crops=6)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Four small pictures, and one that is large enough to be validated on."""
    folder = write_images(tmp_path_factory.mktemp("pictures"), 4, 64)
    noise = np.random.default_rng(1).integers(0, 256, (300, 280, 3), np.uint8)
    Image.fromarray(noise).save(folder / "image2-large.png")  # the middle one: it is held out
    return list_images(folder, 48, print)


@pytest.fixture(scope="module")
def folder(pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    write(folder, pictures, REQUEST, lambda line: None)
    return folder


def test_crops_are_those_that_training_would_draw_and_come_back_to_the_byte(pictures, folder):
    crops = shards.read_all(shards.shard_files(folder), 32)
    training = [path for path in pictures if path.name != "image2-large.png"]
    drawn = Patches(training, DataSettings(48, 1, 0), REQUEST.seed)
    assert crops.shape == (6, 48, 48, 3)
    assert all(np.array_equal(crops[i], drawn.patch(0, i)) for i in range(6))


def test_the_same_request_writes_the_same_bytes(pictures, folder, tmp_path):
    write(tmp_path, pictures, REQUEST, lambda line: None)
    for path in folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_held_out_images_are_validated_on_and_never_cropped(folder):
    (image,) = shards.validation_images(folder, 4, 4, print)
    assert image.shape == (256, 256, 3)
    assert shards.validation_images(folder, 0, 4, print) == []


def test_all_files_together_stay_below_the_bytes(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(write_shards, "CROPS_A_SHARD", 2)
    request = replace(REQUEST, validation=0, crops=None, bytes=60_000)
    count = write(tmp_path, pictures, request, lambda line: None)
    files = shards.shard_files(tmp_path)
    assert len(files) >= 2
    assert count == 2 * len(files)
    assert sum(path.stat().st_size for path in files) <= 60_000
    with pytest.raises(TrainingError, match="holds shards already"):
        write(tmp_path, pictures, request)
    with pytest.raises(TrainingError, match="hold not one shard of 2 crops of 48×48"):
        write(tmp_path / "other", pictures, replace(request, bytes=500))


def test_a_batch_is_cut_from_crops_turned_and_mirrored_by_seed_step_and_index():
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (2, 9, 10, 3), np.uint8)
    settings = DataSettings(patch=8, batch=12)
    patches = shards.ShardPatches(crops, settings, 3, CPU)
    batch = patches.batch(7)
    assert batch.shape == (12, 3, 8, 8)
    windows = {}
    for crop in crops:
        for y in range(2):
            for x in range(3):
                window = crop[y : y + 8, x : x + 8]
                for turned in (window, window.transpose(1, 0, 2)):
                    for rows in (1, -1):
                        for columns in (1, -1):
                            kind = (rows, columns, turned is window)
                            windows[turned[::rows, ::columns].tobytes()] = kind
    found = [
        windows[(patch * 255).round().byte().permute(1, 2, 0).contiguous().numpy().tobytes()]
        for patch in batch
    ]
    assert len(set(found)) > 4
    shared = torch.cat([patches.batch(7, rank, 2) for rank in range(2)])
    assert torch.equal(shared, torch.cat([batch[0::2], batch[1::2]]))
    assert torch.equal(next(patches.batches(7, 0, 1)), batch)


def test_a_run_trains_on_shards_and_goes_on_from_its_state(folder, tmp_path):
    config = small_run(steps=2, data={"validation": 1}, run={"validate_every": 2})
    state, lines = run(config, folder, tmp_path / "whole")
    assert state.step == 2
    assert "6 crops of 48×48 to train on, 1 images to validate on" in lines
    assert any(line.startswith("step 2: validation PSNR") for line in lines)


def test_shards_do_not_take_settings_that_are_for_images(folder, tmp_path):
    with pytest.raises(TrainingError, match=r"'data\.short_sides' is \(64,\), but --data holds sh"):
        run(small_run(data={"short_sides": (64,)}), folder, tmp_path)
    with pytest.raises(TrainingError, match=r"48×48 are smaller than data\.patch, 64"):
        run(small_run(data={"patch": 64}), folder, tmp_path)


@pytest.mark.parametrize("content", [b"", b"no xz", shards.compress(np.zeros((2, 4), np.uint8))])
def test_a_damaged_shard_is_named(tmp_path, content):
    (tmp_path / "crops-000.npy.xz").write_bytes(content)
    with pytest.raises(TrainingError, match=r"crops-000\.npy\.xz: "):
        run(small_run(), tmp_path, tmp_path / "out")


def test_a_shard_that_was_cut_off_or_is_of_another_size_is_named(folder, tmp_path):
    content = shards.shard_files(folder)[0].read_bytes()
    (tmp_path / "crops-000.npy.xz").write_bytes(content[:-40])
    with pytest.raises(TrainingError, match="not a whole shard"):
        shards.read(tmp_path / "crops-000.npy.xz")
    (tmp_path / "crops-000.npy.xz").write_bytes(content)
    (tmp_path / "crops-001.npy.xz").write_bytes(shards.compress(np.zeros((1, 50, 50, 3), np.uint8)))
    with pytest.raises(TrainingError, match=r"crops-001\.npy\.xz: crops of 50×50, but crops-000"):
        shards.read_all(shards.shard_files(tmp_path), 8)


def test_the_command_draws_from_folders_and_rendered_pictures(tmp_path, monkeypatch, capsys):
    (tmp_path / "font.ttf").write_bytes(ImageFont.load_default(20).font_bytes)
    fonts = ((tmp_path / "font.ttf",), *[()] * (len(SENTENCES) - 1))
    monkeypatch.setattr(write_shards, "find_sources", lambda *_: Sources(fonts, ()))
    photographs = write_images(tmp_path / "photographs", 2, 64)
    given = [tmp_path / "out", "--data", photographs, "--rendered", 2]
    given += ["--side", 32, "--validation", 0, "--crops", 5]
    assert write_shards.main([str(value) for value in given]) == 0
    assert "5 crops of 32×32 in" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "shards.json").read_text())["images"] == 4
    assert write_shards.main([str(value) for value in given]) == 1
    assert "holds shards already" in capsys.readouterr().err


WITHOUT = """
import sys
for name in ("PIL", "safetensors", "tensorboard", "rich", "typer", "onnx", "skimage"):
    sys.modules[name] = None
from hcflow_ref.training import timed_run
"""


def test_shards_are_opened_and_checkpoints_read_by_pytorch_and_numpy_alone(folder):
    work = f"""
import torch
from pathlib import Path
from hcflow_ref.checkpoint.load import load
from hcflow_ref.training.data.dataset import open_dataset
config = timed_run.read_config("configs/hcflow_rescaling_x4_gpu.toml")
config = timed_run.replace(config, data=timed_run.replace(config.data, patch=32, batch=2))
data = open_dataset(Path({str(folder)!r}), config, torch.device("cpu"), print)
print(next(data.batches(0, 0, 1)).shape, load("tests/golden/rescale_x4_small.safetensors").config)
"""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + work], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "torch.Size([2, 3, 32, 32]) HCFlowConfig" in done.stdout


@pytest.mark.slow
def test_a_timed_run_needs_pytorch_and_numpy_alone(folder, tmp_path):
    config = small_run(steps=2)
    start = tmp_path / "start.safetensors"
    save(build_network(config), start, {})
    config = replace(config, network=replace(config.network, init=str(start)))
    path = write_config(config, tmp_path / "run.toml")
    code = WITHOUT + "raise SystemExit(timed_run.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, path, "--data", folder, "--out", tmp_path / "run"]
    done = subprocess.run(
        [*command, "--parts", tmp_path / "parts"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "step 2/2" in done.stdout
    assert (tmp_path / "run" / "model.safetensors").exists()
    assert (tmp_path / "parts" / "state.pt.000").exists()
