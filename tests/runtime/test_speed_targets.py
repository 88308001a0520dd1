"""Files converted against a naive OpenVINO script, as interleaved ratios with generous room."""

from __future__ import annotations

import pytest

from benchmarks import large
from runtime.inference.auto.cpu_precision import INT8_COST
from runtime.system import machine

TARGET = 0.40
ROOM = 1.5
"""A busy machine and small files, whose start counts, may cost so many times the target."""

MOST_MEMORY = 1.5e9

VNNI, _ = INT8_COST[0]

JOBS = (
    large.JOBS[0],
    large.Job("2016×1512 down and back", 2016, 1512, ("forward", "inverse")),
)


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS, ids=[job.title for job in JOBS])
def test_a_large_file_keeps_its_share_of_a_naive_openvino_script_within_room(
    job: large.Job,
) -> None:
    if VNNI.isdisjoint(machine.cpu_flags()):
        pytest.skip("without VNNI the ratio is unmeasured")
    pytest.importorskip("openvino")
    timings = {each.contender: each for each in large.measure([job], 3)}
    ours, naive = timings[large.OURS], timings[large.NAIVE]
    assert ours.median / naive.median <= TARGET * ROOM
    assert ours.peak <= MOST_MEMORY
