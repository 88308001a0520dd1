"""Rows of a list converted: fetched, given to a pool of workers, and their results stored."""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from hcflow.batch import outcomes, storage, urls
from hcflow.batch.manifest import Row
from runtime.convert.folders.pool import Pool
from runtime.convert.folders.walk import Task
from runtime.convert.folders.worker import Outcome
from runtime.convert.naming import suffix_of
from runtime.errors import FileError, one_line
from runtime.images.codecs import formats
from runtime.images.codecs.bounds import whole_file

TRIES = 3
"""Workers that an image may end before it has failed."""

_TRANSFERS = 8  # files that are fetched or stored at a time
_AHEAD = 16  # rows that are fetched before a worker asks for them


@dataclass(frozen=True)
class Results:
    """Where results go, and as what.

    Attributes:
        folder: a folder or URL.
        format_name: of all results; None keeps each image's own where that is written.
        max_pixels: largest input accepted.
    """

    folder: str
    format_name: str | None
    max_pixels: int


class Conversion:
    """Rows fetched, given to a pool, and their results stored, each under a name that was free.

    Args:
        results: where the results go.
        work: a folder here for what is on its way; of results here on the same disk.
        has: whether a row's outcome, by its number, is known already.
        note: is told every new outcome, in the order in which they are known.
    """

    def __init__(
        self,
        results: Results,
        work: Path,
        has: Callable[[int], bool],
        note: Callable[[dict[str, Any]], None],
    ) -> None:
        self._results, self._work = results, work
        self._has, self._note = has, note
        self._rows: dict[str, Row] = {}  # that are with the pool, by their task's name
        self._names = set[bytes]()  # of results, as digests

    def run(self, rows: Iterable[Row], pool: Pool) -> None:
        """Convert the rows' images, and note an outcome of each.

        Raises:
            StorageError: the storage fails; so would the next row's.
            BackendError: no worker can open the model.
        """
        threads = ThreadPoolExecutor(_TRANSFERS)
        try:
            with contextlib.closing(pool.run(self._tasks(rows, threads))) as done:
                self._store_all(done, threads)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def _store_all(self, done: Iterator[Outcome], threads: ThreadPoolExecutor) -> None:
        storing = deque[tuple[dict[str, Any], Future[str | None]]]()
        for outcome in done:
            row = self._rows.pop(outcome.task.relative)
            facts = self._facts(row, outcome)
            if outcome.error is None:
                result = urls.join(self._results.folder, facts["output"])
                storing.append((facts, threads.submit(_store, Path(outcome.task.output), result)))
            else:
                self._note({**facts, "error": self._named(row, outcome)})
            _discard(outcome.task, row)
            while storing and (storing[0][1].done() or len(storing) > _AHEAD):
                self._stored(*storing.popleft())
        while storing:
            self._stored(*storing.popleft())

    def _tasks(self, rows: Iterable[Row], threads: ThreadPoolExecutor) -> Iterator[Task]:
        """The tasks of rows that can be worked on, fetched ahead; the others are noted."""
        ahead = deque[tuple[Row, Task, Future[None] | None]]()
        for row in rows:
            is_known = self._has(row.number)
            try:
                task = self._task(row)
            except FileError as error:
                if not is_known:
                    self._note({"row": row.number, "path": _path(row), "error": one_line(error)})
                continue
            if is_known:
                continue
            fetch = None
            if urls.scheme_of(row.source or "") is not None:
                most = whole_file.most_bytes(self._results.max_pixels)
                fetch = threads.submit(storage.fetch, str(row.source), task.source, most)
            ahead.append((row, task, fetch))
            if len(ahead) > _AHEAD:
                yield from self._fetched(*ahead.popleft())
        while ahead:
            yield from self._fetched(*ahead.popleft())

    def _fetched(self, row: Row, task: Task, fetch: Future[None] | None) -> Iterator[Task]:
        try:
            if fetch is not None:
                fetch.result()
        except storage.StorageError:
            raise
        except FileError as error:
            self._note({"row": row.number, "path": _path(row), "error": one_line(error)})
            _discard(task, row)
            return
        self._rows[task.relative] = row
        yield task

    def _task(self, row: Row) -> Task:
        """The work on a row; raises `FileError` where there is none to do."""
        if row.error is not None or row.source is None:
            raise FileError(row.error or "")
        output, format_name = result_name(row.relative, self._results.format_name)
        if output.split("/")[0] == outcomes.FOLDER:
            raise FileError(f"'{outcomes.FOLDER}' is kept for the outcomes: no result goes there")
        _check_inside(self._results.folder, output)
        digest = hashlib.blake2b(os.fsencode(output), digest_size=8).digest()
        if digest in self._names:
            raise FileError(f"another row's result has the name '{output}'")
        self._names.add(digest)
        source = row.source
        if urls.scheme_of(source) is not None:
            source = str(self._work / f"{row.number}-in{_suffix(row.relative)}")
        result = str(self._work / f"{row.number}{posixpath.splitext(output)[1]}")
        return Task(source, result, str(row.number), format_name)

    def _facts(self, row: Row, outcome: Outcome) -> dict[str, Any]:
        output, _ = result_name(row.relative, self._results.format_name)
        facts = {"row": row.number, "path": row.source}
        if outcome.error is None:
            facts["output"] = output
        warnings = [self._by_name(row, outcome, line) for line in outcome.warnings]
        return {**facts, "warnings": warnings} if warnings else facts

    def _named(self, row: Row, outcome: Outcome) -> str:
        """Why a row failed; raises `StorageError` where every other row would fail too."""
        text = self._by_name(row, outcome, str(outcome.error))
        if outcome.stops:
            raise storage.StorageError(f"'{row.source}': {text}")
        return text

    def _by_name(self, row: Row, outcome: Outcome, text: str) -> str:
        """A text with the row's own names for the files that stood for them here."""
        text = text.replace(outcome.task.source, str(row.source))
        output, _ = result_name(row.relative, self._results.format_name)
        return text.replace(outcome.task.output, output)

    def _stored(self, facts: dict[str, Any], stored: Future[str | None]) -> None:
        error = stored.result()
        if error is not None:
            del facts["output"]
            facts["error"] = error
        self._note(facts)


