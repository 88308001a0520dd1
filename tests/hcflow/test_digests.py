"""Digests of the shipped weights are remembered, and never of a file that has changed since."""

import hashlib
import os
from pathlib import Path

import pytest

from hcflow.models import digests


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def settled(path: Path, data: bytes) -> Path:
    """A file that was not touched for a while, as far as its own times tell."""
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))
    return path


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_SETTLED_NS", -1 << 62)


@pytest.mark.usefixtures("later")
def test_a_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, memory = settled(tmp_path / "w", b"weights"), tmp_path / "cache" / "digests.json"
    expected = sha256(b"weights")
    assert digests.of(file, memory) == expected
    monkeypatch.setattr(hashlib, "sha256", None)
    assert digests.of(file, memory) == expected


@pytest.mark.usefixtures("later")
def test_a_changed_file_is_hashed_again_even_with_its_size_and_time_of_change_put_back(
    tmp_path: Path,
) -> None:
    memory = tmp_path / "digests.json"
    digests.of(settled(tmp_path / "w", b"weights"), memory)
    assert digests.of(settled(tmp_path / "w", b"WEIGHTS"), memory) == sha256(b"WEIGHTS")


def test_a_file_that_has_just_changed_is_not_remembered(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"weights")
    digests.of(tmp_path / "w", tmp_path / "digests.json")
    assert not (tmp_path / "digests.json").exists()


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("noise", [b"", b"{", b"[]", b'{"%s": 1}', b'{"%s": []}', b"\xff" * 9])
def test_a_damaged_memory_is_made_again(tmp_path: Path, noise: bytes) -> None:
    file, memory = settled(tmp_path / "w", b"weights"), tmp_path / "digests.json"
    memory.write_bytes(noise.replace(b"%s", str(file).encode()))
    for _ in range(2):
        assert digests.of(file, memory) == sha256(b"weights")


@pytest.mark.usefixtures("later")
def test_a_memory_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = digests.of(settled(tmp_path / "w", b"weights"), tmp_path / "file" / "digests.json")
    assert found == sha256(b"weights")
