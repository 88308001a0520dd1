"""Files of `torch.save`, since 1.6 an archive and before that a row of pickles, read as data."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hcflow_ref.checkpoint import pickle_reader
from hcflow_ref.checkpoint.stored import Storage
from hcflow_ref.errors import CheckpointError, one_line, printable

MOST_REPEATED = 2
"""How many times its own size a file may unpack to; beyond it no memory is allocated."""

MOST_ENTRIES = 20_000
"""Of an archive: one a tensor, so some 5,000 with an optimiser's state."""

MOST_PICKLE_BYTES = 1 << 25

_ARCHIVE = b"PK\x03\x04"
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ANY_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError),
    *(ValueError, LookupError, RuntimeError),
)
_MAGIC = 0x1950A86A20F9469CFC6C
_BYTES = {"float64": 8, "int64": 8, "complex64": 8, "complex128": 16, "float32": 4, "int32": 4}
_BYTES |= {"float16": 2, "bfloat16": 2, "int16": 2, "int8": 1, "uint8": 1, "bool": 1}


@dataclass(frozen=True)
class TorchFile:
    """An opened file.

    Attributes:
        root: the object that was saved (`pickle_reader.read`).
        size_of: the bytes that a storage has in the file.
        numbers: the bytes of a storage, as a copy.
    """

    root: Any
    size_of: Callable[[Storage], int]
    numbers: Callable[[Storage], bytes]


def read(data: bytes) -> TorchFile:
    """Read the object of a file; numbers are read when they are asked for.

    Raises:
        CheckpointError: it is damaged, unreasonably large inside, or names types that are not
            allowed.
    """
    with damage_named():
        return _archive(data) if data.startswith(_ARCHIVE) else _row_of_pickles(data)


@contextmanager
def damage_named() -> Iterator[None]:
    """Raise `CheckpointError` for whatever Python and PyTorch raise over a file's content."""
    try:
        yield
    except CheckpointError:
        raise
    except _ANY_DAMAGE as error:
        raise _damaged(one_line(error)) from error


def _damaged(what: str) -> CheckpointError:
    return CheckpointError(f"not a whole PyTorch checkpoint ({printable(what)})")


def _archive(data: bytes) -> TorchFile:
    entries = data.count(b"PK\x01\x02")  # before Python makes an object of each
    if entries > MOST_ENTRIES:
        raise CheckpointError(
            f"not a PyTorch checkpoint: an archive of {entries} entries, more than {MOST_ENTRIES}; "
            "refused"
        )
    archive = zipfile.ZipFile(io.BytesIO(data))
    if any(entry.compress_type not in _COMPRESSIONS for entry in archive.infolist()):
        raise _damaged("an archive of a compression that PyTorch does not use")
    sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    if (unpacked := sum(sizes.values())) > MOST_REPEATED * len(data):
        raise CheckpointError(
            f"not a PyTorch checkpoint: {len(data)} bytes unpack to {unpacked}; refused"
        )
    pickles = [name for name in sizes if name.split("/")[1:] == ["data.pkl"]]
    if len(pickles) != 1:
        raise _damaged("an archive without one data.pkl")
    folder = pickles[0].removesuffix("data.pkl")
    if sizes[pickles[0]] > MOST_PICKLE_BYTES:
        raise CheckpointError(f"its pickle has {sizes[pickles[0]]} bytes, far too many; refused")
    order = f"{folder}byteorder"
    if order in sizes and _read(archive, order, sizes[order]).strip() == b"big":
        raise CheckpointError("it was saved on a big-endian machine; save it on a common one")
    pickled = _read(archive, pickles[0], sizes[pickles[0]])
    root = pickle_reader.read(io.BytesIO(pickled)).root

    def size_of(storage: Storage) -> int:
        name = f"{folder}data/{storage.key}"
        if name not in sizes:
            raise _damaged(f"'{name}' is missing")
        return sizes[name]

    def numbers(storage: Storage) -> bytes:
        with damage_named():
            return _read(archive, f"{folder}data/{storage.key}", size_of(storage))

    return TorchFile(root, size_of, numbers)


def _read(archive: zipfile.ZipFile, name: str, size: int) -> bytes:
    """The content of an entry, never more than its size: `ZipFile.read` would inflate it all."""
    with archive.open(name) as entry:
        content = entry.read(size)
    if len(content) != size:
        raise _damaged(f"'{name}' has {len(content)} bytes, expected {size}")
    return content


def _row_of_pickles(data: bytes) -> TorchFile:
    """The format before 1.6: four pickles, the storages' keys, then each length and numbers."""
    file = io.BytesIO(data)
    if pickle_reader.read(file).root != _MAGIC:
        raise _damaged("it is no file of torch.save")
    for _ in ("version", "system"):
        pickle_reader.read(file)
    pickled = pickle_reader.read(file)
    keys = pickle_reader.read(file).root
    if not isinstance(keys, list) or len(keys) > MOST_ENTRIES:
        raise _damaged("the list of storages is missing")
    places: dict[str, tuple[int, int]] = {}
    at = file.tell()
    for key in (
        key if isinstance(key, str) else str(key)[:200]
        for key in keys
        if isinstance(key, (str, int))
    ):
        if key not in pickled.storages:
            raise _damaged(f"no tensor has the storage {key[:80]!r}")
        number = pickled.storages[key].number
        if number not in _BYTES:
            raise _damaged(f"storage {key[:80]!r} has the number format {number}")
        size = int.from_bytes(data[at : at + 8], "little", signed=True) * _BYTES[number]
        if len(data) < at + 8 or size < 0 or at + 8 + size > len(data):
            raise _damaged(f"storage {key[:80]!r} ends early")
        places[key] = (at + 8, size)
        at += 8 + size

    def place(storage: Storage) -> tuple[int, int]:
        if storage.key not in places:
            raise _damaged(f"storage {storage.key!r} is missing")
        return places[storage.key]

    def numbers(storage: Storage) -> bytes:
        start, size = place(storage)
        return data[start : start + size]

    return TorchFile(pickled.root, lambda storage: place(storage)[1], numbers)
