"""Latents drawn on the GPU, identical to the bit to those drawn on the CPU (docs/latents.md).

The kernel is shipped as PTX, compiled from latents.cu beside it; the driver compiles the PTX for
its GPU.
"""

from __future__ import annotations

import ctypes
import functools
import logging
from pathlib import Path

from runtime.backends.cuda.device import Device
from runtime.backends.cuda.driver import check, driver
from runtime.backends.cuda.stream import Stream
from runtime.errors import BackendError
from runtime.latents import Region

PTX = Path(__file__).with_name("latents.ptx")

_logger = logging.getLogger(__name__)

_THREADS = 128
_VALUES_A_THREAD = 4


class Drawer:
    """The kernel, loaded on one GPU whose context is current.

    Raises:
        BackendError: the driver refuses it.
    """

    def __init__(self, device: Device) -> None:
        image = PTX.read_bytes() + b"\0"
        try:
            module = check(driver().cuModuleLoadData(image))
            self._at, self._of = (
                check(driver().cuModuleGetFunction(module, name))
                for name in (b"hcflow_latents_at", b"hcflow_latents_of")
            )
        except BackendError as error:
            raise BackendError(
                f"the NVIDIA driver refuses the kernel that draws latents ({error}): upgrade it"
            ) from error

    @staticmethod
    @functools.cache
    def open(device: Device) -> Drawer:
        """The drawer of a GPU, loaded once in a process."""
        return Drawer(device)

    @staticmethod
    def find(device: Device) -> tuple[Drawer | None, str]:
        """The drawer of a GPU, or None and the reason; the host draws the same bits."""
        try:
            return Drawer.open(device), ""
        except BackendError as error:
            _logger.info("latents are drawn on the host: %s", error)
            return None, str(error)

    def enqueue(self, region: Region, target: int, stream: Stream) -> None:
        """Draw a region to device memory, in the stream."""
        words = region.words()
        self._launch(self._of, region.shape, words.ctypes.data, target, stream)

    def enqueue_at(self, place: int, shape: tuple[int, ...], target: int, stream: Stream) -> None:
        """Draw the region whose words are at `place` when the stream reaches this work.

        Args:
            place: pinned host memory of twelve words (`Region.words`).
            shape: of the region; its other words may change between runs of a captured graph.
            target: device memory.
            stream: where to draw.
        """
        pointer = ctypes.c_void_p(place)
        self._launch(self._at, shape, ctypes.addressof(pointer), target, stream)

    def _launch(
        self, function: object, shape: tuple[int, ...], first: int, target: int, stream: Stream
    ) -> None:
        _, channels, height, width = shape
        out = ctypes.c_void_p(target)
        arguments = (ctypes.c_void_p * 2)(first, ctypes.addressof(out))
        # A row that begins within a group of four values touches one more group at either end.
        threads = channels * height * (width // _VALUES_A_THREAD + 2)
        blocks = -(-threads // _THREADS)
        check(
            driver().cuLaunchKernel(
                function,
                *(blocks, 1, 1),
                *(_THREADS, 1, 1),
                0,
                stream.handle,
                ctypes.addressof(arguments),
                0,
            )
        )
