"""Which model and computation `hcflow upscale` and `upscale_file` take where none is named."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import hcflow
from hcflow.models import load as loading
from hcflow.models import shipped
from hcflow.models.load import Models
from runtime.backends import auto
from runtime.convert.job import Job
from runtime.convert.restore import restoration_of
from runtime.errors import BackendError, ParameterError
from runtime.images.codecs import files
from tests.support.bundles import write_bundle


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What is opened, each time as a tiny bundle."""
    bundle, seen = write_bundle(tmp_path / "tiny"), list[tuple[str, dict[str, Any]]]()
    opened = loading.load

    def load(path: Any, **options: Any) -> Any:
        seen.append((Path(path).name, options))
        return opened(bundle, **options)

    monkeypatch.setattr(loading, "load", load)
    return seen


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(tmp_path / "in.png")
    return tmp_path / "in.png"


def test_a_file_without_a_record_goes_to_the_sr_model_and_downscaling_to_the_rescaling_one(
    asked: list[tuple[str, dict[str, Any]]], picture: Path
) -> None:
    hcflow.upscale_file(picture, picture.with_name("large.png"))
    hcflow.downscale_file(picture, picture.with_name("small.png"))
    assert [name for name, _ in asked] == ["sr_x4", "rescale_x4"]
    assert all(o == {"backend": "auto", "precision": "auto"} for _, o in asked)


def test_a_file_that_a_shipped_model_made_goes_back_to_it(tmp_path: Path) -> None:
    small = tmp_path / "small.png"
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(tmp_path / "in.png")
    hcflow.downscale_file(tmp_path / "in.png", small, round_trip=False, exact=True)
    job = Job("upscale", Models(loading.computation(), shipped.UPSCALES))
    assert restoration_of(job, files.read(small), "it").model.manifest.name == "rescale_x4"


def test_exact_is_fp32_in_onnx_runtime_and_refuses_another_choice(
    asked: list[tuple[str, dict[str, Any]]], picture: Path
) -> None:
    hcflow.upscale_file(picture, picture.with_name("large.png"), exact=True)
    assert asked[0][1] == {"backend": "onnxruntime", "precision": "fp32"}
    with pytest.raises(ParameterError, match="exact decides the precision"):
        hcflow.upscale_file(picture, picture.with_name("o.png"), exact=True, precision="int8")


def test_a_worker_process_opens_the_same_default() -> None:
    assert pickle.loads(pickle.dumps(Models({}, "sr_x4"))).default == "sr_x4"
    assert Models({"backend": "auto"}, "sr_x4").with_options(threads=2).default == "sr_x4"


def test_a_loaded_model_is_the_rescaling_one_in_fp32_on_the_fastest_backend() -> None:
    network = hcflow.load().network
    assert network.manifest.name == "rescale_x4"
    assert (network.backend, network.precisions) == ("auto", ("fp32",))


def test_auto_judges_precision_without_an_openvino_that_cannot_be_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken() -> bool:
        raise BackendError("libopenvino.so: cannot open shared object file")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    assert auto.name("auto") == "openvino"
    monkeypatch.setattr("runtime.backends.openvino.has_cpu", broken)
    assert auto.name("auto") == "onnxruntime"
