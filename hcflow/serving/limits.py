"""What a server takes on at once, and the refusal of what goes beyond."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from runtime.errors import HcflowError

MOST_WAITING = 16
MOST_BODY_BYTES = 20_000_000
MOST_HR_PIXELS = 1 << 26
MOST_SECONDS = 60.0
"""Defaults of `hcflow serve`."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one server.

    Attributes:
        waiting: requests that wait for a worker; one more is refused.
        body_bytes: of a request.
        hr_pixels: of the larger side of a conversion, all frames together: what a downscale takes,
            what an upscale's network gives.
        seconds: for a request from its last byte to the first of its answer.
        held_bytes: of bodies and results that all requests hold together.
        patience: seconds that a client may keep silent while it sends or reads.
        least_rate: bytes a second, below which a client is cut off once its patience is used up.
        connections: open at once.
    """

    waiting: int = MOST_WAITING
    body_bytes: int = MOST_BODY_BYTES
    hr_pixels: int = MOST_HR_PIXELS
    seconds: float = MOST_SECONDS
    held_bytes: int = 512_000_000
    patience: float = 30.0
    least_rate: float = 50_000.0
    connections: int = 512


class RefusedError(HcflowError):
    """A request that gets an error as its answer.

    Args:
        status: of HTTP.
        message: says what was wrong and what to do.
        headers: of the answer, beside the usual ones.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


def busy(message: str) -> RefusedError:
    """The refusal of what another moment would allow."""
    return RefusedError(503, message, {"retry-after": "1"})


@dataclass
class Held:
    """Bytes that requests hold; counted in the event loop's thread alone.

    Attributes:
        most: that are held before further ones are refused.
        size: that are held now.
    """

    most: int
    size: int = 0

    def lease(self) -> Lease:
        """The share of one request, which starts empty."""
        return Lease(self)


@dataclass
class Lease:
    """The bytes that one request holds."""

    held: Held
    size: int = field(default=0, init=False)
    is_closed: bool = field(default=False, init=False)

    def take(self, size: int) -> None:
        """Hold more bytes of what comes in.

        Raises:
            RefusedError: all requests together hold too many.
        """
        if self.held.size + size > self.held.most:
            raise busy("the server holds as many bytes as it may: try again in a moment")
        self.add(size)

    def add(self, size: int) -> None:
        """Hold more bytes of what has been computed, which cannot be refused any more."""
        if not self.is_closed:  # else nobody waits for it, and it is dropped
            self.size += size
            self.held.size += size

    def close(self) -> None:
        """Hold nothing any more."""
        self.is_closed = True
        self.held.size -= self.size
        self.size = 0
