"""Whether a server can do its work: proven by inferences, not by being there."""

from __future__ import annotations

import asyncio
import logging

from hcflow.serving.metrics import Metrics
from hcflow.serving.served import ServedModels
from runtime.errors import BackendError, BundleError, HcflowError, one_line

_logger = logging.getLogger(__name__)


class Health:
    """What the last inference has shown.

    Attributes:
        is_warm: whether the warm-up has passed.
    """

    def __init__(self, models: ServedModels, metrics: Metrics) -> None:
        self._models, self._metrics = models, metrics
        self.is_warm = False
        self._fault: str | None = None
        self._probe: asyncio.Task[None] | None = None

    async def warm_up(self) -> None:
        """Run every model once.

        Raises:
            HcflowError: one fails.
        """
        await asyncio.to_thread(self._models.warm_up)
        self.is_warm = True

    def succeeded(self) -> None:
        """An inference has passed; called from any thread."""
        self._fault = None

    def failed(self, error: Exception) -> None:
        """A request has failed; called from any thread. What is the request's fault counts not."""
        if isinstance(error, BackendError | BundleError | MemoryError):
            self._fault = one_line(error)
            self._metrics.failures.inc()
            _logger.warning("an inference failed: %s", self._fault)

    async def problem(self) -> str | None:
        """Why no request should be sent here; None where all is well.

        After a failure the models are tried again, by one probe at a time: requests that would
        show that all is well again may no longer come.
        """
        if not self.is_warm:
            return "the models are being loaded"
        if self._fault is not None:
            if self._probe is None or self._probe.done():
                self._probe = asyncio.create_task(self._try())
            await asyncio.shield(self._probe)
        return self._fault

    async def _try(self) -> None:
        try:
            await asyncio.to_thread(self._models.warm_up)
        except (HcflowError, MemoryError) as error:
            self._fault = one_line(error)
        else:
            self._fault = None
