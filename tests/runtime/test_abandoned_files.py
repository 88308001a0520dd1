"""What a killed process has left is recognised and removed; what is alive or not ours stays."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from export import bundle_writer
from export.errors import ExportError
from export.pipeline import Request, build
from hcflow_ref.checkpoint.load import load
from runtime.convert.folders import pool
from runtime.convert.folders.walk import Task
from runtime.system import atomic
from tests.support.golden_files import weights

pytestmark = pytest.mark.skipif(not atomic.lock.EXISTS, reason="a system without locks")

_WRITER = """
import sys
from runtime.system import atomic
with atomic.replacement(sys.argv[1]) as temporary:
    temporary.write_bytes(b"half")
    print(temporary.name, flush=True)
    sys.stdin.read()
"""


def _writer(path: Path) -> tuple[subprocess.Popen[str], str]:
    """A process that is writing a file, and the name of its temporary one."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


@pytest.fixture(autouse=True)
def _new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_cleared", set())


def test_the_next_write_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    process, name = _writer(tmp_path / "a")
    assert (tmp_path / name).exists()
    atomic.write(tmp_path / "b", b"b")
    assert (tmp_path / name).exists()  # its process is alive
    process.kill()
    process.communicate()
    atomic._cleared.clear()
    atomic.write(tmp_path / "b", b"c")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.slow  # two builds
def test_a_killed_build_does_not_block_its_folder(small_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(small_bundle, folder)
    whole = sorted(path.name for path in folder.iterdir())
    (folder / "manifest.json").unlink()  # which is written last
    (folder / f".{_dead_process()}-{'0' * 16}.tmp").write_bytes(b"half")
    old = b"of an earlier try"
    digest = hashlib.sha256(old).hexdigest()[:12]
    (folder / f"inverse.fp32.{digest}.onnx").write_bytes(old)
    checkpoint = load(weights("rescale_x4"))
    build(checkpoint, folder, Request("small"))
    assert sorted(path.name for path in folder.iterdir()) == whole
    (folder / "manifest.json").unlink()
    for name in (f"inverse.fp32.{'0' * 12}.onnx", "notes.txt"):
        (folder / name).write_bytes(old)
        with pytest.raises(ExportError, match="is not a bundle and not empty"):
            bundle_writer.existing(folder, checkpoint)
        (folder / name).unlink()


def _dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_locked_file_stays_though_no_such_process_is_seen(tmp_path: Path) -> None:
    """As of a process in another container that shares the folder."""
    abandoned = tmp_path / f".{_dead_process()}-{'0' * 16}.tmp"
    abandoned.touch()
    with abandoned.open("rb") as held:
        assert atomic.lock.lock(held.fileno(), wait=False)
        atomic.clear_abandoned(tmp_path)
        assert abandoned.exists()
    atomic.clear_abandoned(tmp_path)
    assert not abandoned.exists()


def test_what_a_worker_left_goes_and_a_namesakes_file_stays(tmp_path: Path) -> None:
    """Workers in different containers may have the same number."""
    dead = _dead_process()
    left, held, other = (tmp_path / f".{dead}-{digit * 16}.tmp" for digit in "012")
    backup = tmp_path / f".{dead}-backup.tmp"
    beside = tmp_path / f".{os.getpid()}-{'0' * 16}.tmp"
    for path in (left, held, other, backup, beside):
        path.touch()
    process = SimpleNamespace(pid=dead, join=lambda _seconds: None, is_alive=lambda: False)
    task = Task("in.png", str(tmp_path / "out.png"), "in.png", "PNG")
    worker: Any = SimpleNamespace(
        process=process, link=SimpleNamespace(close=lambda: None), tasks=[task]
    )
    with held.open("rb") as first, other.open("rb") as second:
        for file in (first, second):
            assert atomic.lock.lock(file.fileno(), wait=False)
        pool._end(worker)
    assert set(tmp_path.iterdir()) == {held, other, backup, beside}


def test_a_scratch_file_is_locked_while_it_is_used(tmp_path: Path) -> None:
    with atomic.scratch(tmp_path / "out.png") as path:
        atomic.clear_ended(tmp_path, os.getpid())
        assert path.stat().st_size == 0
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_removed_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = atomic.lock.lock
    removed = []

    def removing(descriptor: int, *, wait: bool) -> bool:
        if not removed:
            removed.extend(tmp_path.iterdir())
            removed[0].unlink()
        return real(descriptor, wait=wait)

    monkeypatch.setattr(atomic.lock, "lock", removing)
    with atomic.replacement(tmp_path / "a") as temporary:
        assert removed == [temporary]
        atomic.clear_ended(tmp_path, os.getpid())
        assert temporary.exists()


def test_nothing_else_is_removed(tmp_path: Path) -> None:
    dead = _dead_process()
    names = [
        f".{dead}-{'0' * 15}.tmp",
        f"{dead}-{'0' * 16}.tmp",
        f".{dead}-{'G' * 16}.tmp",
        "x.tmp",
    ]
    for name in names:
        (tmp_path / name).touch()
    own = tmp_path / f".{os.getpid()}-{'0' * 16}.tmp"
    own.touch()
    (tmp_path / f".{dead}-{'1' * 16}.tmp").mkdir()
    (tmp_path / f".{dead}-{'2' * 16}.tmp").symlink_to(own)
    os.mkfifo(tmp_path / f".{dead}-{'3' * 16}.tmp")
    before = sorted(tmp_path.iterdir())
    atomic.clear_abandoned(tmp_path)
    atomic.clear_abandoned(tmp_path / "missing")
    assert sorted(tmp_path.iterdir()) == before
