"""Lists written: a folder or bucket listed once, or a list cut up, as one file a shard."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from PIL import Image

from hcflow.batch import manifest, storage, urls
from hcflow.batch.manifest import COLUMN, ImageList, shard_file, shard_rows
from runtime.convert.folders import walk
from runtime.errors import FileError
from runtime.images.codecs import files, heic

SHARD_ROWS = 10_000
"""Rows of a shard where nobody says how many shards there are to be."""

Warn = Callable[[str], None]


def write(
    source: str, name: str, shards: int | None, warn: Warn, *, column: str = COLUMN
) -> ImageList:
    """List the images of a folder, or the names of a list, into a folder of shards.

    The shards have equal numbers of rows, one after another in the order of the listing; a bad row
    of a list stays one.

    Args:
        source: a folder, a bucket or a prefix in it (`s3://bucket/photos`), or a list.
        name: of the new list, a folder or URL.
        shards: how many; None makes them of some `SHARD_ROWS` rows.
        warn: is told what is left out.
        column: of a source that is JSONL or Parquet.

    Raises:
        FileError: there is no such source, no image in it, or the list exists.
    """
    source, name = urls.plain(source), urls.plain(name)
    storage.check(source)
    index = urls.join(name, manifest.INDEX)
    if storage.exists(index):
        raise FileError(f"'{name}' is a list already: name another with -o")
    with tempfile.TemporaryDirectory(prefix="hcflow-") as folder:
        work = Path(folder)
        if storage.is_folder(source):
            listed: Iterator[str | None] = _listed(source, name, warn)
            root = source
        elif not storage.exists(source):
            raise FileError(f"'{source}': there is no such folder, bucket or list")
        else:
            images = manifest.open_list(source, column)
            listed, root = _rows(images), images.root
        with (work / "all.jsonl").open("w+b") as spooled:
            rows = _spool(listed, spooled)
            if rows == 0:
                raise FileError(f"'{source}' has no image in it that this program reads")
            files_number = shards or -(-rows // SHARD_ROWS)
            spooled.seek(0)
            digest = _split(spooled, rows, files_number, name, work)
        facts = {"root": root, "rows": rows, "shards": files_number, "digest": digest}
        try:
            storage.create_text(json.dumps(facts, indent=1), index, work)
        except FileExistsError:
            raise FileError(f"'{name}' was written by another process meanwhile") from None
    return ImageList(name, root, rows, digest, files_number)


def _spool(names: Iterator[Any], file: IO[bytes]) -> int:
    rows = 0
    for given in names:
        file.write(json.dumps({COLUMN: given}).encode("ascii") + b"\n")
        rows += 1
    return rows


def _split(spooled: IO[bytes], rows: int, shards: int, name: str, work: Path) -> str:
    """Write the shards' files; the digest of all rows."""
    digest = hashlib.blake2b(digest_size=16)
    for index in range(shards):
        part = work / "shard.jsonl"
        with part.open("wb") as file:
            for line in islice(spooled, shard_rows(rows, shards, index)):
                digest.update(line)
                file.write(line)
        # What a run that was killed has left is replaced: only the index makes it a list.
        storage.create(part, urls.join(name, shard_file(index, shards)), replace=True)
    return digest.hexdigest()


def _rows(images: ImageList) -> Iterator[str | None]:
    """The names of a list, as they are found again under its root; bad ones as they are."""
    for index in range(images.files or 1):
        for row in images.shard(index, images.files or 1):
            yield row.given if row.source is None else row.relative


def _listed(folder: str, name: str, warn: Warn) -> Iterator[str]:
    """The images under a folder, relative to it, with slashes."""
    if urls.scheme_of(folder) is None:
        for found in walk.walk(folder, name, "PNG"):
            if isinstance(found, walk.PassedOver):
                continue
            # A file with a problem is listed: whoever converts it says what is wrong.
            if isinstance(found, walk.Task) or os.path.isfile(os.path.join(folder, found.relative)):
                yield Path(found.relative).as_posix()
            else:
                warn(f"'{found.relative}': {found.message}")
        return
    suffixes = {s for s, kind in Image.registered_extensions().items() if kind in files.READ}
    if heic.find() is not None:
        suffixes |= set(heic.SUFFIXES)
    for relative in storage.walk(folder):
        is_hidden = any(part.startswith(".") for part in relative.split("/"))
        if not is_hidden and Path(relative).suffix.lower() in suffixes:
            yield relative
