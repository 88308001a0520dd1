"""Lists of images: names from text, JSONL or Parquet, or a folder of such lists, one a shard."""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import IO, Any

from hcflow.batch import storage, urls
from runtime.errors import FileError

INDEX = "list.json"
"""The file of a folder of shards that says what they are, written last."""

COLUMN = "path"
"""The key of a row's name in JSONL, and its column in Parquet."""

_LONGEST_LINE = 1 << 16
_BATCH = 4096  # rows of Parquet at a time


@dataclass(frozen=True)
class Row:
    """One row of a list: an image's name, or what is wrong with the row.

    Attributes:
        number: its place in its file, from 0: of a text's lines, blank ones count.
        source: the image's full path or URL; None of a bad row.
        relative: its path under the list's root, with slashes.
        error: what is wrong with a bad row.
        given: what stands in the list; None where that is no text.
    """

    number: int
    source: str | None = None
    relative: str = ""
    error: str | None = None
    given: str | None = None


@dataclass(frozen=True)
class ImageList:
    """A list of images.

    Attributes:
        name: of its file, or of the folder of its shards.
        root: the folder or URL that all its names lie under.
        rows: how many rows it has.
        digest: of everything in it.
        files: how many files a folder of shards has; None of a list that is one file.
        column: where the names are in JSONL and Parquet.
    """

    name: str
    root: str
    rows: int
    digest: str
    files: int | None = None
    column: str = COLUMN

    def shard(self, index: int, shards: int) -> Iterator[Row]:
        """The rows of a shard of so many: its own file's, or of one file each `shards`-th row.

        Raises:
            FileError: the list cannot be read, or at the shard's end: its file lacks rows.
        """
        found: Iterator[Row]
        if self.files is None:
            rows = _rows(self.name, None, self.column)
            found = (row for row in rows if row.number % shards == index)
        else:
            name = urls.join(self.name, shard_file(index, shards))
            found = _whole(_rows(name, self.root, ended=True), self.rows_of(index), name)
        for row in found:
            yield _under(self.root, row)

    def rows_of(self, index: int) -> int | None:
        """How many rows a shard's own file has; None where the list is one file."""
        return None if self.files is None else shard_rows(self.rows, self.files, index)


def shard_rows(rows: int, shards: int, index: int) -> int:
    """How many of a list's rows are in a shard's file: the first have one more than the last."""
    each, more = divmod(rows, shards)
    return each + (index < more)


def shard_name(index: int, shards: int) -> str:
    """What a shard is called: `00003-of-00016`."""
    return f"{index:05d}-of-{shards:05d}"


def shard_file(index: int, shards: int) -> str:
    """The file of a shard in a folder of shards."""
    return f"{shard_name(index, shards)}.jsonl"


def open_list(name: str, column: str = COLUMN) -> ImageList:
    """A list by its name; one that is a single file is read through once, for its root.

    Raises:
        FileError: there is no such list, it is damaged, or its names have no root in common.
    """
    name = urls.plain(name)
    storage.check(name)
    index = urls.join(name, INDEX)
    if storage.is_folder(name):
        if not storage.exists(index):
            raise FileError(f"'{name}' has no {INDEX}: `hcflow manifest` writes lists as folders")
        return _indexed(name, index)
    root: str | None = None
    rows = 0
    digest = hashlib.blake2b(digest_size=16)
    for row in _rows(name, None, column):
        rows += 1
        digest.update(json.dumps([row.number, row.source]).encode() + b"\n")
        if row.source is not None:
            root = _common(root, row.source)
    root = root or os.path.dirname(name)
    return ImageList(name, root, rows, digest.hexdigest(), column=column)


def row_under(root: str, number: int, name: str) -> Row:
    """A row of its own, not of a list; a relative name is meant from the root."""
    return _under(root, _row(number, name, root))


def _relative(root: str, name: str) -> str:
    relative = name[len(_with_separator(root)) :]
    return relative if urls.scheme_of(root) else relative.replace(os.sep, "/")


def _indexed(name: str, index: str) -> ImageList:
    try:
        facts = json.loads(storage.read(index))
        root, rows, files = facts["root"], facts["rows"], facts["shards"]
        digest = facts["digest"]
        is_sound = isinstance(root, str) and isinstance(digest, str) and root != ""
        if not (is_sound and isinstance(rows, int) and isinstance(files, int) and files > 0):
            raise ValueError(index)
    except (ValueError, KeyError, TypeError, UnicodeDecodeError):
        raise FileError(f"'{index}' is damaged: write the list again") from None
    return ImageList(name, urls.plain(root), rows, digest, files)


def _whole(found: Iterator[Row], expected: int | None, name: str) -> Iterator[Row]:
    """The rows of a shard's file; raises `FileError` after the last where some are missing."""
    rows = 0
    for row in found:
        rows += 1
        yield row
    if rows != expected:
        raise FileError(
            f"'{name}' is damaged, {rows} of {expected} rows are in it: write the list again"
        )


