"""Files that are pictures by their suffix or their first bytes, and are not read."""

from __future__ import annotations

from pathlib import Path

from runtime.images.codecs import heic, signature

# Suffixes of pictures that this program does not read.
_SUFFIXES = frozenset(
    [
        *heic.SUFFIXES,
        *(".jxl", ".jxr", ".wdp", ".hdp", ".bpg", ".flif", ".qoi"),
        *(".psd", ".psb", ".xcf", ".kra", ".ora", ".clip", ".afphoto", ".svg", ".svgz", ".eps"),
        *(".ico", ".cur", ".icns", ".pcx", ".dcx", ".sgi", ".rgb", ".xbm", ".xpm", ".dds", ".wmf"),
        *(".emf", ".pict", ".pct", ".djvu", ".fits", ".exr", ".hdr", ".pfm", ".mng", ".jng"),
        *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".raf", ".orf", ".rw2"),
        *(".pef", ".srw", ".x3f", ".3fr", ".iiq", ".erf", ".mrw", ".kdc", ".rwl"),
    ]
)
_START = 32


def kind(path: str) -> str | None:
    """How a picture that is not read is counted: by its suffix; None of any other file.

    Where the suffix is no picture's, by its first bytes too: "no suffix (PNG)".
    """
    suffix = Path(path).suffix.lower()
    if suffix in _SUFFIXES:
        return suffix
    try:
        with open(path, "rb") as file:
            found = signature.picture(file.read(_START))
    except OSError:  # what cannot be read is not known to be one
        return None
    return found and f"{suffix or 'no suffix'} ({found})"
