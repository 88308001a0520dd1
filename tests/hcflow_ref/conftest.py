"""Two networks of one configuration, under official names."""

import pytest

from tests.support import checkpoints
from tests.support.checkpoints import Weights


@pytest.fixture(scope="module")
def official() -> Weights:
    return checkpoints.network()


@pytest.fixture
def other(official: Weights) -> Weights:
    return checkpoints.another(official)
