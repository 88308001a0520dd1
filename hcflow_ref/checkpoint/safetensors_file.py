"""safetensors bytes ↔ tensors: by the library, or by these few lines where it is missing.

A machine that is lent for an hour has PyTorch, and often nothing else.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from hcflow_ref.errors import one_line

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
ALIGNMENT = 8


# RuntimeError: deep nesting, and what PyTorch raises over a shape.
_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError)


class SafetensorsError(ValueError):
    """The bytes are not a whole safetensors file."""


def load(data: bytes) -> dict[str, Tensor]:
    """The tensors by name.

    Raises:
        SafetensorsError: the bytes are not a whole safetensors file of number formats known here.
    """
    library = _library()
    if library is None:
        return load_plainly(data)
    error: Any = importlib.import_module("safetensors").SafetensorError
    try:
        tensors: dict[str, Tensor] = library.load(data)
    except (error, *_DAMAGE) as problem:  # KeyError: a number format that PyTorch lacks
        raise SafetensorsError(one_line(problem)) from problem
    return tensors


def metadata(data: bytes) -> dict[str, str]:
    """What the header of a file that `load` reads says beside the tensors.

    Raises:
        SafetensorsError: these are no texts by name.
    """
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    texts = header.get("__metadata__") or {}
    if not isinstance(texts, dict) or not all(map(_is_text, (*texts, *texts.values()))):
        raise SafetensorsError("its metadata are no texts by name")
    return texts


def _is_text(value: Any) -> bool:
    """Whether it can be written again: JSON may hold half of a character (a surrogate)."""
    return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)


def save(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a file of contiguous tensors on the CPU."""
    library = _library()
    write: Callable[..., bytes] = save_plainly if library is None else library.save
    return write(dict(tensors), metadata=dict(metadata))


def _library() -> Any:
    try:
        return importlib.import_module("safetensors.torch")
    except ImportError:
        return None


def load_plainly(data: bytes) -> dict[str, Tensor]:
    """As `load`, without the library."""
    try:
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        if start > len(data):
            raise ValueError("it ends within its header")
        content = memoryview(data)[start:]
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        places = [entry["data_offsets"] for entry in entries.values()]
        if (asked := sum(last - first for first, last in places)) > len(content):
            raise ValueError(f"there are {asked} bytes of tensors in {len(content)}")
        return {name: _tensor(content, name, entry) for name, entry in entries.items()}
    except _DAMAGE as error:
        raise SafetensorsError(f"{type(error).__name__}: {one_line(error)}") from error


def _tensor(content: memoryview, name: str, entry: Mapping[str, Any]) -> Tensor:
    first, last = entry["data_offsets"]
    dtype, shape = DTYPES[entry["dtype"]], torch.Size(entry["shape"])
    size = math.prod(shape) * dtype.itemsize  # `numel` would overflow
    if not 0 <= first <= last <= len(content) or last - first != size or min(shape, default=0) < 0:
        raise ValueError(f"tensor {name!r} does not lie in the file as its shape says")
    if first == last:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(content[first:last]), dtype=dtype).reshape(shape)


def save_plainly(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """As `save`, without the library."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    parts, place = [], 0
    # As the library does: widest numbers first, so that every tensor is aligned.
    for name in sorted(tensors, key=lambda n: (-tensors[n].dtype.itemsize, n)):
        tensor = tensors[name].detach().contiguous()
        parts.append(tensor.flatten().view(torch.uint8).numpy().tobytes())
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [place, place + len(parts[-1])],
        }
        place += len(parts[-1])
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text + b"".join(parts)
