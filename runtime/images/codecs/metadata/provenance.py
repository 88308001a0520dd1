"""How a small image was made, recorded in its file: what upscaling it again needs.

The record is a line of JSON in an attribute of the XMP packet, which PNG, JPEG, WebP, TIFF and AVIF
can hold; the rest of the packet stays. It is a hint, not a proof: anybody can write one, so it only
chooses a size, and among models that are already there.
"""

from __future__ import annotations

import hashlib
import html
import json
import logging
import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from runtime.bundle.json_reader import Field
from runtime.errors import BundleError, one_line
from runtime.images.pixels.arrays import result_mode

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "AVIF")
"""Formats that can hold the record."""

_NAMESPACE = "urn:hcflow-deploy:origin:1"
_RECORD = re.compile(
    rb'<rdf:Description rdf:about=""\s+xmlns:hcflow="urn:hcflow-deploy:origin:1"\s+'
    rb'hcflow:origin="([^"<]*)"\s*/>'
)
_END = b"</rdf:RDF>"
_PACKET = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF>'
    b'</x:xmpmeta><?xpacket end="w"?>'
)
_DIGEST = (r"[0-9a-f]{64}", "a SHA-256: 64 lower-case hexadecimal digits")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Provenance:
    """The record that `downscale` writes.

    Attributes:
        model: name of the model.
        checkpoint: SHA-256 of its checkpoint.
        scale: HR pixels an LR pixel.
        width: of the original.
        height: of the original.
        precision: that computed the small image.
        tau: default temperature of the model.
        pixels: `digest` of the small image as its file gives it back; None: not computed.
        round_trip_psnr_db: PSNR in dB against the original when that file is upscaled with `tau`
            and seed 0; None: not measured, or identical.
    """

    model: str
    checkpoint: str
    scale: int
    width: int
    height: int
    precision: str
    tau: float
    pixels: str | None = None
    round_trip_psnr_db: float | None = None


def embed(xmp: bytes | None, provenance: Provenance) -> bytes:
    """An XMP packet with the record, in place of any older one."""
    text = html.escape(json.dumps(asdict(provenance), allow_nan=False), quote=True)
    record = (
        f'<rdf:Description rdf:about="" xmlns:hcflow="{_NAMESPACE}" hcflow:origin="{text}"/>'
    ).encode("ascii")
    packet = remove(xmp)
    if packet is not None and packet.count(_END) != 1:
        _logger.warning("XMP that has no place for the record is replaced by it")
        packet = None
    packet = _PACKET if packet is None else packet
    return packet.replace(_END, record + _END)


def remove(xmp: bytes | None) -> bytes | None:
    """The packet without the record; None where it holds nothing else."""
    if xmp is None:
        return None
    packet = _RECORD.sub(b"", xmp)
    return None if packet == _PACKET else packet


def extract(xmp: bytes | None, where: str) -> Provenance | None:
    """The record in a packet, or None; a damaged one is None with a warning that names `where`."""
    found = _RECORD.search(xmp) if xmp else None
    if found is None:
        return None
    try:
        root = Field(json.loads(html.unescape(found[1].decode("ascii"))), where)
        psnr = root.get("round_trip_psnr_db")
        return Provenance(
            model=root["model"].text(r"[^\x00-\x1f\x7f-\x9f]{1,200}", "a model's name"),
            checkpoint=root["checkpoint"].text(*_DIGEST),
            scale=root["scale"].integer(2),
            width=root["width"].integer(1),
            height=root["height"].integer(1),
            precision=root["precision"].text(r"[a-z0-9]{1,20}", "a precision"),
            tau=root["tau"].number(0),
            pixels=pixels.text(*_DIGEST) if (pixels := root.get("pixels")) else None,
            round_trip_psnr_db=psnr.number() if psnr else None,
        )
    except (BundleError, ValueError, RecursionError) as error:
        _logger.warning("the record of how the image was made is not used: %s", one_line(error))
        return None


def digest(image: Any) -> str:
    """SHA-256 of an image's shape and pixels, whatever the file format.

    Args:
        image: as `runtime.images.pixels.arrays.split` takes it; a palette counts as its colours.
    """
    if isinstance(image, Image.Image):
        mode = result_mode(image)
        image = np.asarray(image if mode in (image.mode, "I;16") else image.convert(mode))
    array = np.asarray(image)
    little = array.dtype.newbyteorder("<")
    sha = hashlib.sha256(f"{array.shape}{little.name}".encode())
    sha.update(np.ascontiguousarray(array, little).data)
    return sha.hexdigest()
