"""What is fuzzed: readers of strangers' bytes, which may raise the project's errors only."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path

from hcflow_ref.checkpoint import load
from hcflow_ref.errors import CheckpointError
from runtime.bundle.manifest import Manifest
from runtime.errors import HcflowError
from runtime.images import video
from runtime.images.codecs import files, formats
from runtime.images.codecs.metadata import provenance

MAX_PIXELS = 1_000_000


def read_image(data: bytes) -> None:
    """An image file, the record in it, and writing it again."""
    with contextlib.suppress(HcflowError):
        photo = files.decode(data, "x", MAX_PIXELS)
        provenance.extract(photo.xmp, "x")
        if photo.result_mode in ("L", "LA", "RGB", "RGBA"):
            formats.encode(photo, "PNG")


def read_manifest(data: bytes) -> None:
    """A manifest's text."""
    with contextlib.suppress(HcflowError):
        manifest = Manifest.from_json(data.decode("utf-8", "replace"), "x")
        assert Manifest.from_json(manifest.to_json(), "x") == manifest


def read_video(data: bytes) -> None:
    """A Y4M stream's head and frames."""
    pipe = io.BytesIO(data)
    with contextlib.suppress(HcflowError):
        stream = video.open_stream(pipe, "y4m", max_pixels=10_000)
        for index in range(3):
            frame = video.read_frame(pipe, stream, index)
            if frame is None:
                break
            video.encode(video.decode(frame, stream), stream)
        stream.sized(8, 8).header()


def read_checkpoint(data: bytes) -> None:
    """A checkpoint of any format."""
    with tempfile.NamedTemporaryFile() as file, contextlib.suppress(CheckpointError):
        Path(file.name).write_bytes(data)
        load.load(file.name)


TARGETS = {
    "checkpoints": read_checkpoint,
    "images": read_image,
    "manifests": read_manifest,
    "videos": read_video,
}
