"""One request and its answer on a connection: clients that are slow, that lie, or that leave.

A client that sends before it reads must see its refusal. So an answer that comes before the whole
body is sent at once, and its end only once the body has been read to the end and dropped.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

from starlette.types import Message, Receive, Scope, Send

from hcflow.serving.limits import Lease, Limits, RefusedError

ABORT = "hcflow.abort"
"""Key of a scope: a function that cuts the connection off, where the server gives one."""

IS_FULL = "hcflow.is_full"
"""Key of a scope: whether more connections or requests are open than the server takes."""

_CHUNK = 1 << 16
_SAFE = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))


class ClientGone(Exception):  # noqa: N818 - nothing went wrong here
    """The client has closed its connection: nobody waits for an answer."""


class Exchange:
    """Stands between an ASGI application and its server for one request.

    Args:
        scope: of the request.
        receive, send: of the server.
        limits: of the server.
        lease: the bytes that this request holds.

    Attributes:
        status: of the answer, once it has begun.
    """

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, limits: Limits, lease: Lease
    ) -> None:
        self._receive, self._send, self._limits = receive, send, limits
        self._abort: Callable[[], None] = scope.get(ABORT, lambda: None)
        self.lease = lease
        self.status: int | None = None
        headers = dict(scope["headers"])  # of several the last one; the parser refuses two lengths
        length = headers.get(b"content-length", b"0")
        self.length = int(length) if length.isdigit() else 0
        self.expects_continue = headers.get(b"expect", b"").lower() == b"100-continue"
        self.is_read = self.length == 0 and b"transfer-encoding" not in headers
        self._due = 0.0

    async def receive(self) -> Message:
        """The next message of the server."""
        self.expects_continue = False  # whoever asks for the body makes the server send for it
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self.is_read = True
        return message

    async def body(self) -> bytes:
        """The whole body.

        Raises:
            RefusedError: it is too large, too slow, or more than the server can hold now.
            ClientGone: the client has gone.
        """
        most = self._limits.body_bytes
        if self.length > most:
            raise _too_large(most)
        body = bytearray()
        due = time.monotonic() + self._limits.patience
        while not self.is_read:
            try:
                message = await asyncio.wait_for(self.receive(), due - time.monotonic())
            except TimeoutError:
                raise RefusedError(408, "the body comes too slowly: send it again") from None
            if message["type"] == "http.disconnect":
                raise ClientGone
            block = message.get("body", b"")
            if len(body) + len(block) > most:
                raise _too_large(most)
            self.lease.take(len(block))
            body += block
            due += len(block) / self._limits.least_rate
        return bytes(body)

    async def gone(self) -> None:
        """Return once the client has closed its connection; the body must have been read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def send(self, message: Message) -> None:
        """Send a message in pieces, each as the client reads.

        Raises:
            ClientGone: it reads too slowly, or not at all.
        """
        if message["type"] != "http.response.body":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", []), *_SAFE]}
            if not self.is_read:
                message["headers"].append((b"connection", b"close"))
            self._due = time.monotonic() + self._limits.patience
            await self._send_in_time(message)
            return
        body, is_last = message.get("body", b""), not message.get("more_body", False)
        for start in range(0, len(body), _CHUNK):
            block = body[start : start + _CHUNK]
            self._due += len(block) / self._limits.least_rate
            await self._send_in_time(_part(block, more=True))
        if is_last:
            await self._drain()
            await self._send_in_time(_part(b"", more=False))

    async def refuse(self, refusal: RefusedError) -> None:
        """Answer with an error as JSON."""
        body = error_body(str(refusal))
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            **refusal.headers,
        }
        lines = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": refusal.status, "headers": lines})
        await self.send({"type": "http.response.body", "body": body})

    async def _send_in_time(self, message: Message) -> None:
        try:
            await asyncio.wait_for(self._send(message), self._due - time.monotonic())
        except TimeoutError:
            self._abort()  # closing would wait for what the client does not read
            raise ClientGone from None

    async def _drain(self) -> None:
        """Read what is left of the body, for as long as a client may take, and drop it."""
        if self.is_read or self.expects_continue:
            return
        start = time.monotonic()
        until = start + self._limits.patience
        try:
            while not self.is_read:
                await asyncio.wait_for(self.receive(), until - time.monotonic())
        except TimeoutError:
            self.is_read = True
        self._due += time.monotonic() - start


def error_body(message: str) -> bytes:
    """An error as every way into the server answers it; KServe's clients read it so, too."""
    return json.dumps({"error": message}).encode()


def _part(body: bytes, more: bool) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


def _too_large(most: int) -> RefusedError:
    return RefusedError(413, f"the body has more than {most} bytes, the limit")
