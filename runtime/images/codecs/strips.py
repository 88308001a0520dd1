"""Image files in strips: rows decoded when they are asked for, and encoded from a raw file.

So neither the image that is read nor the one that is written is held in memory. libvips does it
(`codecs.vips`); interlaced PNG, progressive JPEG and WebP are decoded whole by their own libraries.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ImageError, one_line
from runtime.images.codecs import notices, opening, size_limits, tiff_samples, vips
from runtime.images.codecs.bounds import structure
from runtime.images.codecs.completeness import decoded, jpeg_scan, streamed
from runtime.images.codecs.lossy import USUAL, Lossy
from runtime.images.codecs.metadata import colour_profile, density, exif_xmp

READ = tuple(name for name in vips.LOADED if name != "AVIF")
"""Formats that `probe` finds; not AVIF, whose halved chroma libvips upsamples unlike Pillow."""

_BIG_TIFF = 3 << 30  # bytes of pixels above which a TIFF needs 64-bit offsets, with a margin

# Pillow modes that libvips converts to other colours than Pillow does, or does not convert.
_WHOLE_ONLY = ("CMYK", "LAB", "I", "F")


_HEADER = 1 << 20  # bytes within which a JPEG's first scan begins, unless its profile is huge
_UNSIGNED = 1
_RGB = 3
_YCBCR, _JPEG = 6, 7  # of TIFF's photometric interpretations and compressions


@dataclass(frozen=True)
class Form:
    """Size, channels (1 to 4), type (uint8 or uint16) and metadata of an image."""

    width: int
    height: int
    channels: int
    dtype: np.dtype[Any]
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    density: density.Density | None = None
    lossy: Lossy = USUAL

    @property
    def mode(self) -> str:
        """The mode's name, as `formats.check_mode` takes it."""
        names = ("L", "LA", "RGB", "RGBA")
        sixteen_bit = ("I;16", "LA;16", "RGB;16", "RGBA;16")
        return (names if self.dtype == np.uint8 else sixteen_bit)[self.channels - 1]


@size_limits.any_size()
def probe(path: str | os.PathLike[str]) -> tuple[str, int, int] | None:
    """Format, width and height from a file's header; None where `Rows` cannot read it."""
    if not os.path.isfile(path) or not vips.takes(path):  # what is read from a pipe is gone
        return None
    try:
        with notices.about(None), open(path, "rb") as file:
            structure.check(file, f"'{path}'")
            image = opening.open_image(file, READ)
            structure.check_sides(image.width, image.height, f"'{path}'")
            if getattr(image, "n_frames", 1) > 1 or image.mode in _WHOLE_ONLY:
                return None
            if image.format == "TIFF" and not _is_plain(image):
                return None
            return str(image.format), image.width, image.height
    except Exception:  # whoever reads the file says what is wrong with it
        return None


def _is_plain(tiff: Any) -> bool:
    """Whether libvips reads a TIFF's channels as Pillow does.

    libvips keeps channels of unspecified meaning and colours multiplied by alpha, does not read 12
    bits or planes in tiles, and takes YCbCr for RGB unless JPEG decodes it.
    """
    alpha = tiff_samples.alpha(tiff)
    if tiff_samples.planes_in_tiles(tiff) or (alpha is not None and alpha[1]):
        return False
    if any(kind != _UNSIGNED for kind in tiff.tag_v2.get(339, (_UNSIGNED,))):
        return False  # whoever reads it whole says what is wrong
    samples, bits = tiff.tag_v2.get(277, 1), tiff.tag_v2.get(258, (1,))
    is_luma = tiff.tag_v2.get(262) == _YCBCR and tiff.tag_v2.get(259) != _JPEG
    return int(samples) == len(tiff.getbands()) and 12 not in bits and not is_luma


@size_limits.any_size()
def _header(
    path: str | os.PathLike[str], format_name: str, exif: bytes | None, orientation: int
) -> tuple[bytes | None, bytes | None, density.Density | None]:
    """Profile, EXIF and density.

    libvips cuts a JPEG's profile after 100 segments, and gives neither a TIFF's EXIF nor whether a
    density was stated.
    """
    with (
        notices.about(f"'{path}'"),
        open(path, "rb") as file,
        opening.open_image(file, [format_name]) as image,
    ):
        opening.tell_of_pictures(image)
        if format_name == "TIFF":
            exif = exif_xmp.portable_exif(image)
        else:
            exif = exif_xmp.upright_exif(exif)
        return colour_profile.of(image), exif, density.of(image, exif, orientation)


@size_limits.any_size()
def _stored_height(path: str | os.PathLike[str], format_name: str, *, salvage: bool) -> int:
    """The height before the image is turned.

    Raises:
        ImageError: the file cannot hold the size that its header states; not where `salvage`.
    """
    with (
        notices.about(None),  # `_header` tells them
        open(path, "rb") as file,
        opening.open_image(file, [format_name]) as image,
    ):
        size = os.fstat(file.fileno()).st_size
        if not salvage:
            place = file.tell()
            file.seek(0)
            start = file.read(_HEADER)
            file.seek(place)
            decoded.check_header(image, start, size, f"'{path}'")
        return image.height


