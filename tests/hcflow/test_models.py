"""A name means a shipped model, a folder means itself, and neither hides the other."""

from __future__ import annotations

import hashlib
import json
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import hcflow
from hcflow.cli import program
from hcflow.models import shipped as models
from hcflow.models.shipped import DEFAULT
from hcflow_ref.checkpoint.load import load
from hcflow_ref.checkpoint.shipped import weights
from hcflow_ref.images.photographs import photograph
from hcflow_ref.images.tensors import to_tensor
from hcflow_ref.network.hcflow import HCFlow
from runtime import Bundle, BundleError
from runtime.bundle.manifest import ANY_MACHINE, DIRECTIONS
from tests.support.bundles import write_bundle


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder; small networks stand for the ready bundles."""
    monkeypatch.setattr(models, "_HERE", tmp_path / "package")
    for name in models.READY:
        write_bundle(tmp_path / "package" / name)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def test_a_folder_of_images_does_not_hide_the_model_it_is_called_as(here: Path) -> None:
    shipped = models.of_shipped(DEFAULT)
    (here / DEFAULT).mkdir()
    assert models.resolve(DEFAULT) == shipped
    assert models.resolve(f"./{DEFAULT}") == Path(DEFAULT)
    write_bundle(here / DEFAULT)
    assert models.resolve(DEFAULT) == Path(DEFAULT)
    assert models.of_shipped(DEFAULT) == shipped


def test_results_may_go_into_a_folder_called_as_the_model(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "in").mkdir()
    Image.new("RGB", (9, 7)).save(here / "in" / "a.png")
    words = ["downscale", "in", "-o", DEFAULT, "--model", DEFAULT, "--json"]
    monkeypatch.setattr(sys, "argv", ["hcflow", *words])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit):
        program.main()
    assert json.loads(capsys.readouterr().out)["done"] == 1
    assert (here / DEFAULT / "a.png").is_file()


def test_a_model_that_ships_as_weights_is_built_once_and_then_found(here: Path) -> None:
    with pytest.raises(
        BundleError, match="build its bundle once with `hcflow build --model sr_x8`"
    ):
        models.resolve("sr_x8")
    built = write_bundle(here / "bundles" / "sr_x8")
    assert models.resolve("sr_x8").samefile(built)
    assert models.by_checkpoint(sha256("sr_x8")) == Path("bundles/sr_x8")


def test_an_image_made_by_a_model_that_is_not_built_says_how_to_build_it(here: Path) -> None:
    with pytest.raises(BundleError, match="hcflow build --model irn_x4"):
        models.by_checkpoint(sha256("irn_x4"))


def sha256(name: str) -> str:
    return hashlib.sha256(models.weights()[name].read_bytes()).hexdigest()


@pytest.mark.parametrize("name", models.READY)
def test_a_ready_bundle_holds_every_precision_of_the_shipped_weights(name: str) -> None:
    bundle = Bundle.open(models.of_shipped(name))
    manifest = bundle.manifest
    assert manifest.checkpoint.sha256 == sha256(name)
    wanted = {(way, precision) for way in DIRECTIONS for precision in ANY_MACHINE}
    assert {(graph.direction, graph.precision) for graph in manifest.graphs} == wanted
    for graph in manifest.graphs:
        assert graph.within_budget
        assert bundle.read_graph(graph)
    assert models.by_checkpoint(sha256(name)) == models.of_shipped(name)


@pytest.mark.parametrize("name", models.READY)
def test_a_ready_bundle_gives_what_the_shipped_weights_give(name: str) -> None:
    """By tolerance: float64 inverses of matrices differ in the last bit between processors."""
    network = load(weights(name)).model.double()
    hr = to_tensor(photograph("chelsea")[100:132, 200:248])
    model = hcflow.load(name, backend="onnxruntime")
    with torch.no_grad():
        lr, _, _ = network(hr.double())
        small = lr.clamp(0, 1).float()
        latents = [torch.zeros(shape) for shape in shapes(network, small)]
        back = network.inverse(small.double(), [z.double() for z in latents])
    restored = model.decode(small.numpy())  # the graph alone, as the network: neither pads
    np.testing.assert_allclose(restored, back, atol=1e-4)


def shapes(network: HCFlow, lr: torch.Tensor) -> list[tuple[int, ...]]:
    height, width = lr.shape[2:]
    return [(1, *shape) for shape in network.config.latent_shapes(height, width)]
