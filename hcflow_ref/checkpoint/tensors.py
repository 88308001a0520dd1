"""The numbers of a network's tensors, after every tensor has been checked to be dense and held."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor

from hcflow_ref.checkpoint.stored import Opaque, Storage, StoredTensor
from hcflow_ref.checkpoint.torch_file import MOST_REPEATED, TorchFile, damage_named
from hcflow_ref.errors import CheckpointError

FLOATS = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}
"""Number formats that a checkpoint may have; networks compute in float32."""


def of_tensors(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a safetensors file, whose reader has checked places and sizes.

    Raises:
        CheckpointError: a weight is no float; names the key.
    """
    for key, weight in weights.items():
        number = str(weight.dtype).removeprefix("torch.")
        if number not in FLOATS:
            _refuse(key, f"{number}, strided, cpu")
    return dict(weights)


def of_file(file: TorchFile, values: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of a file of `torch.save`; a pickle can repeat one tensor at will.

    Raises:
        CheckpointError: a value is no tensor, no dense float, or not in the file; names the key.
    """
    tensors: dict[str, tuple[StoredTensor, str]] = {}
    storages: dict[str, Storage] = {}
    asked, held = 0, {}
    for key, value in values.items():
        if not isinstance(value, StoredTensor):
            kind = value.kind if isinstance(value, Opaque) else type(value).__name__
            raise CheckpointError(f"key {key!r} is a {kind}, expected a state_dict of tensors")
        storage = value.storage
        if storage is None or value.number not in FLOATS or storage.location == "meta":
            _refuse(key, f"{value.number}, {value.layout}, {value.device}")
        itemsize = FLOATS[value.number].itemsize
        last = value.offset + sum(
            (size - 1) * step for size, step in zip(value.shape, value.stride, strict=True)
        )
        available = file.size_of(storage)
        if not value.count:
            raise CheckpointError(f"key {key!r} has shape {list(value.shape)}, without numbers")
        if max(value.count, last + 1) * itemsize > available:
            raise CheckpointError(
                f"key {key!r} has shape {list(value.shape)}, more numbers than the file has"
            )
        asked += value.count * itemsize
        held[storage.key] = available
        storages[storage.key], tensors[key] = storage, (value, storage.key)
    if asked > MOST_REPEATED * sum(held.values()):
        raise CheckpointError(
            f"the keys share {sum(held.values())} bytes of numbers as if there were {asked}; "
            "each key must have its own"
        )
    with damage_named():
        numbers = {key: bytearray(file.numbers(storage)) for key, storage in storages.items()}
        return {key: _tensor(value, numbers[place]) for key, (value, place) in tensors.items()}


def _tensor(value: StoredTensor, held: bytearray) -> Tensor:
    dtype = FLOATS[value.number]
    flat = torch.frombuffer(held, dtype=dtype, count=len(held) // dtype.itemsize)
    return flat.as_strided(value.shape, value.stride, value.offset)


def _refuse(key: str, kind: str) -> NoReturn:
    raise CheckpointError(f"key {key!r} is {kind}; expected dense floats of 16, 32 or 64 bits")
