"""A run by strips that was killed resumes where its journal says, and ends in the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hcflow
from runtime import FileError, backends
from runtime.backends import auto
from runtime.convert import large_file
from runtime.convert.job import Job
from runtime.convert.journal import Journal
from runtime.images.codecs import vips
from runtime.inference.grid import Tiling
from tests.support.bundles import write_bundle
from tests.support.one_model import OneModel

ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.skipif(vips.find() is None, reason="pyvips is not installed")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny", tile=8, overlap=2)


@pytest.fixture(scope="module")
def model(bundle: Path) -> hcflow.Model:
    return hcflow.load(bundle)


def _picture(mode: str, width: int, height: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 4), np.uint8)
    return Image.fromarray(values).convert(mode)


def test_a_journal_goes_on_after_its_last_whole_block(tmp_path: Path) -> None:
    result = tmp_path / "out.png"
    with Journal(result, {"tau": 0}) as journal:
        journal.append(b"one")
        journal.append(b"two")
        pixels = journal.pixels
    pixels.write_bytes(b"onetwXthree")  # what was not synced may be anything
    with Journal(result, {"tau": 0}) as journal:
        assert (journal.blocks, pixels.read_bytes()) == (1, b"one")
        journal.append(b"TWO")
        with pytest.raises(FileError, match="is being written by another process"):
            Journal(result, {"tau": 0})
    with Journal(result, {"tau": 0}) as journal:
        assert (journal.blocks, pixels.read_bytes()) == (2, b"oneTWO")
    with Journal(result, {"tau": 1}) as journal:
        assert (journal.blocks, pixels.read_bytes()) == (0, b"")
        journal.discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "left", [b"\xff\xfe\x00", b"[" * 100_000, b'{"band": Infinity, "bytes": 1, "crc32": 1}']
)
def test_whatever_stands_in_a_journal_the_work_begins_anew(tmp_path: Path, left: bytes) -> None:
    result = tmp_path / "out.png"
    journal = Path(f"{result}.hcflow-journal")
    with Journal(result, {"tau": 0}):
        head = journal.read_bytes()
    assert list(tmp_path.iterdir()) == []  # without a block there is nothing to resume
    for text in (left, head + left):
        journal.write_bytes(text)
        with Journal(result, {"tau": 0}) as again:
            assert again.blocks == 0


@pytest.mark.parametrize("suffix", ["hcflow-journal", "hcflow-pixels"])
def test_a_journal_never_empties_what_a_link_points_at(tmp_path: Path, suffix: str) -> None:
    letter, place = tmp_path / "letter", tmp_path / f"out.png.{suffix}"
    letter.write_text("Dear reader")
    for stand in (lambda: place.symlink_to(letter), lambda: os.mkfifo(place)):
        stand()
        with pytest.raises(FileError, match=rf"{suffix}' is not a file, .*: remove it"):
            Journal(tmp_path / "out.png", {"tau": 0})
        place.unlink()
    assert letter.read_text() == "Dear reader"


def test_a_journal_that_is_finished_while_it_is_opened_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lock_late(_descriptor: int, *, wait: bool) -> bool:
        (tmp_path / "out.png.hcflow-journal").unlink()  # as the other process does when it is done
        return not wait

    monkeypatch.setattr("runtime.convert.journal.lock", lock_late)
    with pytest.raises(FileError, match="is being written by another process"):
        Journal(tmp_path / "out.png", {"tau": 0})
    assert list(tmp_path.iterdir()) == []


def _stop_after_two(done: int, _: int) -> None:
    if done == 2:
        raise KeyboardInterrupt


def test_a_run_that_auto_computes_on_another_backend_begins_anew(
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def job(*installed: str) -> Job:
        monkeypatch.setattr(auto, "fastest_first", lambda: list(installed))
        return Job("downscale", OneModel(hcflow.load(bundle)))

    monkeypatch.setitem(backends._BACKENDS, "openvino", backends._BACKENDS["onnxruntime"])
    source, result = str(tmp_path / "in.png"), str(tmp_path / "out.png")
    _picture("RGB", 40, 150).save(source)
    with pytest.raises(KeyboardInterrupt):
        large_file.convert(job("onnxruntime"), source, result, "PNG", progress=_stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        large_file.convert(
            job("openvino", "onnxruntime"), source, result, "PNG", progress=_stop_after_two
        )
    (line,) = caplog.messages
    assert "is started again: an earlier run had another" in line
    assert "backend" in line
    caplog.clear()
    large_file.convert(job("openvino", "onnxruntime"), source, result, "PNG")
    assert "resuming" in caplog.messages[0]


def test_a_named_backends_journal_has_the_words_of_earlier_versions(
    model: hcflow.Model, bundle: Path, tmp_path: Path
) -> None:
    source, result = str(tmp_path / "in.png"), str(tmp_path / "out.png")
    _picture("RGB", 40, 150).save(source)
    job = Job("downscale", OneModel(hcflow.load(bundle, backend="onnxruntime")))
    with pytest.raises(KeyboardInterrupt):
        large_file.convert(job, source, result, "PNG", progress=_stop_after_two)
    recipe = json.loads(Path(f"{result}.hcflow-journal").read_text().split("\n")[0])["recipe"]
    assert set(recipe) == {"input", "graph", "backend", "pixels", "grid", "bands"}
    assert recipe["backend"] == "onnxruntime"
    assert recipe["graph"] == model.network.graph("forward", False).sha256


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    source, whole, broken = (tmp_path / f"{name}.png" for name in ("in", "whole", "broken"))
    _picture("RGBA", 32, 96).save(source)
    words = ["upscale", source, "--model", bundle, "--strips", "--tau", "0.5", "-o"]
    command = [sys.executable, "-m", "hcflow", *words]
    subprocess.run([*command, whole], cwd=ROOT, check=True)
    dying = (
        "import os, signal\n"
        "from hcflow.cli.program import program\n"
        "from runtime.convert.journal import Journal\n"
        "append = Journal.append\n"
        "def append_and_die(journal, data):\n"
        "    append(journal, data)\n"
        "    if journal.blocks == 6: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Journal.append = append_and_die\n"
        "program()"
    )
    killed = subprocess.run([sys.executable, "-c", dying, *words, broken], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not broken.exists()
    assert os.path.getsize(f"{broken}.hcflow-pixels") > 0
    run = subprocess.run([*command, broken], cwd=ROOT, check=True, capture_output=True)
    assert b"resuming" in run.stderr
    assert b"after 6 finished blocks" in run.stderr
    assert broken.read_bytes() == whole.read_bytes()
    left = [p.name for p in tmp_path.iterdir()]
    assert sorted(left) == ["broken.png", "in.png", "whole.png"]


@pytest.mark.parametrize("overlap", [0, 1])
def test_a_killed_downscale_goes_on_with_its_alpha(
    model: hcflow.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overlap: int
) -> None:
    source, whole, broken = (str(tmp_path / f"{name}.png") for name in ("in", "whole", "broken"))
    _picture("RGBA", 40, 150).save(source)
    job = Job("downscale", OneModel(model), tiling=Tiling(8, overlap))
    large_file.convert(job, source, whole, "PNG")

    with pytest.raises(KeyboardInterrupt):
        large_file.convert(job, source, broken, "PNG", progress=_stop_after_two)
    large_file.convert(job, source, broken, "PNG")
    assert Path(broken).read_bytes() == Path(whole).read_bytes()
