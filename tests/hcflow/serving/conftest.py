"""One server for the tests that only ask it."""

from collections.abc import Iterator

import pytest

from tests.support.serving import Running, running


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of the tiny bundle at a default τ above 0."""
    with running(tmp_path_factory.mktemp("serving") / "tiny", default_tau=0.7) as made:
        yield made
