"""The user's cache of what can be made again: built models, compiled programs and engines."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "HCFLOW_CACHE"
"""Environment variable that moves the cache; else XDG_CACHE_HOME/hcflow or ~/.cache/hcflow."""

NO_CACHE = f"this user has no home folder for a cache: set {CACHE_VARIABLE} to a folder"
"""The error where something has to be cached and `user_cache` is None."""


def user_cache() -> Path | None:
    """The cache folder; None where it is not set and the user has no home folder."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "hcflow"
    try:
        return Path.home() / ".cache" / "hcflow"
    except RuntimeError:  # a user without an entry, as in some containers
        return None
