"""What a graph of a bundle may not have, read off its ONNX file without an ONNX library.

A node that holds a graph (`Loop`, `Scan`, `If`), or a function, may run for ever, and `cancel`
waits for a tile. Ours have none. The walk goes from the model to its nodes' attributes, and steps
over weights.
"""

from __future__ import annotations

from collections.abc import Iterator

from runtime.errors import BundleError

MOST_PARTS = 1_000_000
"""Most fields of nodes that are looked at; our largest graphs have some ten thousand."""

# Numbers of fields in onnx.proto: of the model, a graph, a node and an attribute.
_GRAPH, _FUNCTIONS = 7, 25
_NODE = 1
_ATTRIBUTE = 5
_GRAPHS_IN_ATTRIBUTE = (6, 11)

_VARINT, _EIGHT_BYTES, _PART, _FOUR_BYTES = 0, 1, 2, 5  # kinds of fields in protobuf


class _Damaged(Exception):  # noqa: N818 - never leaves this module
    """Not protobuf."""


def check(data: bytes, file: str) -> None:
    """Check that a file is an ONNX model without control flow and without functions.

    Args:
        data: its bytes.
        file: names it in errors.

    Raises:
        BundleError: it is not.
    """
    try:
        fault = _fault(_Reader(data))
    except _Damaged:
        fault = "is not an ONNX model"
    if fault is not None:
        raise BundleError(f"'{file}' {fault}: refused; build the bundle again")


class _Reader:
    """Fields of protobuf messages, counted."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.left = MOST_PARTS

    def parts(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Every part of a message that is a message or text itself: field, start and stop."""
        at = start
        while at < stop:
            self.left -= 1
            if self.left < 0:
                raise _Damaged
            key, at = self._varint(at, stop)
            # Readers of protobuf cut a key to 32 bits: a longer one could pass as another field.
            if key >> 32:
                raise _Damaged
            kind, size = key & 7, 0
            if kind == _VARINT:
                _, at = self._varint(at, stop)
            elif kind == _PART:
                size, at = self._varint(at, stop)
            elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
                size = 8 if kind == _EIGHT_BYTES else 4
            else:
                raise _Damaged
            if size > stop - at:
                raise _Damaged
            if kind == _PART:
                yield key >> 3, at, at + size
            at += size

    def _varint(self, at: int, stop: int) -> tuple[int, int]:
        """A number, 7 bits a byte, and where it ends."""
        value = 0
        for shift in range(0, 64, 7):
            if at >= stop:
                break
            byte = self.data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
        raise _Damaged


def _fault(reader: _Reader) -> str | None:
    has_graph = False
    for field, start, stop in reader.parts(0, len(reader.data)):
        if field == _FUNCTIONS:
            return "has functions of its own"
        if field == _GRAPH:
            has_graph = True
            if _has_control_flow(reader, start, stop):
                return "has control flow, which may never end"
    return None if has_graph else "is not an ONNX model"


def _has_control_flow(reader: _Reader, start: int, stop: int) -> bool:
    """Whether a node of a graph holds a graph."""
    return any(
        inner in _GRAPHS_IN_ATTRIBUTE
        for field, *node in reader.parts(start, stop)
        if field == _NODE
        for attribute, *place in reader.parts(*node)
        if attribute == _ATTRIBUTE
        for inner, _, _ in reader.parts(*place)
    )
