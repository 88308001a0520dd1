"""Full-size networks, synthetic weights, dynamic sizes: the real TensorRT-RTX compiles them."""

from __future__ import annotations

import pytest

from hcflow_ref.network.config import OFFICIAL
from hcflow_ref.network.synthetic_weights import synthetic

pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx-cu13 (240 MB)")
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("network", OFFICIAL)
@pytest.mark.parametrize("direction", ["inverse", "forward"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_full_size_network_compiles(network: str, direction: str, precision: str) -> None:
    from benchmarks import engines  # noqa: PLC0415

    data = engines.ours(synthetic(OFFICIAL[network]), direction, precision)
    row = engines.figures(network, direction, precision, data, engines.ranges(data))
    assert row["memory"] > 0


def test_the_fp16_inverse_takes_at_most_0_60_of_the_naive_fp32_exports_memory() -> None:
    from benchmarks import engines  # noqa: PLC0415

    model = synthetic(OFFICIAL["rescale_x4"])
    data = engines.ours(model, "inverse", "fp16")
    row = engines.figures("rescale_x4", "inverse", "fp16", data, engines.ranges(data))
    assert row["memory"] <= 0.60 * engines.naive("rescale_x4", model)["memory"]
