"""safetensors, also without its library: in linear work, every damage is one kind of error."""

import json
from typing import Any

import pytest
import torch

from hcflow_ref.checkpoint.safetensors_file import (
    SafetensorsError,
    load,
    load_plainly,
    save_plainly,
)


def file_of(header: str, numbers: bytes = bytes(64)) -> bytes:
    return len(header).to_bytes(8, "little") + header.encode() + numbers


class Counted(bytes):
    """Bytes that count how many of them are copied by slices."""

    copied = 0

    def __getitem__(self, where: Any) -> Any:
        result = super().__getitem__(where)
        Counted.copied += len(result) if isinstance(result, bytes) else 0
        return result


def test_the_file_is_not_copied_for_every_tensor() -> None:
    tensors = {f"t{index}": torch.full((1000,), float(index)) for index in range(50)}
    data = Counted(save_plainly(tensors, {}))
    read = load_plainly(data)
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
    assert Counted.copied <= 2 * len(data)


@pytest.mark.parametrize(
    "shape", [[1 << 61, 1 << 61], [1 << 62, 4], [1 << 70], [0, 1 << 62, 4], [-2, -8], [16.0], "16"]
)
@pytest.mark.parametrize("offsets", [[0, 0], [0, 64]])
def test_a_shape_that_no_tensor_has_is_damage(shape: Any, offsets: list[int]) -> None:
    header = {"a": {"dtype": "F32", "shape": shape, "data_offsets": offsets}}
    for read in (load_plainly, load):
        with pytest.raises(SafetensorsError):
            read(file_of(json.dumps(header)))


@pytest.mark.parametrize("opened", ['{"a":', "["])
def test_a_header_of_endless_nesting_is_damage(opened: str) -> None:
    for read in (load_plainly, load):
        with pytest.raises(SafetensorsError):
            read(file_of(opened * 100_000))


def test_tensors_that_share_their_bytes_take_no_memory() -> None:
    one = {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}
    with pytest.raises(SafetensorsError, match="128 bytes of tensors in 64"):
        load_plainly(file_of(json.dumps({"a": one, "b": one})))
