"""A shard of a list of images converted: every row has an outcome, and each result one writer."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hcflow.batch import outcomes, storage, urls
from hcflow.batch.manifest import ImageList, shard_name
from hcflow.batch.outcomes import Count, Outcomes
from hcflow.batch.rows import Conversion, Results
from runtime.convert.folders.pool import Pool
from runtime.convert.job import before_on_gpus
from runtime.errors import FileError, one_line
from runtime.system import lock

Tell = Callable[[dict[str, Any]], None]

_WORK = ".work"


@dataclass(frozen=True)
class Batch:
    """A list to be converted into a folder, by shards.

    Attributes:
        images: the list.
        shards: how many shards it has.
        results: where the results go.
    """

    images: ImageList
    shards: int
    results: Results

    def begin(self, identity: dict[str, Any]) -> None:
        """Check that the results are to be this list's by this job, and write down whose they are.

        Args:
            identity: of the job (`Job.identity`).

        Raises:
            FileError: the folder holds another job's results, is that of the images, or cannot be
                written.
        """
        folder = self.results.folder
        if _real(folder) == _real(self.images.root):
            raise FileError(f"'{folder}' is the folder of the images: give another with -o")
        facts = {
            "list": {"digest": self.images.digest, "rows": self.images.rows},
            "shards": self.shards,
            "format": self.results.format_name,
            "job": json.loads(json.dumps(identity, default=str)),
        }
        name = urls.join(folder, f"{outcomes.FOLDER}/job.json")
        if not storage.exists(name):
            _create_text(json.dumps(facts, indent=1), name, folder)
        try:
            theirs = json.loads(storage.read(name))
        except ValueError:
            raise FileError(f"'{name}' is damaged: give another folder with -o") from None
        earlier = before_on_gpus(facts["job"])
        if theirs not in (facts, facts | {"job": earlier}):
            keys = [key for key in facts if theirs.get(key) != facts[key]]
            what = {"list": "another list", "shards": "another number of shards"}
            other = what.get(keys[0] if keys else "", "other options or another model")
            raise FileError(
                f"'{folder}' was begun with {other} ('{name}'): give another folder with -o"
            )

    def run(self, index: int, pool: Pool, tell: Tell | None = None) -> Count:
        """Convert the images of a shard, from where an earlier run was ended.

        Args:
            index: the shard, from 0.
            pool: does the work.
            tell: is told every new outcome.

        Returns:
            How many rows have a result, and how many an error.

        Raises:
            FileError: another process works on the shard, the list or the outcomes are damaged, or
                the storage fails; what was done is kept, and the shard is not finished.
            BackendError: no worker can open the model.
        """
        name = shard_name(index, self.shards)
        rows = self.images.rows_of(index)
        count = outcomes.count_finished(self.results.folder, name, rows)
        if count is not None:
            return count
        with _work_folder(self.results.folder, name) as work:
            if (count := outcomes.count_finished(self.results.folder, name, rows)) is not None:
                return count  # by the process that has just given up its lock
            kept = Outcomes(self.results.folder, name, work)

            def note(outcome: dict[str, Any]) -> None:
                kept.add(outcome)
                if tell is not None:
                    tell(outcome)

            conversion = Conversion(self.results, work, kept.has, note)
            try:
                conversion.run(self.images.shard(index, self.shards), pool)
            except BaseException:
                with contextlib.suppress(FileError):  # the first error says what is wrong
                    kept.flush()
                raise
            kept.finish()
            _remove_left(self.results.folder, name)
            return kept.count


def _create_text(text: str, name: str, results: str) -> None:
    """Write a first small file, so that results that cannot be written fail before any work."""
    with tempfile.TemporaryDirectory(prefix="hcflow-") as work:
        try:
            storage.create_text(text, name, Path(work))
        except FileExistsError:
            pass  # another process was first
        except FileError as error:
            raise FileError(f"cannot write into '{results}': {one_line(error)}") from error


def _real(name: str) -> str:
    return name if urls.scheme_of(name) is not None else os.path.realpath(name)


@contextlib.contextmanager
def _work_folder(results: str, shard: str) -> Iterator[Path]:
    """A folder of this run's for files on their way; of results here it is on the same disk.

    Raises:
        FileError: another process works on this shard.
    """
    if urls.scheme_of(results) is not None:
        with tempfile.TemporaryDirectory(prefix="hcflow-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
        return
    place = Path(results, outcomes.FOLDER)
    place.mkdir(parents=True, exist_ok=True)
    with (
        _locked(place / f".{shard}.lock", shard),
        tempfile.TemporaryDirectory(
            dir=place, prefix=f".{shard}-", suffix=_WORK, ignore_cleanup_errors=True
        ) as folder,
    ):
        yield Path(folder)


def _remove_left(results: str, shard: str) -> None:
    """Remove the work folders of a shard that is finished; before, one may be a running process's.

    A lock does not say whose they are: some disks have none, or one that other machines do not see.
    """
    if urls.scheme_of(results) is None:
        for left in Path(results, outcomes.FOLDER).glob(f".{shard}*{_WORK}"):
            shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path, shard: str) -> Iterator[None]:
    """Hold a shard's lock; a disk without locks goes without.

    Raises:
        FileError: another process holds it.
    """
    while True:
        with path.open("ab") as held:
            try:
                is_free = lock.lock(held.fileno(), wait=False)
            except lock.NoLocksError:
                is_free = True
            if not is_free:
                raise FileError(f"another process works on shard {shard}: run it once at a time")
            if not _is_at(held.fileno(), path):  # whoever held it has removed it
                continue
            try:
                yield
                return
            finally:
                with contextlib.suppress(OSError):
                    path.unlink()


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file still has that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
