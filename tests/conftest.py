"""What every test runs under, and what the C++ tests share."""

from pathlib import Path

import pytest
import torch
from hypothesis import settings

# Small networks: handing their work round costs more than one thread needs for it.
torch.set_num_threads(1)

# A slow machine is no error.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def sanitized() -> Path:
    """The C++ runtime's folder under address and undefined-behaviour sanitizers."""
    from tests.support import cpp_library  # noqa: PLC0415 - C++ tests alone need it

    return cpp_library.build("asan")


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C++ runtime, released and installed; the prefix."""
    from tests.support import cpp_library  # noqa: PLC0415 - C++ tests alone need it

    prefix = tmp_path_factory.mktemp("prefix")
    cpp_library.run("cmake", "--install", cpp_library.build("release"), "--prefix", prefix)
    return prefix