class Rows:
    """An image file whose rows are read in order, each once.

    Raises:
        ImageError: damaged, or of another kind.
        TemporaryFolderError: as `read`.
    """

    def __init__(
        self, path: str | os.PathLike[str], format_name: str, *, salvage: bool = False
    ) -> None:
        self._path, self._format, self._salvage = str(path), format_name, salvage
        self._where = f"'{path}'"
        self._pyvips = vips.require("reading strips of images")
        self._is_checked = False
        self._stored_height = _stored_height(path, format_name, salvage=salvage)
        try:
            image = vips.load(str(path), format_name, access="sequential", salvage=salvage)
            orientation = vips.orientation(image, str(path), format_name)
            if orientation != 1:
                # Rows of a rotated image lie all over the file: libvips decodes it first, into a
                # temporary file above its memory threshold.
                image = vips.load(str(path), format_name, access="random", salvage=salvage)
            self._image, kept = vips.upright_rgb(image, orientation)
            exif = vips.field(self._image, "exif-data")
            xmp = vips.field(self._image, "xmp-data")
        except self._pyvips.Error as error:
            raise self._damaged(error) from error
        kinds: dict[str, np.dtype[Any]] = {
            "uchar": np.dtype(np.uint8),
            "ushort": np.dtype(np.uint16),
        }
        if self._image.format not in kinds or not 1 <= self._image.bands <= 4:
            raise ImageError(
                f"{self._where} has {self._image.bands} channels of type '{self._image.format}': "
                "strips take 1 to 4 of 8 or 16 bits; convert it, or use --no-strips"
            )
        icc, exif, dots = _header(path, format_name, exif, orientation)
        self.form = Form(
            self._image.width,
            self._image.height,
            self._image.bands,
            kinds[self._image.format],
            None if kept is None else icc,
            exif,
            xmp,
            dots,
            Lossy(halves_chroma=vips.halves_chroma(self._image)),
        )
        self._is_turned = orientation != 1
        self._region = self._pyvips.Region.new(self._image)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows [start, stop) as [rows, W, C]; `start` is at or after the last `stop`.

        Raises:
            ImageError: the file is damaged or ends here.
            TemporaryFolderError: it takes no image that has to be decoded whole.
        """
        form = self.form
        try:
            data = self._region.fetch(0, start, form.width, stop - start)
        except self._pyvips.Error as error:
            raise self._damaged(error) from error
        rows: NDArray[Any] = np.frombuffer(data, form.dtype)
        rows = rows.reshape(stop - start, form.width, form.channels)
        self._check_jpeg(rows, start, stop)
        return rows

    def _check_jpeg(self, rows: NDArray[Any], start: int, stop: int) -> None:
        """Find gray that stands for missing rows by the pixel that comes last in the file."""
        if self._format != "JPEG" or self._is_checked:
            return
        corners = [rows[-1, -1]] if stop == self.form.height else []
        if self._is_turned:
            corners += [rows[-1, 0]] if corners else []
            corners += [rows[0, 0], rows[0, -1]] if start == 0 else []
        if any(map(jpeg_scan.may_be_filler, corners)):
            self._is_checked = True
            there = streamed.jpeg_rows_there(self._path)
            if there < self._stored_height:
                decoded.report(self._where, there, self._stored_height, salvage=self._salvage)

    def _damaged(self, error: Exception) -> ImageError:
        vips.check_temporary(error)
        height = self._stored_height
        there = min(streamed.rows_there(self._path, self._format), height)
        return ImageError(decoded.told(self._where, there, height, one_line(error)))


def encode(raw: Path, form: Form, path: Path, format_name: str) -> None:
    """Write an image file from a raw one: rows top to bottom, channels interleaved, native order.

    Args:
        raw: exactly height × width × channels values.
        form: of the image; dimensions in EXIF and XMP are set to its size.
        path: to write, not atomically.
        format_name: of `vips.SAVERS`.

    Raises:
        ImageError: the format cannot hold this size; OSError where the disk is full.
    """
    pyvips = vips.require("writing strips of images")
    kind = "uchar" if form.dtype == np.uint8 else "ushort"
    exif = exif_xmp.sized_exif(form.exif, form.width, form.height)
    exif = density.in_exif(exif, form.density, format_name)
    xmp = exif_xmp.sized_xmp(form.xmp, form.width, form.height)
    pixel_bytes = form.channels * form.dtype.itemsize
    is_big = form.width * form.height * pixel_bytes > _BIG_TIFF
    options = {"bigtiff": is_big} if format_name == "TIFF" else {}
    try:
        image = pyvips.Image.rawload(str(raw), form.width, form.height, pixel_bytes)
        image = image.copy(format=kind, bands=form.channels)
        icc, table = colour_profile.for_format(form.icc, format_name, is_gray=form.channels < _RGB)
        image = image if table is None else vips.through(image, table)
        fields = vips.Metadata(icc, exif, xmp, form.density)
        options |= form.lossy.vips(format_name)
        vips.save(image, format_name, fields, str(path), **options)
    except pyvips.Error as error:
        text = one_line(error)
        if "No space" in text or "File too large" in text:
            number = errno.ENOSPC if "No space" in text else errno.EFBIG
            raise OSError(number, os.strerror(number), str(path)) from error
        raise ImageError(f"cannot write this image as {format_name}: {text}") from error