def _rows(
    name: str, root: str | None = None, column: str = COLUMN, *, ended: bool = False
) -> Iterator[Row]:
    """The rows of a file; relative names are under `root`, else in the file's own folder.

    With `ended` a last line without its end is none: the file has been cut short there.
    """
    is_remote = urls.scheme_of(name) is not None
    base = root or (posixpath.dirname(name) if is_remote else os.path.dirname(name))
    suffix = posixpath.splitext(name)[1].lower()
    with storage.open_file(name) as file:
        if suffix == ".parquet":
            values = _parquet(file, name, column)
        elif suffix in (".jsonl", ".ndjson"):
            values = ((n, _from_json(line, column)) for n, line in _lines(file, ended))
        else:
            values = ((n, line if line is None else os.fsdecode(line)) for n, line in _lines(file))
        for number, value in values:
            if value == "" and suffix != ".parquet":  # a blank line
                continue
            yield _row(number, value, base)


def _lines(file: IO[bytes], ended: bool = False) -> Iterator[tuple[int, bytes | None]]:
    """The lines of a file without their ends; None of one that is no name by its length."""
    number = 0
    while line := file.readline(_LONGEST_LINE):
        line = line.removeprefix(codecs.BOM_UTF8) if number == 0 else line
        rest = line
        while len(rest) == _LONGEST_LINE and not rest.endswith(b"\n"):
            rest = file.readline(_LONGEST_LINE)
        if ended and not rest.endswith(b"\n"):
            return
        yield number, line.rstrip(b"\r\n") if rest is line else None
        number += 1


def _from_json(line: bytes | None, column: str) -> Any:
    if line is not None and not line.strip():
        return ""
    try:
        return json.loads(line or b"")[column]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _parquet(file: IO[bytes], name: str, column: str) -> Iterator[tuple[int, Any]]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise FileError(f"'{name}' needs pip install 'hcflow-deploy[remote]'") from None
    number = 0
    try:
        table = ParquetFile(file)
        if column not in table.schema_arrow.names:
            raise FileError(f"'{name}' has no column '{column}'")
        for batch in table.iter_batches(_BATCH, columns=[column]):
            for value in batch.column(0):
                yield number, value.as_py()
                number += 1
    except (ArrowException, OSError) as error:
        raise FileError(f"'{name}' cannot be read as Parquet: {error}") from error


def _row(number: int, value: Any, base: str) -> Row:
    if not isinstance(value, str) or value == "":
        return Row(number, error="there is no name in this row")
    if (error := _fault(value)) is not None:
        return Row(number, error=error, given=value)
    if urls.scheme_of(value) is not None:
        return Row(number, value, given=value)
    path = urls.plain(value) if "://" in value else value
    if urls.scheme_of(base) is not None:
        return Row(number, posixpath.join(base, path.lstrip("/")), given=value)
    return Row(number, os.path.join(base, path), given=value)


def _fault(name: str) -> str | None:
    """What is wrong with a name; None where nothing is."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return "the name is not Unicode"
    if "\0" in name:
        return "the name has a zero byte in it"
    if ".." in name.replace(os.sep, "/").split("/"):
        return f"'{name}' has '..' in it: give its plain path"
    scheme = urls.scheme_of(name)
    if scheme is not None and not urls.is_known(scheme):
        return f"'{name}': no storage is known as '{scheme}'"
    return None


def _under(root: str, row: Row) -> Row:
    """A row with its place under the root."""
    if row.source is None:
        return row
    source = row.source if urls.scheme_of(row.source) else os.path.normpath(row.source)
    if not source.startswith(_with_separator(root)):
        error = f"'{row.source}' does not lie under '{root}'"
        return Row(row.number, error=error, given=row.given)
    relative = posixpath.normpath(_relative(root, source).lstrip("/"))
    if relative == posixpath.curdir or source.endswith("/"):
        return Row(row.number, error=f"'{row.source}' names a folder", given=row.given)
    return replace(row, source=source, relative=relative)


def _common(root: str | None, name: str) -> str:
    """The folder that holds both a root and a name."""
    scheme = urls.scheme_of(name)
    if root is not None and urls.scheme_of(root) != scheme:
        raise _no_root(root, name)
    if scheme is None:
        folder = os.path.dirname(os.path.normpath(name))
        try:
            return os.path.commonpath([folder if root is None else root, folder])
        except ValueError:  # two drives of Windows
            raise _no_root(str(root), name) from None
    folder = posixpath.dirname(name)
    if root is None or f"{folder}/".startswith(_with_separator(root)):
        return folder if root is None else root
    pairs = zip(root.split("/"), folder.split("/"), strict=False)
    shared = [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
    return "/".join(shared) if len(shared) > 2 else f"{name.split('://', 1)[0]}://"


def _with_separator(root: str) -> str:
    separator = "/" if urls.scheme_of(root) else os.sep
    return root if root.endswith(separator) else root + separator


def _no_root(root: str, name: str) -> FileError:
    return FileError(f"'{root}' and '{name}' have no folder in common: make two lists")
