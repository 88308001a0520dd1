"""The page of `make benchmark` says which targets hold."""

import pytest

from benchmarks import folders, large, page, size_cost, speed
from benchmarks.page import Target


def test_a_target_holds_is_missed_or_was_not_measured() -> None:
    rows = page.target_table(
        [Target("a", "≤ 1", "0.5", True), Target("b", "≤ 1", "2", False), Target("c", "", "", None)]
    ).splitlines()[2:]
    assert [row.rstrip("| ").rsplit("| ", 1)[1] for row in rows] == ["holds", "missed", "–"]


def test_int8_is_held_to_the_naive_export_by_medians() -> None:
    times = {speed.YARDSTICK: [1.0, 9.0, 1.0], speed.INT8: [0.3, 0.3, 5.0]}
    (target,) = page.graph_targets({160: times})
    assert (target.found, target.holds) == ("0.30", True)
    assert "| 0.30 ±" in page.graph_table({160: times})


def test_a_large_file_is_held_to_the_naive_script() -> None:
    job = large.JOBS[1]
    timings = [
        large.Timing(
            job.title, large.OURS, 33.2, (50.0,), 1_600_000_000, {"pixels": 2.0, "encoding": 5.0}
        ),
        large.Timing(job.title, large.NAIVE, 33.2, (100.0,), 900_000_000),
    ]
    found = {target.name: (target.found, target.holds) for target in page.file_targets(timings)}
    assert found[f"{job.title} / naive fp32"] == ("0.50", False)
    assert found[f"{large.JOBS[2].title} / naive fp32"] == ("not measured", None)
    assert found["peak memory"] == ("1.60 GB", False)
    assert "| 0.50 | 0% | 50.0 |" in large.table(timings)
    assert "| 0.0, 2.0, 5.0 (10%) |" in large.table(timings)


@pytest.mark.parametrize("power", [1.0, 1.5])
def test_the_slope_is_the_power_of_pixels(power: float) -> None:
    seconds = {side: float(side**2) ** power for side in size_cost.SIDES}
    assert size_cost.slope(seconds) == pytest.approx(power)


def test_a_folder_of_mixed_sizes_is_held_to_one_of_one_size() -> None:
    found = folders.sizes(200)
    assert len(set(found)) > 190
    assert {min(map(min, found)), max(map(max, found))} <= set(range(32, 161))
    table = folders.table({folders.MIXED: [20.0, 90.0, 25.0], folders.ALIKE: [20.0]}, 100)
    assert "| mixed sizes | 4.00 | 0.80 |" in table
