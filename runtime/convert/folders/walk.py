"""Which files of a folder are images to work on, and where each result goes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from runtime.convert.folders import passed_over
from runtime.convert.naming import has_several, suffix_of
from runtime.images.codecs import files, formats, heic

_FALLBACK = "PNG"  # for formats that are read but not written, and for GIFs of one frame


@dataclass(frozen=True)
class Task:
    """One image to work on; `relative` names it within its folder."""

    source: str
    output: str
    relative: str
    format_name: str


@dataclass(frozen=True)
class PassedOver:
    """A picture of a kind that is not read: `passed_over.kind`."""

    relative: str
    kind: str


@dataclass(frozen=True)
class Problem:
    """Something that cannot be worked on, or (a warning) is left out on purpose."""

    relative: str
    message: str
    is_warning: bool = False


def walk(
    root: str, output: str, format_name: str | None, *, is_lossless: bool = False
) -> Iterator[Task | Problem | PassedOver]:
    """The images under `root`, folder by folder in the order of their names.

    Hidden names, files that are no images and the output folder itself are left out. What is an
    image by its suffix or its first bytes and is not read is named as passed over.
    Links to files count as files. A link to a folder is followed once, and only out of the tree, so
    that loops end. Where `output` is `root` itself, images can only be replaced: a result beside
    them would be the next run's image. Nor is one written among them by another way: where `output`
    is above `root`, or a link leads from the one into the other.

    Args:
        root: the folder of the images.
        output: the folder of the results, which get the same relative names.
        format_name: of all results; None keeps each image's own where it can be written.
        is_lossless: without `format_name`, write PNG, and TIFF where there are several pages.
    """
    suffixes = _readable()
    inputs = _inputs(root, output)
    for listed in _listed(root, output):
        if isinstance(listed, Problem):
            yield listed
            continue
        names = []
        for entry in listed.files:
            relative = os.path.join(listed.folder, entry.name)
            if _is_read(Path(entry.name).suffix.lower(), suffixes):
                if os.path.exists(entry.path) and not entry.is_file():
                    yield Problem(relative, "is a pipe or device, not a file")
                    continue
                names.append(entry.name)
            elif entry.is_file() and (kind := passed_over.kind(entry.path)) is not None:
                yield PassedOver(relative, kind)
        inside = os.path.join(root, listed.folder)
        formats = {
            name: format_name or _own_format(os.path.join(inside, name), is_lossless)
            for name in names
        }
        yield from _tasks(root, output, listed.folder, formats, inputs)


@dataclass(frozen=True)
class _Listed:
    """A folder by its relative name, and what is in it that is neither hidden nor a folder."""

    folder: str
    files: tuple[os.DirEntry[str], ...]


def _listed(root: str, output: str) -> Iterator[_Listed | Problem]:
    """The folders under `root` that are entered, in the order of their names."""
    seen = {_identity(root)}
    real_root = os.path.realpath(root)
    stack = [""]
    while stack:
        folder = stack.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            yield Problem(folder, f"cannot be listed: {error.strerror}")
            continue
        files, inner = [], []
        for entry in entries:
            relative = os.path.join(folder, entry.name)
            if entry.name.startswith("."):
                continue
            try:
                if not entry.is_dir():
                    files.append(entry)
                    continue
                reason = _reason_to_skip(entry, output, real_root, seen)
            except OSError as error:  # a link that leads to itself
                yield Problem(relative, f"cannot be opened: {error.strerror}")
                continue
            if reason is None:
                inner.append(relative)
            elif reason:
                yield Problem(relative, reason, is_warning=True)
        yield _Listed(folder, tuple(files))
        stack.extend(reversed(inner))


@dataclass(frozen=True)
class _Inputs:
    """Where the images lie.

    Attributes:
        folders: identities of the folder and of those that its links lead to.
        files: real paths of the files that its links lead to.
        output: the folder of the results: its identity, or its real path while there is none.
    """

    folders: frozenset[tuple[int, int]]
    files: frozenset[str]
    output: tuple[int, int] | str

    def holds_folder(self, path: str) -> bool:
        """Whether a folder, by its real path, is of the images: nearer to them than to `output`."""
        for folder in (path, *map(str, Path(path).parents)):
            place = _identity(folder) if os.path.exists(folder) else folder
            if place == self.output:
                return False
            if place in self.folders:
                return True
        return False


def _inputs(root: str, output: str) -> _Inputs:
    folders = {_identity(root)}
    files: set[str] = set()
    for listed in _listed(root, output):
        if isinstance(listed, Problem):
            continue
        inside = os.path.join(root, listed.folder)
        if os.path.islink(inside):
            folders.add(_identity(inside))
        files |= {os.path.realpath(entry.path) for entry in listed.files if entry.is_symlink()}
    real = os.path.realpath(output)
    place = _identity(real) if os.path.exists(real) else real
    return _Inputs(frozenset(folders), frozenset(files), place)


def is_same(root: str, output: str) -> bool:
    """Whether the folder of the results is that of the images."""
    return os.path.isdir(output) and os.path.samefile(root, output)


def _reason_to_skip(
    entry: os.DirEntry[str], output: str, real_root: str, seen: set[tuple[int, int]]
) -> str | None:
    """Why a folder is not entered: None enters it, "" skips it without a warning."""
    identity = _identity(entry.path)
    if os.path.isdir(output) and identity == _identity(output):
        return ""
    if entry.is_symlink():
        real = os.path.realpath(entry.path)
        if real == real_root or real.startswith(real_root + os.sep):
            return "a link back into the folder, not followed"
        if identity in seen:
            return "a link to a folder that was entered before, not followed"
        seen.add(identity)
    return None


def _tasks(
    root: str, output: str, folder: str, formats: dict[str, str], inputs: _Inputs
) -> Iterator[Task | Problem]:
    """Results of one folder, by image; two that would share a name keep their own suffix in it."""
    plain = {name: _renamed(name, form) for name, form in formats.items()}
    counts = Counter(plain.values())
    taken: set[str] = set()
    in_place = is_same(root, output)
    real_folder = os.path.realpath(os.path.join(output, folder))
    is_among = inputs.holds_folder(real_folder)
    for name, form in formats.items():
        result = plain[name]
        if counts[result] > 1 and result != name:
            result = name + suffix_of(form)
        relative = os.path.join(folder, name)
        if result in taken or (result != plain[name] and result in counts):
            yield Problem(relative, f"another image's result already has the name '{result}'")
            continue
        source, target = os.path.join(root, relative), os.path.join(real_folder, result)
        is_among_images = in_place and result != name
        if os.path.islink(target):
            target = os.path.realpath(target)
            is_among_images |= inputs.holds_folder(os.path.dirname(target))
        else:
            is_among_images |= is_among
        if (is_among_images or target in inputs.files) and target != os.path.realpath(source):
            reason = f"its {form} would be written among the images: give another output folder"
            yield Problem(relative, reason)
            continue
        taken.add(result)
        yield Task(source, os.path.join(output, folder, result), relative, form)


def _renamed(name: str, format_name: str) -> str:
    path = Path(name)
    if Image.registered_extensions().get(path.suffix.lower()) == format_name:
        return name
    return path.stem + suffix_of(format_name)


def _own_format(path: str, is_lossless: bool) -> str:
    """The format of an image's result where none is asked for."""
    found = Image.registered_extensions()[Path(path).suffix.lower()]
    if found == "GIF":  # of colours that a GIF has, one picture's result is none
        return "GIF" if not is_lossless and has_several(path) else _FALLBACK
    if is_lossless:
        return "TIFF" if found == "TIFF" and has_several(path) else "PNG"
    return found if found in formats.FORMATS else _FALLBACK


def _readable() -> set[str]:
    return {s for s, name in Image.registered_extensions().items() if name in files.READ}


def _is_read(suffix: str, suffixes: set[str]) -> bool:
    if suffix in heic.SUFFIXES:  # whose reader is only loaded where there is one
        return heic.find() is not None
    return suffix in suffixes


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino
