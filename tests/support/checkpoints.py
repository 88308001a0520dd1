"""The golden rescaling network as a dictionary of weights, for tests of how files hold it."""

from safetensors.torch import load_file
from torch import Tensor

from tests.support.golden_files import weights

Weights = dict[str, Tensor]

KEY = "flow.level0_condFlow.conv_first.weight"
"""The weight by which the tests tell two networks apart."""


def network() -> Weights:
    return load_file(weights("rescale_x4"))


def another(network: Weights) -> Weights:
    """A network that differs from it in one weight."""
    return network | {KEY: network[KEY] + 1}


def prefixed(prefix: str, network: Weights) -> Weights:
    return {prefix + key: weight for key, weight in network.items()}
