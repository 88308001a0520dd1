"""`hcflow models` lists what ships, with figures that were measured of these very weights."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hcflow.cli.program import application
from hcflow.commands import models
from hcflow_ref.checkpoint.load import load
from hcflow_ref.checkpoint.shipped import names, weights
from runtime.errors import BundleError
from tests.support.golden_files import weights as golden


def test_every_shipped_model_is_listed_as_its_file_says() -> None:
    done = CliRunner().invoke(application(), ["models", "--json"])
    assert done.exit_code == 0, done.output
    listed = {entry["name"]: entry for entry in json.loads(done.stdout)}
    assert sorted(listed) == names()
    for name, entry in listed.items():
        checkpoint = load(weights(name))
        assert entry["default_tau"] == checkpoint.default_tau
        assert (entry["scale"], entry["task"]) == (checkpoint.config.scale, checkpoint.config.task)
        assert entry["megabytes"] <= 20
        assert entry["psnr"] > entry["bicubic_psnr"]
        assert weights(name).with_suffix(".md").is_file()


def test_the_table_names_every_model() -> None:
    done = CliRunner().invoke(application(), ["models"])
    assert all(name in done.stdout for name in names())


@pytest.mark.parametrize("network", ["sr_x8", "irn_x4"])
def test_any_network_is_described_by_its_header_alone(network: str) -> None:
    path = golden(network)
    described, config = models.describe(path), load(path).config
    assert (described.scale, described.task) == (config.scale, config.task)
    assert described.default_tau == config.default_tau
    assert described.psnr is None


def test_figures_of_other_weights_are_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    shutil.copy(golden("sr_x4"), path)
    figures = {"about": {"sha256": "0" * 64}, "average": {"restored": {"psnr": 99.0}}}
    path.with_suffix(".json").write_text(json.dumps(figures))
    assert models.describe(path).psnr is None


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x02" + bytes(7) + b"[]", bytes(100)])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(BundleError, match="damaged"):
        models.describe(path)
