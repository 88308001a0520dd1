"""Where images come from and go to: files, standard input and output, named samples."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import typer

from hcflow.cli import console
from runtime.convert import frames, naming, streamable
from runtime.convert.file import is_same_file
from runtime.convert.folders import resume
from runtime.convert.frames import FramesMade, SeveralFrames
from runtime.convert.job import Job
from runtime.images.codecs import files, formats, lossy
from runtime.images.codecs.formats import Photo
from runtime.inference.report import Report
from runtime.system import atomic

STANDARD = "-"
"""As an input it is standard input, as an output standard output."""


def source_of(name: str, max_pixels: int) -> str | bytes:
    """What an input names: a file's path, or the bytes of standard input, which are read here.

    Raises:
        ImageError: standard input is no image, or beyond a limit (`files.read_open`).
    """
    if name == STANDARD:
        return files.read_open(sys.stdin.buffer, "standard input", max_pixels)
    return name


def read(source: str | bytes, max_pixels: int, *, salvage: bool = False) -> Photo:
    """The image of a `source_of` or an input's name; `salvage` as `files.decode` takes it."""
    source = source_of(source, max_pixels) if isinstance(source, str) else source
    if isinstance(source, bytes):
        return files.decode(source, "standard input", max_pixels, salvage=salvage)
    return files.read(source, max_pixels, salvage=salvage)


def convert_frames(
    job: Job, several: SeveralFrames, output: str, format_name: str, report: Report
) -> FramesMade:
    """Convert a file of several frames into a file, or to standard output, with a bar."""
    with _file_for(output) as file:
        return console.run_with_bar(
            lambda tell: frames.convert(
                job, several, file, format_name, report=report, progress=tell
            )
        )


@contextlib.contextmanager
def _file_for(output: str) -> Iterator[IO[bytes]]:
    """A file to write that can be sought; what is meant for standard output goes there at the end.

    It does so only where nothing has failed.
    """
    if output != STANDARD:
        with atomic.output_file(output) as file:
            yield file
        return
    with tempfile.TemporaryFile() as file:
        yield file
        file.seek(0)
        shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def outputs(
    source: str,
    output: str,
    *,
    samples: int = 1,
    format_name: str | None = None,
    force: bool = False,
    as_json: bool = False,
) -> tuple[list[str], str]:
    """The names to write to, and the format: everything that can be wrong before any work is done.

    Several samples go to NAME-1.png, NAME-2.png, …

    Raises:
        typer.BadParameter: the output is the input, or standard output cannot take it.
        ImageError: unknown suffix or format.
        FileError: no such folder, or one that is not writable.
    """
    format_name = known_format(format_name)
    if output == STANDARD:
        if samples > 1 or as_json:
            raise typer.BadParameter("standard output takes one image and nothing else")
        check_standard_output("an image")
        return [output], format_name or "PNG"
    path = Path(output)
    if path.is_dir():
        raise typer.BadParameter(f"'{output}' is a folder: name a file")
    format_name = format_name or formats.format_of(path)
    names = sample_names(output, samples)
    atomic.check_place(names[0])  # the others go into the same folder
    for name in names:
        if source != STANDARD and is_same_file(source, name) and not force:
            raise typer.BadParameter(f"'{name}' is the input itself: --force overwrites it")
    return names, format_name


def derived(
    source: str, job: Job, format_name: str | None, ending: str | None, samples: int = 1
) -> str:
    """The output of an image where none is given: beside it, or standard output for its input.

    Raises:
        typer.BadParameter: there is a file of that name, and no `--force`.
        HcflowError: the model cannot be opened, or the input has no name.
    """
    if source == STANDARD:
        return STANDARD
    name = naming.beside(source, job, known_format(format_name), ending)
    for each in sample_names(name, samples):
        if os.path.lexists(each) and not job.force:
            raise typer.BadParameter(f"'{each}' exists: --force replaces it, -o names another")
    return name


def derived_folder(source: str, job: Job, ending: str | None) -> str:
    """The folder of a folder's results where none is given; one that a run has begun is resumed.

    Raises:
        typer.BadParameter: it holds something else, and there is no `--force`.
        HcflowError: as `derived`.
    """
    name = naming.folder_beside(source, job, ending)
    begun = os.path.exists(os.path.join(name, resume.FILE_NAME))
    taken = os.path.lexists(name) and (not os.path.isdir(name) or bool(os.listdir(name)))
    if taken and not begun and not job.force:
        raise typer.BadParameter(f"'{name}' exists: --force writes into it, -o names another")
    return name


def sample_names(name: str, samples: int) -> list[str]:
    """The names of the samples of an image: NAME-1.png, NAME-2.png, … for several."""
    path = Path(name)
    if samples == 1:
        return [name]
    return [str(path.with_stem(f"{path.stem}-{i}")) for i in range(1, samples + 1)]


def check_quality(quality: int | None, format_name: str) -> None:
    """Refuse a quality for a format without loss; raises `typer.BadParameter`."""
    if quality is not None and format_name not in lossy.FORMATS:
        formats = ", ".join(lossy.FORMATS)
        raise typer.BadParameter(f"--quality is for {formats}: {format_name} has none")


def known_format(name: str | None) -> str | None:
    """A format's name in capitals, or None.

    Raises:
        typer.BadParameter: no such format is written.
    """
    if name is not None and name.upper() not in formats.FORMATS:
        raise typer.BadParameter(f"'{name}': one of {', '.join(formats.FORMATS)}")
    return name and name.upper()


def check_standard_output(what: str) -> None:
    """Raise `typer.BadParameter` where standard output cannot take an image or a video."""
    if sys.__stdout__ is None:
        raise typer.BadParameter("standard output is closed")
    if sys.stdout.isatty():
        raise typer.BadParameter(f"{what} is not written to a terminal: redirect it, or use -o")


def write(photo: Photo, output: str, format_name: str) -> None:
    """Write an image to a file or standard output."""
    write_bytes(formats.encode(photo, format_name), output)


def write_bytes(data: bytes, output: str) -> None:
    """Write the bytes of a file to it, whole or not at all, or to standard output."""
    if output == STANDARD:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        atomic.write(output, data)


def refuse(given: Mapping[str, object], why: str) -> None:
    """Refuse options that would have no effect here.

    Args:
        given: their values by name; None and False are not given.
        why: what is wrong with them.

    Raises:
        typer.BadParameter: one is given.
    """
    for name, value in given.items():
        if value not in (None, False):
            raise typer.BadParameter(f"{name} {why}")


def named(source: str) -> str:
    """An input as errors and warnings name it."""
    return "standard input" if source == STANDARD else f"'{source}'"


def is_folder(source: str) -> bool:
    """Whether an input is a folder of images."""
    return source != STANDARD and os.path.isdir(source)


def wants_strips(source: str, output: str, job: Job, format_name: str) -> bool:
    """Whether an image is to be streamed (`streamable.wants_strips`); never from or to a pipe."""
    if STANDARD in (source, output):
        if job.strips:
            raise typer.BadParameter(
                "--strips reads and writes files, not standard input or output"
            )
        return False
    return streamable.wants_strips(source, output, job, format_name)


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of WIDTHxHEIGHT."""
    match = re.fullmatch(r"(\d{1,9})[x×](\d{1,9})", text)
    if match is None:
        raise typer.BadParameter(f"size '{text}': give width x height in pixels, as 640x480")
    return int(match[2]), int(match[1])
