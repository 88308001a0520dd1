"""A folder of mixed sizes: no backend compiles or opens anything for an image's size."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hcflow.models.load import Models
from runtime.backends.onnxruntime import OnnxRuntimeSession
from runtime.backends.openvino import OpenVinoSession
from runtime.convert.file import convert_file
from runtime.convert.job import Job
from tests.support.bundles import write_bundle

SIZES = [(height, width) for height in (9, 16, 33, 40) for width in (9, 24, 31, 57)]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_images_of_mixed_sizes_compile_no_more_than_images_of_one_size(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    monkeypatch.setenv("HCFLOW_CACHE", str(tmp_path / "cache"))
    made = Counter[str]()

    def count(kind: type[Any], method: str) -> None:
        original = getattr(kind, method)

        def counted(self: Any, *given: Any) -> Any:
            made[kind.__name__] += 1
            return original(self, *given)

        monkeypatch.setattr(kind, method, counted)

    count(OnnxRuntimeSession, "__init__")
    count(OpenVinoSession, "_compile")
    bundle = write_bundle(tmp_path / "bundle", tile=16, overlap=2)

    def programs(sizes: list[tuple[int, int]]) -> int:
        """Programs made for a folder's images, as one of its workers converts them."""
        made.clear()
        job = Job("upscale", Models({"backend": backend, "threads": 2}, str(bundle)), str(bundle))
        for number, size in enumerate(sizes):
            source, output = tmp_path / f"{number}.png", tmp_path / f"{number}_x4.png"
            Image.fromarray(np.zeros((*size, 3), np.uint8)).save(source)
            convert_file(str(source), str(output), "PNG", job, contextlib.nullcontext())
        return made.total()

    programs(SIZES)  # fills the cache of compiled programs, whose files both runs then read
    mixed, alike = programs(SIZES), programs([(40, 57)] * len(SIZES))
    # One for any shape; at most one more for full tiles, or for small images on fewer threads.
    assert 1 <= alike <= mixed <= 2
