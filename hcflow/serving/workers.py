"""Work in threads: so many at once, so many waiting in turn, none longer than it may take.

What waits is kept by the event loop and not by the pool, so that whoever leaves takes its bytes
along. What runs when its client leaves, or its time is up, ends within one tile.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from hcflow.serving.exchange import ClientGone
from hcflow.serving.limits import Held, Limits, RefusedError, busy

T = TypeVar("T")

_BESIDE = 2  # threads that decode and encode while others compute


class Workers:
    """The threads of one server, used from one event loop.

    Args:
        computing: requests whose pictures are computed at once.
        limits: of the server.
        held: bytes of the server.

    Attributes:
        waiting: requests that wait for a thread.
        running: requests that have one.
        is_closing: refuse whatever is new.
    """

    def __init__(self, computing: int, limits: Limits, held: Held) -> None:
        self._limits, self._held = limits, held
        self._threads = computing + _BESIDE
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="hcflow")
        self._free = asyncio.Semaphore(self._threads)
        self.waiting = 0
        self.running = 0
        self.is_closing = False

    def check_room(self) -> None:
        """Raise `RefusedError` where one more request would not be taken."""
        if self.is_closing:
            raise busy("the server is ending: ask another, or again in a moment")
        if self.running + self.waiting >= self._threads + self._limits.waiting:
            raise busy(f"{self._limits.waiting} requests are waiting: try again in a moment")

    async def run(
        self, work: Callable[[threading.Event], T], gone: Callable[[], Coroutine[Any, Any, None]]
    ) -> T:
        """Do the work in a thread, and return its result or raise its error.

        Args:
            work: is given an event that is set once it is to end.
            gone: returns once nobody waits for the result.

        Raises:
            RefusedError: too many are waiting, too many bytes are held when its turn comes, or the
                work took too long.
            ClientGone: `gone` has returned.
        """
        self.check_room()
        cancel = threading.Event()
        task = asyncio.create_task(self._in_turn(work, cancel))
        watch = asyncio.create_task(gone())
        try:
            await asyncio.wait(
                {task, watch},
                timeout=self._limits.seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if task.done():
                return task.result()
            if watch.done():
                raise ClientGone
            raise RefusedError(
                504,
                f"it took longer than {self._limits.seconds:g} s and was stopped: send a smaller "
                "image",
            )
        finally:
            cancel.set()
            task.cancel()
            watch.cancel()

    async def _in_turn(self, work: Callable[[threading.Event], T], cancel: threading.Event) -> T:
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        if self._held.size > self._held.most:  # results of those before it, which are being read
            self._free.release()
            raise busy("the server holds as many bytes as it may: try again in a moment")
        self.running += 1
        loop = asyncio.get_running_loop()
        future = self._pool.submit(work, cancel)

        def finished(_: Future[T]) -> None:
            loop.call_soon_threadsafe(self._finish)

        future.add_done_callback(finished)
        return await asyncio.wrap_future(future)

    def _finish(self) -> None:
        self.running -= 1
        self._free.release()

    async def close(self) -> None:
        """Wait until the threads have ended, without blocking the loop."""
        self.is_closing = True
        await asyncio.to_thread(self._pool.shutdown, True)
