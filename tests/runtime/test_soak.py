"""A real network gives the same bytes for ever, from many threads, and keeps its memory flat."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import runtime


def picture(index: int) -> np.ndarray:
    rng = np.random.default_rng(index)
    height, width = rng.integers(1, 40, 2)
    return rng.integers(0, 256, (height, width, 3), np.uint8)


def round_trip(model: runtime.Model, index: int) -> bytes:
    image = picture(index)
    small = model.downscale(image)
    large = model.upscale(small, tau=0.7, seed=index, size=image.shape[:2])
    return small.tobytes() + large.tobytes()


def test_the_number_of_threads_never_changes_a_byte(small_bundle: Path) -> None:
    models = [runtime.load(small_bundle, threads=threads) for threads in (1, 2, 3)]
    for index in range(5):
        first, *others = (round_trip(model, index) for model in models)
        assert all(other == first for other in others)


def test_concurrent_callers_get_what_each_would_get_alone(small_bundle: Path) -> None:
    model = runtime.load(small_bundle)
    alone = [round_trip(model, index) for index in range(12)]
    with ThreadPoolExecutor(4) as callers:
        together = list(callers.map(lambda index: round_trip(model, index), range(12)))
    assert together == alone


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_a_thousand_images_leak_neither_memory_nor_descriptors(small_bundle: Path) -> None:
    model = runtime.load(small_bundle)
    for index in range(200):
        round_trip(model, index)
    memory, descriptors = resident(), len(os.listdir("/proc/self/fd"))
    for index in range(200, 1200):
        round_trip(model, index)
    assert resident() - memory < 20e6
    assert len(os.listdir("/proc/self/fd")) <= descriptors
