"""Which metadata reach a result: `python -m benchmarks.metadata_table` writes docs/files.md."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, ImageCms, PngImagePlugin, TiffImagePlugin

from runtime.images.codecs import files, formats

PAGE = Path(__file__).parents[1] / "docs" / "files.md"
START, END = "<!-- metadata: start -->\n", "<!-- metadata: end -->\n"
TARGETS = {
    "PNG": "PNG",
    "TIFF": "TIFF",
    "JPEG": "JPEG",
    "WebP": "WEBP",
    "AVIF": "AVIF",
    "JPEG 2000": "JPEG2000",
    "BMP": "BMP",
    "PPM": "PPM",
}

_MARK = b"a mark that is looked for"
_TEXT = _MARK.decode()
_IPTC_TAG = 33723
_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
_XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + _MARK + b"</x:xmpmeta>"


def lines() -> Iterator[str]:
    """The table as Markdown, found by converting a small picture that holds each."""
    yield f"| in the source | {' | '.join(TARGETS)} |"
    yield "|---|" + "---|" * len(TARGETS)
    for name, (source, is_in) in _KINDS.items():
        photo = files.decode(source(), name)
        assert isinstance(photo.image, Image.Image)
        photo = replace(photo, image=photo.image.convert("RGB"))  # as a result is
        kept = (is_in(formats.encode(photo, target)) for target in TARGETS.values())
        yield f"| {name} | {' | '.join('kept' if each else '–' for each in kept)} |"


def page() -> str:
    """docs/files.md with the table as it is now."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(START)
    return before + START + "\n".join(lines()) + "\n" + END + rest.split(END)[1]


def _saved(format_name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 100, 50)).save(buffer, format_name, **options)
    return buffer.getvalue()


def _jpeg_with(marker: int, content: bytes) -> bytes:
    """A JPEG with a segment more."""
    data = _saved("JPEG")
    segment = bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content
    return data[:2] + segment + data[2:]


def _iptc() -> bytes:
    """A caption as IPTC-IIM, in the block that Photoshop keeps it in."""
    record = b"\x1c\x02\x78" + len(_MARK).to_bytes(2, "big") + _MARK
    block = b"8BIM\x04\x04\0\0" + len(record).to_bytes(4, "big") + record
    return _jpeg_with(0xED, b"Photoshop 3.0\0" + block + b"\0" * (len(record) % 2))


def _tiff_iptc() -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[_IPTC_TAG] = b"\x1c\x02\x78" + len(_MARK).to_bytes(2, "big") + _MARK
    return _saved("TIFF", tiffinfo=tags)


def _exif(fill: Callable[[Image.Exif], object]) -> bytes:
    exif = Image.Exif()
    fill(exif)
    return _saved("JPEG", exif=exif)


def _with_maker(exif: Image.Exif) -> None:
    exif[ExifTags.Base.Make] = _TEXT


def _with_exposure(exif: Image.Exif) -> None:
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.LensModel] = _TEXT


def _with_place(exif: Image.Exif) -> None:
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSMapDatum] = _TEXT


def _thumbnail() -> bytes:
    """EXIF whose second directory has a thumbnail."""
    entries = b"\x01\0" + b"\x12\x01\x03\0\x01\0\0\0\x01\0\0\0" + b"\x1a\0\0\0"
    second = b"\x01\0" + b"\x0e\x01\x02\0" + len(_MARK).to_bytes(4, "little") + b"\x2c\0\0\0"
    return _saved("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0" + entries + second + bytes(4) + _MARK)


def _png_text() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Description", _TEXT)
    return _saved("PNG", pnginfo=info)


def _has_mark(data: bytes) -> bool:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        exif = image.getexif()
        found: list[MutableMapping[Any, Any]]
        found = [exif, exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)]
        found.append(image.info)
        return _MARK in data or any(
            _TEXT in str(value) for tags in found for value in tags.values()
        )


def _has_profile(data: bytes) -> bool:
    return files.decode(data, "a result").icc == _PROFILE


def _has_density(data: bytes) -> bool:
    return files.decode(data, "a result").density == (300, 300)


_KINDS: dict[str, tuple[Callable[[], bytes], Callable[[bytes], bool]]] = {
    "colour profile (ICC)": (lambda: _saved("PNG", icc_profile=_PROFILE), _has_profile),
    "density (dpi)": (lambda: _saved("PNG", dpi=(300, 300)), _has_density),
    "XMP, with the IPTC fields in it": (lambda: _saved("JPEG", xmp=_XMP), _has_mark),
    "EXIF: maker, date, author, …": (lambda: _exif(_with_maker), _has_mark),
    "EXIF: exposure, lens, …": (lambda: _exif(_with_exposure), _has_mark),
    "EXIF: place (GPS)": (lambda: _exif(_with_place), _has_mark),
    "EXIF: thumbnail and its tags": (_thumbnail, _has_mark),
    "IPTC records in a JPEG": (_iptc, _has_mark),
    "IPTC records in a TIFF": (_tiff_iptc, _has_mark),
    "text in a PNG": (_png_text, _has_mark),
    "comment in a JPEG": (lambda: _jpeg_with(0xFE, _MARK), _has_mark),
    "comment in a GIF": (lambda: _saved("GIF", comment=_MARK), _has_mark),
}

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
