"""Files, folders and models work where POSIX's modules and names are missing, as on Windows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.bundles import write_bundle

ROOT = Path(__file__).parents[2]
WITHOUT = ROOT / "tests" / "support" / "without_posix"


def hcflow(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(WITHOUT), str(ROOT)))}
    return subprocess.run(
        [sys.executable, "-m", "hcflow", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (6, 7, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_the_names_are_really_missing() -> None:
    code = "import os, sys; print(hasattr(os, 'getuid'), sys.modules['fcntl'])"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(WITHOUT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == ["False", "None"]


def test_an_image_is_upscaled_and_written(bundle: Path, photo: Path, tmp_path: Path) -> None:
    run = hcflow("upscale", photo, "-o", tmp_path / "large.png", "--model", bundle)
    assert run.returncode == 0, run.stderr
    assert Image.open(tmp_path / "large.png").size == (28, 24)


def test_a_folder_is_upscaled_in_processes_and_resumed(
    bundle: Path, photo: Path, tmp_path: Path
) -> None:
    photos, large = tmp_path / "photos", tmp_path / "large"
    photos.mkdir()
    for name in ("a.png", "b.png"):
        (photos / name).write_bytes(photo.read_bytes())
    command = ("upscale", photos, "-o", large, "--model", bundle, "--jobs", 2)
    run = hcflow(*command)
    assert run.returncode == 0, run.stderr
    assert sorted(path.name for path in large.glob("*.png")) == ["a.png", "b.png"]
    (large / "b.png").unlink()
    run = hcflow(*command)
    assert run.returncode == 0, run.stderr
    assert (large / "b.png").exists()


def test_a_large_file_goes_by_strips(bundle: Path, photo: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyvips")
    run = hcflow("upscale", photo, "-o", tmp_path / "l.png", "--model", bundle, "--strips")
    assert run.returncode == 0, run.stderr
    assert Image.open(tmp_path / "l.png").size == (28, 24)
