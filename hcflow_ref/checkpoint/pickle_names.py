"""The types and functions that a checkpoint's pickle may name, and what stands for their results.

Nothing is imported or called: PyTorch's tensors become their description, dictionaries of every
kind become plain ones, and the rest becomes an object that nobody looks into.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from hcflow_ref.checkpoint.stored import Opaque, Storage, StoredTensor
from hcflow_ref.errors import CheckpointError, printable


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


STORAGES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "UntypedStorage": "uint8",
}
"""PyTorch's names of storages, and of their number formats."""

_DICTIONARIES = words(
    "collections.OrderedDict typing.OrderedDict collections.defaultdict collections.Counter "
    "builtins.dict easydict.EasyDict addict.addict.Dict yacs.config.CfgNode "
    "pytorch_lightning.utilities.parsing.AttributeDict "
    "lightning.fabric.utilities.data.AttributeDict "
    "lightning_fabric.utilities.data.AttributeDict"
)
_OPAQUE = words(
    "argparse.Namespace types.SimpleNamespace uuid.UUID decimal.Decimal fractions.Fraction "
    "datetime.date datetime.datetime datetime.time datetime.timedelta datetime.timezone "
    "pathlib.Path pathlib.PosixPath pathlib.WindowsPath pathlib.PurePath pathlib.PurePosixPath "
    "pathlib.PureWindowsPath pathlib._local.Path pathlib._local.PosixPath "
    "pathlib._local.WindowsPath builtins.object builtins.set builtins.frozenset builtins.list "
    "builtins.tuple builtins.int builtins.float builtins.str builtins.bool builtins.complex "
    "builtins.bytes builtins.bytearray builtins.range builtins.slice _codecs.encode "
    "copyreg._reconstructor torch.Tensor torch.device torch.nn.parameter.Parameter "
    "torch.nn.parameter.Buffer torch.storage.TypedStorage torch.Generator "
    "torch.torch_version.TorchVersion torch.serialization._get_layout "
    "torch.Size torch._tensor._rebuild_from_type_v2 numpy.dtype numpy.ndarray "
    "numpy.random._pickle.__generator_ctor numpy.random._pickle.__bit_generator_ctor "
    "numpy.random._pickle.__randomstate_ctor"
)
_NUMPY_CORE = frozenset({"multiarray.scalar", "multiarray._reconstruct", "numeric._frombuffer"})
_OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_LAYOUTS = {
    "_rebuild_qtensor": "quantised",
    "_rebuild_nested_tensor": "nested",
    "_rebuild_wrapper_subclass": "a subclass",
    "_rebuild_device_tensor_from_numpy": "of another device",
    "_rebuild_device_tensor_from_cpu_tensor": "of another device",
}
_REBUILD = words(
    "_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter "
    "_rebuild_parameter_with_state _rebuild_sparse_tensor _rebuild_meta_tensor_no_storage"
)
_OF_A_TYPE = "torch._tensor._rebuild_from_type_v2"
_PARAMETERS = frozenset({"torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"})
_DTYPE = re.compile(r"b?float\d+\w*|u?int\d+|complex\d+|qu?int\d+(?:x\d)?|bool")
_NUMPY_TYPE = re.compile(r"float\d+|u?int\d+|complex\d+|bool_?|str_|bytes_")
_LONGEST, _MOST_AXES = 200, 16


@dataclass(frozen=True)
class Name:
    """An allowed type or function by its full name.

    Attributes:
        full: the name with its module.
        number: for a storage or dtype, PyTorch's name of the number format, else empty.
    """

    full: str
    number: str = ""


def named(module: str, name: str) -> Name:
    """The name, if a checkpoint may hold it.

    Raises:
        CheckpointError: it may not.
    """
    module = _OLD_MODULES.get(module, module)
    if len(module) + len(name) <= _LONGEST:  # a file may repeat one long name at no cost
        full = f"{module}.{name}"
        if module in ("torch", "torch.storage", "torch.cuda") and name in STORAGES:
            return Name(full, STORAGES[name])
        if module == "torch" and _DTYPE.fullmatch(name):
            return Name(full, name)
        if full in _DICTIONARIES or full in _OPAQUE or _allowed(module, name):
            return Name(full)
    raise CheckpointError(
        f"refused: the pickle contains more than tensors ({printable(f'{module[:99]}.{name[:99]}')}"
        ") and could run code. Save the plain state_dict, or convert the file to safetensors if "
        "you trust it"
    )


def _allowed(module: str, name: str) -> bool:
    """Whether a rule, not a list, allows the name."""
    if module == "torch._utils":
        return name in _REBUILD or name in _LAYOUTS
    if module.startswith(("numpy.core.", "numpy._core.")):  # before and since NumPy 2
        return f"{module.split('core.', 1)[1]}.{name}" in _NUMPY_CORE
    if module == "numpy.dtypes":
        return name.endswith("DType")
    if module == "numpy":
        return _NUMPY_TYPE.fullmatch(name) is not None
    return module == "__torch__" or module.startswith("__torch__.")  # described in the file itself


def called(name: Name, arguments: tuple[Any, ...]) -> Any:
    """What stands for the result of a call or a new object."""
    module, _, function = name.full.rpartition(".")
    if name.full in _DICTIONARIES:
        return {}
    if name.full == "torch.Size":
        return _sizes(arguments[0])
    if name.full == "torch.serialization._get_layout":
        return arguments[0]
    if name.full == _OF_A_TYPE and isinstance(arguments[0], Name):
        if arguments[0].full == _OF_A_TYPE:
            raise ValueError("a tensor's type is nested in a type")
        return called(arguments[0], arguments[2])
    if name.full in _PARAMETERS and arguments:
        return arguments[0]
    return _tensor(function, arguments) if module == "torch._utils" else Opaque(name.full)


def _tensor(function: str, arguments: tuple[Any, ...]) -> Any:
    if function in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
        return arguments[0]
    if function == "_rebuild_meta_tensor_no_storage":
        return StoredTensor(None, arguments[0].number)
    if function == "_rebuild_sparse_tensor":
        return StoredTensor(None, "unknown", layout=_layout(arguments[0]))
    if function in _LAYOUTS:
        return StoredTensor(None, "unknown", layout=_LAYOUTS[function])
    storage, offset, shape, stride = arguments[:4]
    if not isinstance(storage, Storage):
        raise ValueError("a tensor has no storage")
    number = arguments[6].number if function == "_rebuild_tensor_v3" else storage.number
    sizes, steps = _sizes(shape), _sizes(stride)
    if len(sizes) != len(steps):
        raise ValueError(f"a tensor has {len(sizes)} axes and {len(steps)} strides")
    return StoredTensor(storage, number, _whole(offset), sizes, steps)


def _layout(value: Any) -> str:
    return value[:40] if isinstance(value, str) else "sparse"


def _sizes(values: Any) -> tuple[int, ...]:
    if len(values) > _MOST_AXES:
        raise ValueError(f"a tensor has more than {_MOST_AXES} axes")
    return tuple(_whole(value) for value in values)


def _whole(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 62:
        raise ValueError("a tensor's size is out of range")
    return value
