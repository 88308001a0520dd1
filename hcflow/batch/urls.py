"""Names of files: paths here and URLs, told apart, made whole and joined."""

from __future__ import annotations

import functools
import os
import posixpath
import re
from importlib.util import find_spec

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def scheme_of(name: str) -> str | None:
    """The scheme of a URL, as `s3`; None of a file here (`file://` is one too)."""
    match = _SCHEME.match(name)
    scheme = match[1].lower() if match else "file"
    return None if scheme in ("file", "local") else scheme


@functools.cache
def is_known(scheme: str) -> bool:
    """Whether fsspec knows a scheme, or is not here to be asked."""
    if find_spec("fsspec") is None:
        return True
    from fsspec import get_filesystem_class

    try:
        get_filesystem_class(scheme)
    except ValueError:
        return False
    except ImportError:  # a package is missing, which whoever opens it says
        pass
    return True


def plain(name: str) -> str:
    """A name as the others here take it: an absolute path, or a URL without a slash at its end."""
    if scheme_of(name) is not None:
        return name.rstrip("/")
    return os.path.abspath(_SCHEME.sub("", name, count=1))


def join(folder: str, relative: str) -> str:
    """The name of a file in a folder; `relative` has slashes."""
    if scheme_of(folder) is not None:
        return posixpath.join(folder, relative)
    return os.path.join(folder, *relative.split("/"))
