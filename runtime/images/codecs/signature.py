"""What a file is by its first bytes, where Pillow cannot open it."""

from __future__ import annotations

import re
from typing import IO

from runtime.images.codecs import heic, tiff_samples

# Formats that are read: a file that begins like this and cannot be opened is damaged.
_READ = {
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM.{4}\0{4}",
    "WebP": rb"RIFF.{4}WEBP",
    "AVIF": rb".{4}ftypavi[fs]",
    "JPEG 2000": rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
}
_TIFF = rb"II[*+]\0|MM\0[*+]"
_PFM = rb"P[Ff]\n"
_VIDEO = {
    "an MP4": rb".{4}ftyp(isom|iso\d|mp4\d|avc1|M4V |3gp|dash|mmp4|MSNV)",
    "a MOV": rb".{4}(ftypqt  |moov|mdat|wide)",
    "a Matroska or WebM": rb"\x1aE\xdf\xa3",
    "an AVI": rb"RIFF.{4}AVI ",
    "an Ogg": rb"OggS",
    "a FLV": rb"FLV\x01",
    "a Y4M": rb"YUV4MPEG2 ",
    "an MPEG": rb"\0\0\x01[\xba\xb3]",
    "a WMV": rb"0&\xb2u\x8ef\xcf\x11",
}
# Pictures that are not read.
_OTHER = {
    "HEIC": rb".{4}ftyp(hei[cxms]|hev[cxms]|mif1|msf1)",
    "Photoshop": rb"8BPS",
    "JPEG XL": rb"\0\0\0\x0cJXL \r\n\x87\n",
    "OpenEXR": rb"v/1\x01",
    "GIMP": rb"gimp xcf ",
    "DDS": rb"DDS ",
}
_LONGEST = 32


def picture(start: bytes) -> str | None:
    """What picture a file with these first bytes is, read or not; None where none is known."""
    known = {**_READ, "TIFF": _TIFF, **_OTHER}
    return next((n for n, found in known.items() if re.match(found, start, re.DOTALL)), None)


def refusal(file: IO[bytes], where: str, readable: str) -> str:
    """Why a file that Pillow does not know is not read, and what to do.

    Args:
        file: it is read from its start.
        where: names it.
        readable: the names of the formats that are read.
    """
    file.seek(0)
    start = file.read(_LONGEST)
    if re.match(_TIFF, start):
        return tiff_samples.refusal(file, where)
    if heic.begins(start):
        return heic.refusal(where)
    for name, pattern in _READ.items():
        if re.match(pattern, start, re.DOTALL):
            return f"{where} is damaged: it begins as {name} and goes on otherwise"
    for name, pattern in _VIDEO.items():
        if re.match(pattern, start, re.DOTALL):
            return (
                f"{where} is {name} video: pipe its frames through ffmpeg and --video "
                "(docs/video.md)"
            )
    if re.match(_PFM, start):
        return f"{where} is a PFM, whose floats have no white: {FLOATS}"
    return f"{where} is not an image this program reads ({readable})"


FLOATS = "convert it to 16 bits (magick IN -depth 16 OUT.png)"
