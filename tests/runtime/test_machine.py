"""What the machine allows: the strictest of the system's and the container's limits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime.system import machine


@pytest.fixture
def linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up /proc and /sys/fs/cgroup: 8 GB free, a group `app` inside `box`."""
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n")
    (proc / "self" / "cgroup").write_text("0::/box/app\n")
    (cgroup / "box" / "app").mkdir(parents=True)
    monkeypatch.setattr(machine, "_PROC", proc)
    monkeypatch.setattr(machine, "_CGROUP", cgroup)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return cgroup


def test_without_a_container_the_system_says(linux: Path) -> None:
    assert machine.available_memory() == 8_000_000 * 1024
    assert machine.usable_cpus() == 8


def test_the_limit_of_an_outer_group_counts(linux: Path) -> None:
    (linux / "box" / "memory.max").write_text("2000000000\n")
    (linux / "box" / "memory.current").write_text("1500000000\n")
    (linux / "box" / "memory.stat").write_text("anon 1\ninactive_file 300000000\n")
    (linux / "box" / "app" / "memory.max").write_text("max\n")
    (linux / "box" / "app" / "memory.current").write_text("1\n")
    assert machine.available_memory() == 800_000_000


@pytest.mark.parametrize(("quota", "cpus"), [("200000 100000", 2), ("50000 100000", 1), ("max", 8)])
def test_a_cpu_quota_counts(linux: Path, quota: str, cpus: int) -> None:
    (linux / "box" / "cpu.max").write_text(quota)
    assert machine.usable_cpus() == cpus


@pytest.mark.parametrize("key", ["flags\t\t", "Features\t"], ids=["x86", "Arm"])
def test_what_the_processor_can_do_is_read_as_its_kernel_writes_it(linux: Path, key: str) -> None:
    text = f"processor\t: 0\n{key}: fp asimddp sve\nvmx flags\t: ept\n"
    (machine._PROC / "cpuinfo").write_text(text)
    assert machine.cpu_flags() == {"fp", "asimddp", "sve"}


def test_where_nothing_tells_memory_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_PROC", tmp_path)
    assert machine.available_memory() is None


def test_peak_memory_is_this_processs_own_whoever_started_it() -> None:
    ballast = np.ones(400_000_000, np.uint8)
    assert machine.peak_memory() > len(ballast)
    command = [
        sys.executable,
        "-c",
        "from runtime.system import machine; print(machine.peak_memory())",
    ]
    started = subprocess.run(command, check=True, capture_output=True)
    assert 1e6 < int(started.stdout) < 200e6
