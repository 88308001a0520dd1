"""What several draws of one image could share (docs/speed.md)."""

from benchmarks.shared_work import parts
from hcflow_ref.network.config import HCFlowConfig, LevelConfig
from hcflow_ref.network.synthetic_weights import synthetic


def test_only_the_coarsest_level_has_work_that_no_latent_reaches() -> None:
    level = LevelConfig(1, 4, 1, 4, 4, 3, (1, 1))
    found = parts(synthetic(HCFlowConfig("sr", (level, level))), side=8)
    assert list(found) == ["level0", "level1"]
    assert found["level0"].shared == 0
    assert 0 < found["level1"].shared < found["level1"].total
