"""The running server: its address, its signals, and connections that say nothing."""

from __future__ import annotations

import asyncio
import errno
import functools
import ipaddress
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from hcflow.serving.access import Access
from hcflow.serving.app import application
from hcflow.serving.exchange import ABORT, IS_FULL
from hcflow.serving.limits import Limits
from hcflow.serving.service import Service
from runtime.errors import FileError, HcflowError

_HEAD_SECONDS = 20.0
_HEAD_BYTES = 1 << 16
_IDLE_SECONDS = 10
_BACKLOG = 128


class _Transport:
    """A connection that is cut off where what is left to send once it closes does not go out.

    A transport itself waits for that for ever.
    """

    def __init__(self, transport: Any, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._limits, self._loop = transport, limits, loop
        self._due: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        """Take no more, and send what is left for as long as a client may take."""
        left = self._transport.get_write_buffer_size()
        self._transport.close()
        if self._due is None:
            seconds = self._limits.patience + left / self._limits.least_rate
            self._due = self._loop.call_later(seconds, self._transport.abort)

    def closed(self) -> None:
        """Wait no more: the connection is lost."""
        if self._due is not None:
            self._due.cancel()


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 on one connection, which is closed where no whole head of a request comes.

    Uvicorn itself waits for ever for the first request, and for as long as bytes trickle in.

    Args:
        limits: of the server.
        args, more: of uvicorn.
    """

    _due: asyncio.TimerHandle | None = None

    def __init__(self, limits: Limits, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._limits, self._served = limits, self.app
        self.app = self._serve

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        scope[ABORT] = self.transport.abort
        scope[IS_FULL] = (
            len(self.connections) >= self._limits.connections
            or len(self.tasks) > self._limits.connections
        )
        await self._served(scope, receive, send)

    def connection_made(self, transport: Any) -> None:
        """Start to wait for a head."""
        super().connection_made(_Transport(transport, self._limits, self.loop))  # type: ignore[arg-type]
        self._wait()

    def handle_events(self) -> None:
        """Wait for a head where none has come with these bytes."""
        super().handle_events()
        self._wait()

    def on_response_complete(self) -> None:
        """Wait for the next head."""
        super().on_response_complete()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        super().connection_lost(exc)
        self._stop()
        self.transport.closed()  # type: ignore[attr-defined]

    def _wait(self) -> None:
        is_idle = self.cycle is None or self.cycle.response_complete
        if not is_idle or self.transport.is_closing():
            self._stop()
        elif self._due is None:
            self._due = self.loop.call_later(_HEAD_SECONDS, self._give_up)

    def _stop(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _give_up(self) -> None:
        self._due = None
        self.transport.close()


class Server(uvicorn.Server):
    """One service at one address; once told to end it refuses what is new, and finishes the rest.

    Args:
        service: that answers.
        access: who may ask.

    Attributes:
        errors: why it ends by itself: a model fails at its warm-up.
    """

    def __init__(self, service: Service, access: Access) -> None:
        limits = service.limits
        protocol: Any = functools.partial(ImpatientProtocol, limits)
        super().__init__(
            uvicorn.Config(
                application(service, access),
                http=protocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                proxy_headers=False,  # whoever sends them may say anything
                server_header=False,
                h11_max_incomplete_event_size=_HEAD_BYTES,
                timeout_keep_alive=_IDLE_SECONDS,
                timeout_graceful_shutdown=int(limits.seconds + limits.patience),
                backlog=_BACKLOG,
            )
        )
        self._service = service
        self.errors: list[HcflowError | MemoryError] = []

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Finish what runs; a second Ctrl-C waits for nothing."""
        self._service.workers.is_closing = True
        super().handle_exit(sig, frame)

    async def serve_on(self, listener: socket.socket, ready: Callable[[], None]) -> None:
        """Serve until told to end; calls `ready` after the warm-up."""
        warming = asyncio.create_task(self._warm_up(ready))
        await self.serve([listener])
        warming.cancel()

    async def _warm_up(self, ready: Callable[[], None]) -> None:
        try:
            await self._service.health.warm_up()
        except (HcflowError, MemoryError) as error:
            self.errors.append(error)
            self.should_exit = True
        else:
            ready()


def run(service: Service, access: Access, listener: socket.socket) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises:
        HcflowError: a model fails at its warm-up.
    """
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # requests that are no HTTP fill logs
    server = Server(service, access)

    def tell() -> None:
        names = ", ".join(service.models.by_name)
        line = f"hcflow: serving {names} on {url_of(listener)} (Ctrl-C ends it)"
        print(line, file=sys.stderr, flush=True)

    # Uvicorn takes these handlers over, and calls them once more when it has ended.
    before = {
        each: signal.signal(each, server.handle_exit) for each in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        asyncio.run(server.serve_on(listener, tell))
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    if server.errors:
        raise server.errors[0]


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to an address, which takes no connections yet.

    Raises:
        FileError: no such address, or it is taken, or not allowed.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        raise FileError(f"cannot listen on {host}:{port}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    code = getattr(error, "errno", None)
    if code == errno.EADDRINUSE:
        return "the address is in use: end the program that has it, or give another --port"
    if code in (errno.EACCES, errno.EPERM):
        return "no permission: give a --port of 1024 or above"
    if isinstance(error, socket.gaierror):
        return "there is no such host"
    return os.strerror(code) if code else "there is no such address"


def url_of(listener: socket.socket) -> str:
    """Where a browser finds a server."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_this_machine(listener: socket.socket) -> bool:
    """Whether a socket can be reached from this machine alone."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def own_names(host: str) -> frozenset[str]:
    """Names that this machine may call itself by."""
    return frozenset({"localhost", "127.0.0.1", "::1", host.lower()})
