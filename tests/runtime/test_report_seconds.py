"""What a conversion spends its time on is counted apart: files, pixels, waiting for the network."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import runtime
from hcflow.cli import program
from runtime.convert import large_file
from runtime.convert.job import Job
from runtime.images.codecs import vips
from runtime.inference import report as reports
from runtime.inference.report import Report
from tests.support.bundles import write_bundle
from tests.support.one_model import OneModel

ALL = {"decoding", "pixels", "network", "encoding"}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle", tile=8, overlap=2)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 256, (20, 36, 3), np.uint8)
    Image.fromarray(values).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture(autouse=True)
def _ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is a second later whenever it is asked."""
    ticks = itertools.count()
    monkeypatch.setattr(reports.time, "perf_counter", lambda: float(next(ticks)))


def test_a_second_is_counted_once_where_one_kind_of_work_is_within_another() -> None:
    report = Report()
    with report.timed("pixels"):
        report.timing("decoding", lambda: None)()
        with report.timed("decoding"):
            pass
    with report.timed("pixels"):
        pass
    # Six of the seven steps of the clock lie within a block; two of them within decoding.
    assert report.seconds == {"decoding": 2.0, "pixels": 3.0 + 1.0}


def test_work_that_fails_is_counted_too() -> None:
    report = Report()
    with pytest.raises(InterruptedError), report.timed("encoding"):
        raise InterruptedError
    assert report.seconds == {"encoding": 1.0}


def test_the_wait_for_tiles_stands_beside_the_work_on_pixels(bundle: Path) -> None:
    report = Report()
    image = np.zeros((20, 36, 3), np.uint8)
    runtime.load(bundle).upscale(image, report=report)
    assert report.seconds["network"] == report.tiles > 1
    assert report.seconds.keys() == {"pixels", "network"}
    assert report.as_json()["seconds"] == report.seconds


def test_the_command_tells_each_part(
    bundle: Path,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)  # pytest keeps its own handlers

    def seconds(command: str, source: Path, output: str) -> dict[str, float]:
        words = ["hcflow", command, source, "-o", tmp_path / output, "--model", bundle]
        monkeypatch.setattr(sys, "argv", [*map(str, words), "--exact", "--json"])
        with pytest.raises(SystemExit) as end:
            program.main()
        assert not end.value.code
        found: dict[str, float] = json.loads(capsys.readouterr().out)["tiles"]["seconds"]
        return found

    assert seconds("downscale", photo, "small.png").keys() == {*ALL, "round trip"}
    assert seconds("upscale", tmp_path / "small.png", "large.png").keys() == ALL


@pytest.mark.skipif(vips.find() is None, reason="needs pyvips")
def test_strips_are_decoded_and_encoded_apart(bundle: Path, photo: Path, tmp_path: Path) -> None:
    report = Report()
    job = Job("upscale", OneModel(runtime.load(bundle)))
    large_file.convert(job, str(photo), str(tmp_path / "large.png"), "PNG", report=report)
    assert report.seconds.keys() == ALL
