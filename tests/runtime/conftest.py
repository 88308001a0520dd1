"""Bundles that many tests of the runtime read; none of them writes to these."""

from pathlib import Path

import pytest

import runtime
from export.pipeline import Request, build
from hcflow_ref.checkpoint.load import load
from tests.support.bundles import write_bundle
from tests.support.golden_files import weights


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> runtime.Model:
    """Each pixel depends on its own block alone: any grid gives what the whole image gives."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    return runtime.load(write_bundle(folder, tile=5, overlap=2))


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real flow whose pixels depend on their neighbourhood."""
    folder = tmp_path_factory.mktemp("bundles") / "small"
    build(load(weights("rescale_x4")), folder, Request("small"))
    return folder
