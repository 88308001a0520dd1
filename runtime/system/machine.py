"""Memory and processors that this process may use, container limits included.

Each figure comes from files of Linux; where a file is missing the figure is unknown.
"""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Bytes that can be allocated without swapping; None is unknown."""
    known = [limit for limit in (_system_memory(), *_cgroup_memory()) if limit is not None]
    return min(known, default=None)


def usable_cpus() -> int:
    """Processors this process may run on, at least 1: its affinity, limited by the CPU quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    for folder in _cgroup_folders():
        quota, _, period = (_read(folder / "cpu.max") or "max").partition(" ")
        if quota != "max":
            cpus = min(cpus, int(quota) // int(period))
    return max(1, cpus)


def peak_memory() -> int | None:
    """Peak of this process's resident memory in bytes; None is unknown.

    Not from `getrusage`, which starts at the peak of the parent process.
    """
    for line in (_read(_PROC / "self" / "status") or "").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def cpu_flags() -> frozenset[str]:
    """The processor's features by Linux's names (`avx2`, `avx512_vnni`, …); empty if unknown."""
    for line in (_read(_PROC / "cpuinfo") or "").splitlines():
        if line.startswith(("flags", "Features")):  # Arm's kernels call them features
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def _system_memory() -> int | None:
    for line in (_read(_PROC / "meminfo") or "").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _cgroup_memory() -> list[int]:
    """Bytes left in each control group (version 2) of this process."""
    left = []
    for folder in _cgroup_folders():
        limit, used = _read(folder / "memory.max"), _read(folder / "memory.current")
        if limit and used and limit != "max":
            # The kernel gives cached file pages back before it refuses an allocation.
            stat = dict(line.split() for line in (_read(folder / "memory.stat") or "").splitlines())
            left.append(int(limit) - int(used) + int(stat.get("inactive_file", 0)))
    return left


def _cgroup_folders() -> list[Path]:
    """The control group of this process and every one above it."""
    for line in (_read(_PROC / "self" / "cgroup") or "").splitlines():
        if line.startswith("0::"):
            own = _CGROUP / line[3:].lstrip("/")
            return [p for p in (own, *own.parents) if p.is_relative_to(_CGROUP)]
    return []


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return None
