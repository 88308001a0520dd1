"""The image file in a request's body: the body itself, or the one file of a form."""

from __future__ import annotations

from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from hcflow.serving.limits import RefusedError

_MOST_PARTS = 16


def image_in(body: bytes, content_type: str) -> bytes:
    """The bytes of the image file in a body: the body itself, or the one file of a form.

    Raises:
        RefusedError: there is none, or there are several.
    """
    kind, parameters = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        body = _file_of_form(body, parameters.get(b"boundary", b""))
    if not body:
        raise RefusedError(415, "there is no image: send its file as the body, or as a form's file")
    return body


def _file_of_form(body: bytes, boundary: bytes) -> bytes:
    """The only part that has a file name, or the only one that is called `image` or `file`."""
    reader = _FormReader()
    try:
        if not boundary:
            raise RefusedError(415, "the form names no boundary")
        parser = MultipartParser(boundary, reader.callbacks(), max_size=len(body) + 1)
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise RefusedError(415, "the form is damaged: send the image's file as the body") from None
    if not reader.is_whole:
        raise RefusedError(415, "the form ends before its last part does")
    if len(reader.files) > 1:
        raise RefusedError(422, f"the form has {len(reader.files)} files: send one at a time")
    if reader.others:
        raise RefusedError(422, "the form has more than a file: options go into the query")
    return bytes(reader.files[0]) if reader.files else b""


class _FormReader:
    """Takes up the parts of a form; names of files are looked at for being there, no more."""

    def __init__(self) -> None:
        self.files: list[bytearray] = []
        self.others = 0
        self.is_whole = False
        self._parts = 0
        self._name, self._value = b"", b""
        self._headers: dict[bytes, bytes] = {}
        self._part: bytearray | None = None

    def callbacks(self) -> Any:
        """What `MultipartParser` calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise RefusedError(422, f"the form has more than {_MOST_PARTS} parts")
        self._headers, self._part = {}, None

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name, self._value = b"", b""

    def _headers_end(self) -> None:
        _, parameters = parse_options_header(self._headers.get(b"content-disposition"))
        if b"filename" in parameters or parameters.get(b"name") in (b"image", b"file"):
            self._part = bytearray()
            self.files.append(self._part)
        else:
            self.others += 1

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._part is not None:
            self._part += memoryview(data)[start:end]

    def _end(self) -> None:
        self.is_whole = True
