"""The official sizes keep budget, nodes and memory; the shipped model gives its reference."""

from pathlib import Path

import numpy as np
import pytest
import torch

import runtime
from benchmarks.build import build_in_a_process
from export.pipeline import Request, build
from hcflow.models.shipped import DEFAULT
from hcflow_ref.checkpoint.load import Checkpoint, load, save
from hcflow_ref.checkpoint.shipped import weights
from hcflow_ref.evaluation.metrics import bicubic_downscale, bicubic_upscale, fidelity
from hcflow_ref.images.bicubic import downscale
from hcflow_ref.images.photographs import PHOTOGRAPHS, photograph
from hcflow_ref.images.tensors import to_tensor
from hcflow_ref.network.config import OFFICIAL
from hcflow_ref.network.lr_image import quantise
from hcflow_ref.network.synthetic_weights import synthetic
from runtime.checks.parity import compare
from runtime.latents import draw

pytestmark = pytest.mark.slow

MOST_NODES = {"sr_x4": 2150, "sr_x8": 2700, "rescale_x4": 900}
MOST_BYTES = 3e9


@pytest.fixture(autouse=True)
def _all_threads() -> None:
    torch.set_num_threads(2)


@pytest.fixture(scope="module", params=OFFICIAL)
def full_size(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of an official network with synthetic weights."""
    path = tmp_path_factory.mktemp("weights") / f"{request.param}.safetensors"
    save(synthetic(OFFICIAL[request.param]), path, {"weights": "synthetic, seed 0"})
    return path


def test_every_official_network_builds_within_budget_and_memory(
    full_size: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    _, peak = build_in_a_process("--checkpoint", full_size, "--output", bundle)
    assert peak <= MOST_BYTES
    manifest = runtime.Bundle.open(bundle).manifest
    assert {graph.direction for graph in manifest.graphs} == {"inverse", "forward"}
    for graph in manifest.graphs:
        assert graph.within_budget
        assert graph.nodes <= MOST_NODES[full_size.stem]
        if graph.direction == "inverse":
            assert {row.tau for row in graph.parity} == {0.0, manifest.default_tau}


def test_fp16_of_every_official_network_is_within_budget(full_size: Path, tmp_path: Path) -> None:
    request = Request("x", precisions=("fp32", "fp16"), directions=("inverse",))
    single, half = build(load(full_size), tmp_path / "bundle", request).graphs
    assert half.within_budget
    assert half.bytes <= 0.52 * single.bytes


@pytest.fixture(scope="module")
def shipped() -> Checkpoint:
    return load(weights(DEFAULT))


@pytest.fixture(scope="module")
def model(shipped: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> runtime.Model:
    folder = tmp_path_factory.mktemp("bundle") / "shipped"
    build(shipped, folder, Request(DEFAULT))
    return runtime.load(folder)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_the_shipped_graphs_match_the_float64_reference_on_whole_photographs(
    name: str, shipped: Checkpoint, model: runtime.Model
) -> None:
    reference = load(weights(DEFAULT)).model.double()
    hr = to_tensor(photograph(name, 4))
    encoding = reference(hr.double())
    got = model.encode(hr.numpy())
    assert compare("lr", got["lr"], encoding.lr.numpy(), "fp32").ok
    for level, z in enumerate(encoding.latents, 1):
        assert compare(f"z{level}", got[f"z{level}"], z.numpy(), "fp32").ok
    lr = quantise(downscale(hr.double(), 4)).float()
    for tau in (0.0, shipped.config.default_tau):
        zs = draw(shipped.config.latent_shapes(*lr.shape[2:]), tau)
        want = reference.inverse(lr.double(), [torch.from_numpy(z).double() for z in zs])
        assert compare("hr", model.decode(lr.numpy(), zs), want.numpy(), "fp32").ok


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_the_shipped_model_beats_bicubic_through_an_8_bit_file(
    name: str, model: runtime.Model
) -> None:
    truth = photograph(name, 4)
    small = model.downscale(truth)
    assert small.dtype == np.uint8
    plain = bicubic_upscale(bicubic_downscale(truth, 4), 4)
    ours = fidelity(model.upscale(small), truth, 4)
    assert ours.psnr > fidelity(plain, truth, 4).psnr + 1.0
