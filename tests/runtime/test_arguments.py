"""An argument of a wrong type or range ends in a line of ours, before any work."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from runtime import ParameterError
from runtime.bundle.reader import Bundle
from tests.support.bundles import write_bundle

DOT = np.zeros((4, 4, 3), np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> runtime.Model:
    return runtime.load(write_bundle(tmp_path_factory.mktemp("bundle")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (15.5, 16)}, "height is 15.5: it must be a whole number"),
        ({"size": 16}, r"size is 16: it must be \(height, width\)"),
        ({"size": "15x16"}, "size is '15x16': it must be"),
        ({"samples": 2.0}, "samples is 2.0: it must be a whole number"),
        ({"samples": 0}, "samples is 0: it must be 1 or more"),
        ({"tau": "1"}, "τ is '1': it must be a number"),
        ({"tau": 1j}, "τ is 1j: it must be a number"),
        ({"tau": float("nan")}, "τ is nan: it must be a finite number"),
        ({"seed": "7"}, "seed is '7': it must be a whole number"),
        ({"seed": -1}, "seed is -1: it must be from 0"),
        ({"tile": 8.0, "overlap": 1}, "tile is 8.0: it must be a whole number"),
        ({"tile": 8, "overlap": "1"}, "overlap is '1': it must be a whole number"),
    ],
)
def test_upscaling_names_what_is_wrong(
    model: runtime.Model, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        model.upscale(DOT, **options)


def test_numbers_of_numpy_are_numbers(model: runtime.Model) -> None:
    made = model.upscale(
        DOT, tau=np.float32(0.5), seed=np.uint64(3), size=np.array([16, 15]), samples=np.int8(2)
    )
    expected = model.upscale(DOT, tau=0.5, seed=3, size=(16, 15), samples=2)
    assert np.array_equal(made, expected)


@pytest.mark.parametrize("threads", [0, 10**6, 1.5])
def test_threads_beyond_all_machines_are_refused(tmp_path: Path, threads: Any) -> None:
    with pytest.raises(ParameterError, match=f"threads is {threads}: it must be"):
        runtime.load(write_bundle(tmp_path / "b"), threads=threads)


def test_a_manifest_whose_overlap_dwarfs_its_tile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(runtime.BundleError, match=r"overlap is 100000; it must be an integer, 4"):
        Bundle.open(write_bundle(tmp_path / "b", tile=1, overlap=100_000))
