"""An engine is code: it is read only from a place that nobody else can write to."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runtime.bundle.engines import cache
from runtime.errors import BackendError

DATA = b"engine"
STRANGERS = 54_321  # a group that nobody here is in


@dataclass(frozen=True)
class Said:
    """What `read` looks at of an engine."""

    bytes: int = len(DATA)
    sha256: str = hashlib.sha256(DATA).hexdigest()


ENGINE: Any = Said()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "home" / "cache" / "engines"
    place.mkdir(parents=True)
    (place / "one.engine").write_bytes(DATA)
    return place / "one.engine"


def test_an_engine_of_ones_own_is_read(path: Path) -> None:
    assert cache.read(ENGINE, path) == DATA


@pytest.mark.parametrize("above", [0, 1, 2])
def test_a_folder_above_it_that_everyone_may_write_to_is_refused(path: Path, above: int) -> None:
    folder = path.parents[above]
    folder.chmod(0o777)
    with pytest.raises(BackendError, match=f"'{folder}' can be written by everyone"):
        cache.read(ENGINE, path)
    folder.chmod(0o1777)  # sticky, as /tmp: what is ours stays
    assert cache.read(ENGINE, path) == DATA


def test_what_a_group_of_others_may_write_to_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (path, path.parent):
        place.chmod(0o770)
        monkeypatch.setattr(cache, "_is_private", lambda group: False)
        with pytest.raises(BackendError, match=f"'{place}' can be written by its group"):
            cache.read(ENGINE, path)
        monkeypatch.undo()
        assert cache.read(ENGINE, path) == DATA  # this user's own group
        place.chmod(0o700)
    assert not cache._is_private(STRANGERS)


def test_a_link_counts_with_the_folders_on_both_of_its_ends(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "link.engine"
    link.parent.mkdir()
    link.symlink_to(path)
    assert cache.read(ENGINE, link) == DATA
    for folder in (link.parent, path.parents[1]):
        folder.chmod(0o777)
        with pytest.raises(BackendError, match="can be written by everyone"):
            cache.read(ENGINE, link)
        folder.chmod(0o755)


def test_without_a_home_there_is_no_cache_and_the_working_folder_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for variable in ("HCFLOW_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines" / f"{12 * '0'}.x.json").write_text("{}")
    assert cache.find(64 * "0") == []
    with pytest.raises(BackendError, match="no home folder for a cache: set HCFLOW_CACHE"):
        cache.folder()
