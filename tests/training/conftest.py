"""Images that every test of a run may train on."""

import pytest

from tests.support.training_runs import write_images


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))
