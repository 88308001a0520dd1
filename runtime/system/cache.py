"""Where the user keeps what can be made again: exported models, compiled programs and engines."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "HCFLOW_CACHE"
"""Environment variable that moves the cache; else XDG_CACHE_HOME/hcflow or ~/.cache/hcflow."""

NO_CACHE = f"this user has no home folder to cache in: set {CACHE_VARIABLE} to a folder"
"""What is told where something has to be kept and `user_cache` knows no place."""


def user_cache() -> Path | None:
    """The folder of what can be made again; None where it is not set and no home is known."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "hcflow"
    try:
        return Path.home() / ".cache" / "hcflow"
    except RuntimeError:  # a user without an entry, as in some containers
        return None
