"""A TIFF of several pages ↔ TIFFs of one page each.

A page keeps its bytes and only the directory that the file begins with changes, so that whoever
reads single images reads pages too, whatever their size, depth and metadata.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from runtime.errors import ImageError
from runtime.images.codecs.bounds import structure

_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT = 254, 255, 256, 257
_REDUCED_OR_MASK = 0b101  # bits of the subfile type
_OLD_REDUCED = 2
_DATA_OFFSETS = (273, 324)  # of strips and of tiles
_DIRECTORIES = (330, 34665, 34853, 40965)  # SubIFDs, Exif, GPS, interoperability
_SIZES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)  # bytes of a value, by its type
_SHORT, _LONG, _LONG8, _IFD8 = 3, 4, 16, 18
_UNSIGNED = {1: "B", _SHORT: "H", _LONG: "L", 13: "L", _LONG8: "Q", _IFD8: "Q"}
_MOST_BYTES = 1 << 32


@dataclass(frozen=True)
class Page:
    """A page of a TIFF: its directory, where the offset of the next one stands, and its size."""

    directory: int
    next_at: int
    width: int
    height: int


@dataclass(frozen=True)
class _Form:
    """Byte order, and widths: of a count of entries, of an offset, and of an entry."""

    order: str
    is_big: bool

    @property
    def offset(self) -> struct.Struct:
        return struct.Struct(self.order + ("Q" if self.is_big else "L"))

    @property
    def count(self) -> struct.Struct:
        return struct.Struct(self.order + ("Q" if self.is_big else "H"))

    @property
    def entry(self) -> struct.Struct:
        return struct.Struct(self.order + ("HHQ8s" if self.is_big else "HHL4s"))

    @property
    def first_at(self) -> int:
        return 8 if self.is_big else 4


def pages(file: IO[bytes], where: str) -> list[Page]:
    """The pages of a TIFF, without reduced copies and masks of other pages; [] of another file.

    A chain of directories that breaks off or returns to itself ends there: whoever reads the page
    says what is wrong with it.

    Args:
        file: can be sought.
        where: names it in errors.

    Raises:
        ImageError: the file is beyond `bounds.structure`'s limits, by which the chain is short.
    """
    structure.check(file, where)
    form = _form(file)
    if form is None:
        return []
    found = []
    for index, (page, is_part) in enumerate(_chain(file, form)):
        if index == 0 or not is_part:
            found.append(page)
    return found


def single(data: bytes, page: Page) -> bytes:
    """A page as a TIFF of its own, in as many bytes as the whole file."""
    form = _form(io.BytesIO(data))
    assert form is not None
    alone = bytearray(data)
    form.offset.pack_into(alone, form.first_at, page.directory)
    if page.next_at + form.offset.size <= len(alone):
        form.offset.pack_into(alone, page.next_at, 0)
    return bytes(alone)


class Joiner:
    """Appends TIFFs of one page, in the byte order of this machine's libraries, to one of many.

    Args:
        file: empty, and can be sought.
        where: names it in errors.
    """

    def __init__(self, file: IO[bytes], where: str) -> None:
        self._file, self._where = file, where
        self._next_at: int | None = None

    def append(self, page: bytes) -> None:
        """Add a page, given as a classic little-endian TIFF.

        Raises:
            ImageError: the file would be larger than the 4 GiB that a TIFF holds.
        """
        start = self._file.seek(0, io.SEEK_END)
        if start % 2:
            start += self._file.write(b"\0")
        form = _form(io.BytesIO(page))
        if form != _Form("<", False):
            raise ImageError(f"{self._where}: a page of it is no classic little-endian TIFF")
        if start + 2 * len(page) >= _MOST_BYTES:  # moved tables of offsets may add to a page
            raise ImageError(f"{self._where} would exceed the 4 GiB that a TIFF of pages holds")
        moved = bytearray(page)
        (directory,) = form.offset.unpack_from(moved, form.first_at)
        next_at = _move(moved, directory, start, form)
        self._file.write(moved)
        if self._next_at is not None:
            self._file.seek(self._next_at)
            self._file.write(form.offset.pack(start + directory))
        self._next_at = start + next_at


def _form(file: IO[bytes]) -> _Form | None:
    file.seek(0)
    order = {b"II": "<", b"MM": ">"}.get(file.read(2))
    if order is None:
        return None
    (version,) = struct.unpack(order + "H", file.read(2).ljust(2, b"\0"))
    return _Form(order, version == 43) if version in (42, 43) else None


def _chain(file: IO[bytes], form: _Form) -> Iterator[tuple[Page, bool]]:
    """The directories of a file in order; and whether each is only part of another page."""
    seen: set[int] = set()
    file.seek(form.first_at)
    at = _unpacked(file, form.offset)
    while at and at not in seen:
        seen.add(at)
        file.seek(at)
        count = _unpacked(file, form.count)
        entries = file.read((count or 0) * form.entry.size)
        next_at = at + form.count.size + len(entries)
        if not entries or len(entries) % form.entry.size:
            return
        values = {
            tag: _number(field, kind, form)
            for tag, kind, length, field in form.entry.iter_unpack(entries)
            if tag in (_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT) and length == 1
        }
        is_part = bool(values.get(_SUBFILE, 0) & _REDUCED_OR_MASK)
        is_part |= values.get(_OLD_SUBFILE) == _OLD_REDUCED
        yield Page(at, next_at, values.get(_WIDTH, 0), values.get(_HEIGHT, 0)), is_part
        file.seek(next_at)
        at = _unpacked(file, form.offset)


def _unpacked(file: IO[bytes], form: struct.Struct) -> int | None:
    data = file.read(form.size)
    return int(form.unpack(data)[0]) if len(data) == form.size else None


def _number(field: bytes, kind: int, form: _Form) -> int:
    code = _UNSIGNED.get(kind)
    if code is None or struct.calcsize(form.order + code) > len(field):
        return 0
    return int(struct.unpack_from(form.order + code, field)[0])


def _move(moved: bytearray, directory: int, start: int, form: _Form) -> int:
    """Add `start` to every offset of a directory and of those in it; where its next offset is."""
    (count,) = form.count.unpack_from(moved, directory)
    first = directory + form.count.size
    for at in range(first, first + count * form.entry.size, form.entry.size):
        tag, kind, length, field = form.entry.unpack_from(moved, at)
        size = (_SIZES[kind] if kind < len(_SIZES) else 0) * length
        is_here = size <= len(field)
        (place,) = form.offset.unpack(field)
        if tag in _DATA_OFFSETS or tag in _DIRECTORIES:
            code = f"{form.order}{length}{_UNSIGNED[kind]}"
            offsets = struct.unpack_from(code, field if is_here else moved, 0 if is_here else place)
            if tag in _DIRECTORIES:
                for inner in offsets:
                    _move(moved, inner, start, form)
            shifted = struct.pack(f"{form.order}{length}L", *(o + start for o in offsets))
            if length == 1:
                field = shifted
            elif kind == _SHORT:  # too narrow for the new offsets, which go to the end
                place = len(moved) + len(moved) % 2
                moved.extend(bytes(place - len(moved)) + shifted)
                field = form.offset.pack(place + start)
            else:
                moved[place : place + len(shifted)] = shifted
                field = form.offset.pack(place + start)
            kind = _LONG
        elif not is_here:
            field = form.offset.pack(place + start)
        form.entry.pack_into(moved, at, tag, kind, length, field)
    return first + int(count) * form.entry.size
