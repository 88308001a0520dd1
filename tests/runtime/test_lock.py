"""Locks between processes: one holder at a time, and none where the system has no `fcntl`."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from runtime.system import lock


def test_a_lock_is_held_until_its_descriptor_is_closed(tmp_path: Path) -> None:
    first, second = (os.open(tmp_path, os.O_RDONLY) for _ in range(2))
    assert lock.lock(first, wait=False)
    assert not lock.lock(second, wait=False)
    os.close(first)
    assert lock.lock(second, wait=False)
    os.close(second)


def test_a_folder_is_locked_inside_the_block_alone(tmp_path: Path) -> None:
    other = os.open(tmp_path, os.O_RDONLY)
    with lock.locked(tmp_path):
        assert not lock.lock(other, wait=False)
    assert lock.lock(other, wait=False)
    os.close(other)
    with pytest.raises(FileNotFoundError), lock.locked(tmp_path / "nowhere"):
        pass


def test_a_system_without_locks_goes_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "fcntl", None)
    with lock.locked(tmp_path / "nowhere"):  # Windows cannot open a folder
        assert lock.lock(-1, wait=True)


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_disk_without_locks_says_so_and_its_folders_are_used_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(lock.NoLocksError, match=re.escape(os.strerror(code))):
        lock.lock(0, wait=False)
    with lock.locked(tmp_path):
        pass


def test_a_descriptor_that_is_not_open_is_no_disk_without_locks() -> None:
    with pytest.raises(OSError, match="Bad file descriptor") as told:
        lock.lock(1 << 20, wait=False)
    assert not isinstance(told.value, lock.NoLocksError)
