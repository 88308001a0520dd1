"""What NVIDIA's data sheets say of GPUs, found by exact name and count of multiprocessors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class DataSheet:
    """Dense peaks of one GPU in TFLOP/s (int8 in TOP/s), and its memory's GB/s.

    Attributes:
        multiprocessors: how many it has; a slice of it has fewer.
        fp32: without tensor cores.
        fp16, fp8: in tensor cores, accumulated in float32; None where it has no such type.
        int8: in tensor cores.
        bandwidth: of its memory.
        l2: MiB of its L2 cache; None where it is not listed.
    """

    multiprocessors: int
    fp32: float
    fp16: float
    int8: float
    fp8: float | None
    bandwidth: float
    l2: float | None = None

    def peak(self, precision: str) -> float | None:
        """TFLOP/s of a precision; None where it has no such type."""
        peaks: Mapping[str, float | None] = {
            "fp32": self.fp32,
            "fp16": self.fp16,
            "int8": self.int8,
            "fp8": self.fp8,
        }
        return peaks.get(precision)


@dataclass(frozen=True)
class Card:
    """A GPU of this machine.

    Attributes:
        name: the driver's.
        multiprocessors: the driver's count.
        l2: bytes of its L2 cache by the driver; a MIG slice has a part of its GPU's.
    """

    name: str
    multiprocessors: int
    l2: int


SOURCE = "NVIDIA's data sheet"

# By NVIDIA's data sheets and (L2) architecture whitepapers, under the driver's names.
_GPUS: Mapping[str, DataSheet] = {
    "RTX 2080 Ti": DataSheet(68, 13.4, 53.8, 215.2, None, 616, 5.5),
    "T4": DataSheet(40, 8.1, 65, 130, None, 320, 4),
    "RTX 3060": DataSheet(28, 12.7, 25.3, 101, None, 360, 3),
    "RTX 3080": DataSheet(68, 29.8, 59.5, 238, None, 760, 5),
    "RTX 3090": DataSheet(82, 35.6, 71, 284, None, 936, 6),
    "A10": DataSheet(72, 31.2, 125, 250, None, 600, 6),
    "A100-SXM4-40GB": DataSheet(108, 19.5, 312, 624, None, 1555, 40),
    "A100-PCIE-40GB": DataSheet(108, 19.5, 312, 624, None, 1555, 40),
    "A100-SXM4-80GB": DataSheet(108, 19.5, 312, 624, None, 2039, 40),
    "A100 80GB PCIe": DataSheet(108, 19.5, 312, 624, None, 1935, 40),
    "RTX 4070": DataSheet(46, 29.1, 58.3, 233.2, 116.6, 504, 36),
    "RTX 4080": DataSheet(76, 48.7, 97.5, 389.9, 194.9, 716.8, 64),
    "RTX 4090": DataSheet(128, 82.6, 165.2, 660.6, 330.3, 1008, 72),
    "L4": DataSheet(58, 30.3, 121, 242, 242, 300, 48),
    "L40": DataSheet(142, 90.5, 181, 362, 362, 864, 96),
    "L40S": DataSheet(142, 91.6, 362, 733, 733, 864, 96),
    "H100 PCIe": DataSheet(114, 51.2, 756, 1513, 1513, 2000, 50),
    "H100 80GB HBM3": DataSheet(132, 66.9, 989, 1979, 1979, 3350, 50),
    "H200": DataSheet(132, 66.9, 989, 1979, 1979, 4800, 50),
    "RTX 5080": DataSheet(84, 56.3, 112.6, 450.2, 225.1, 960, 64),
    "RTX 5090": DataSheet(170, 104.8, 209.5, 838, 419, 1792, 96),
}


def data_sheet(name: str, multiprocessors: int) -> tuple[str, DataSheet] | None:
    """The data sheet of a GPU and the name it is listed by; None when it is not in the table.

    A card of another name, and a MIG slice, which has fewer multiprocessors, are not in it.

    Args:
        name: the driver's.
        multiprocessors: the driver's count.
    """
    short = re.sub(r"^(NVIDIA )?(GeForce |Tesla )?", "", name)
    found = _GPUS.get(short)
    if found is None or found.multiprocessors != multiprocessors:
        return None
    return short, found


def listed(name: str) -> DataSheet:
    """The data sheet under its name in the table; raises KeyError."""
    return _GPUS[name]
