"""Who may use a server: whoever has its token, or whoever is on this machine.

Without a token a browser on this machine could be led here by any page it shows: requests that name
another host, or come from another page, are refused.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from starlette.types import Scope

from hcflow.serving.limits import RefusedError
from runtime.errors import FileError, ParameterError

SHORTEST_TOKEN = 16
_OPEN = ("/", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready")
_LONGEST_FILE = 4096


@dataclass(frozen=True)
class Access:
    """Which requests are let in.

    Attributes:
        token: that a request must carry, except for the page and the health checks; None is none.
        hosts: names that a request may call this server by; None is any.
    """

    token: bytes | None = None
    hosts: frozenset[str] | None = None

    def check(self, scope: Scope) -> None:
        """Raise `RefusedError` for a request that is not let in."""
        headers = dict(scope["headers"])
        if self.hosts is not None:
            self._check_host(headers.get(b"host"), headers.get(b"origin"))
        if self.token is None or scope["path"] in _OPEN:
            return
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not _is_same(given.strip(), self.token):
            raise RefusedError(
                401,
                "this server needs its token: send 'Authorization: Bearer TOKEN'",
                {"www-authenticate": "Bearer"},
            )

    def _check_host(self, host: bytes | None, origin: bytes | None) -> None:
        assert self.hosts is not None
        if host is not None and _name_of(b"//" + host) not in self.hosts:
            raise RefusedError(
                421,
                "this server answers to this machine's own names only; behind a proxy start it "
                "with --token-file or --no-auth",
            )
        if origin is not None and origin.partition(b"://")[2] != host:
            raise RefusedError(403, "requests from other sites' pages are refused")


def _name_of(url: bytes) -> str | None:
    try:
        return urlsplit(url.decode("ascii")).hostname
    except ValueError:
        return None


def _is_same(first: bytes, second: bytes) -> bool:
    """Compare in a time that tells nothing, of their lengths neither."""
    return hmac.compare_digest(hashlib.sha256(first).digest(), hashlib.sha256(second).digest())


def read_token(path: str) -> bytes:
    """The token in a file: one line of visible ASCII.

    Raises:
        FileError: the file cannot be read.
        ParameterError: it holds no token, or one that is soon guessed.
    """
    try:
        with Path(path).open("rb") as file:
            token = file.read(_LONGEST_FILE + 1).strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no system takes such a name"
        raise FileError(f"cannot read the token file '{path}': {reason}") from error
    if not SHORTEST_TOKEN <= len(token) <= _LONGEST_FILE or not all(33 <= c <= 126 for c in token):
        raise ParameterError(
            f"token file '{path}' must hold one line of {SHORTEST_TOKEN} or more visible ASCII "
            f"characters without spaces: openssl rand -hex 32 > '{path}'"
        )
    return token