def result_name(relative: str, format_name: str | None) -> tuple[str, str]:
    """Where an image's result goes, and its format.

    Args:
        relative: the image's path under the list's root.
        format_name: of all results; None keeps the image's own, or PNG where that is not written.
    """
    stem, suffix = posixpath.splitext(relative)
    own = Image.registered_extensions().get(suffix.lower())
    kept = own if own in formats.FORMATS and own != "GIF" else "PNG"
    wanted = format_name or kept
    if own == wanted:
        return relative, wanted
    return (stem if own is not None else relative) + suffix_of(wanted), wanted


def _path(row: Row) -> str | None:
    """The row's image, as its outcome names it."""
    return row.given if row.source is None else row.source


def _suffix(relative: str) -> str:
    suffix = posixpath.splitext(relative)[1].lower()
    return suffix if suffix in Image.registered_extensions() else ""


def _store(work: Path, result: str) -> str | None:
    """Give a result its name; what is wrong where another file has it."""
    try:
        storage.create(work, result)
    except FileExistsError:
        return f"'{result}' is there already, and is not this image's result"
    except storage.StorageError:
        raise
    except FileError as error:
        return one_line(error)
    return None


def _discard(task: Task, row: Row) -> None:
    """Remove what was fetched of a row that is done."""
    if task.source != row.source:
        Path(task.source).unlink(missing_ok=True)


def _check_inside(results: str, output: str) -> None:
    """Check, whatever the names on this system mean, that a result stays in its folder."""
    name = urls.join(results, output)
    if urls.scheme_of(results) is None:
        is_inside = os.path.abspath(name).startswith(os.path.join(results, ""))
    else:
        is_inside = ".." not in output.split("/")
    if not is_inside:
        raise FileError(f"'{output}' would lead out of the folder of the results")
