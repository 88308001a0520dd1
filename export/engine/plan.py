"""The program in a TensorRT-RTX plan: its convolutions, its other kernels, and their traffic.

A plan built with detailed verbosity holds what the compiler made as text: tensors with type, shape
and place, then one line a kernel. NVIDIA does not document it, so it is read for the one version it
was studied with; of any other version, and of any text that is not as expected, nothing is known.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from runtime.bundle.engines import program
from runtime.bundle.engines.entry import Library, Shape

VERSION = "1.7.1"
"""The version of TensorRT-RTX whose plans are read; its last number counts builds of it."""

MOST_BYTES = 64 << 20
"""Longest text that is read; the largest network's has 3 MB."""

_MAGIC = b"NLYM"  # then four bytes, the text's length as eight, and the text
_MOST_PLACES = 1000
"""Most places where a text may begin: weights hold the same four bytes by chance."""

_OTHER_PROFILE = " [profile "  # in names of inputs of every profile but the first
_HEADER = b"header {\n  version = 5\n"
_KERNELS = {"corrltn", "runtime_fusion", "function", "runtime_function"}
_NO_KERNELS = {"label", "signal", "wait", "shape_call"}
_TYPES = {
    "float": ("fp32", 4),
    "half": ("fp16", 2),
    "bf16": ("bf16", 2),
    "fp8_e4m3": ("fp8", 1),
    "int8": ("int8", 1),
    "uint8": ("uint8", 1),
    "bool": ("bool", 1),
    "int32": ("int32", 4),
    "int64": ("int64", 8),
}
_ATTRIBUTE = re.compile(
    r'(?<!\w)(\w{1,64}) ?= ?(\{[^{}"]*+(?:"[^"]*+"[^{}"]*+)*+\}|"[^"]*+"|[^\s{}"]++)'
)
_QUOTED = re.compile(r'"([^"]*+)"')
_LAYER = re.compile(r"\[ONNX Layer: ([^\]]++)\]")


class _UnknownError(Exception):
    """The text is not as expected."""


@dataclass(frozen=True)
class Kernel:
    """One launch of the program.

    Attributes:
        name: what it computes, `__myl_CorrMulMax`; of a convolution by itself, its node.
        layers: the graph's nodes in it.
        inputs, outputs: types of the activations it reads and writes, `fp16`, once each tensor.
        bytes: of these activations; None where a size does not follow from the given shapes.
        convolution: what it convolves; None for any other kernel.
    """

    name: str
    layers: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    bytes: int | None
    convolution: Convolution | None


@dataclass(frozen=True)
class Convolution:
    """The convolution in a kernel.

    Attributes:
        reads, weights: types of its input and its weights.
        fused: whether more than its bias is computed with it: activation, cast or residual.
        operations: a multiply-add being two; None where a size is not known.
    """

    reads: str
    weights: str
    fused: bool
    operations: int | None


@dataclass(frozen=True)
class Program:
    """Every kernel of an engine, in order."""

    kernels: tuple[Kernel, ...]

    @property
    def convolutions(self) -> list[Kernel]:
        """The kernels with a convolution."""
        return [kernel for kernel in self.kernels if kernel.convolution]

    def entry(self) -> program.Program:
        """What the engine's entry keeps of it."""
        found = [kernel.convolution for kernel in self.kernels if kernel.convolution]
        moved = [kernel.bytes for kernel in self.kernels]
        operations: Counter[str] = Counter()
        for each in found:
            operations[each.reads] += each.operations or 0
        known = all(each.operations is not None for each in found)
        return program.Program(
            convolutions=dict(sorted(Counter(each.reads for each in found).items())),
            fused=sum(each.fused for each in found),
            others=len(self.kernels) - len(found),
            bytes=None if None in moved else sum(size for size in moved if size is not None),
            operations=dict(sorted(operations.items())) if known else None,
        )


def read(
    plan: bytes, library: Library, version: str, shapes: Mapping[str, Shape]
) -> Program | None:
    """The program of an engine; None where it is unknown.

    Args:
        plan: the engine. It may be damaged, or made to harm: work and memory are bounded.
        library: what compiled it.
        version: of the library.
        shapes: of every input and output in the first profile, to which dynamic sizes are set.

    Returns:
        The program of the first profile: each has its own.
    """
    if library != "tensorrt-rtx" or version.split(".")[:3] != VERSION.split("."):
        return None
    try:
        texts = [text for text in _texts(plan) if _OTHER_PROFILE not in text]
        kernels = [kernel for text in texts for kernel in _kernels(text, shapes)]
    except (_UnknownError, ValueError):  # not UTF-8, or a number that is none
        return None
    return Program(tuple(kernels)) if kernels else None


def _texts(plan: bytes) -> Iterator[str]:
    start, total = 0, 0
    for _ in range(_MOST_PLACES):
        start = plan.find(_MAGIC, start)
        if start < 0:
            return
        begin = start + 16
        length = int.from_bytes(plan[start + 8 : begin], "little")
        start += len(_MAGIC)
        if plan.startswith(_HEADER, begin):
            total += length
            if total > MOST_BYTES or begin + length > len(plan):
                raise _UnknownError
            yield plan[begin : begin + length].decode()
            start = begin + length
    raise _UnknownError


@dataclass(frozen=True)
class _Tensor:
    type: str
    size: int
    dims: tuple[int | None, ...]
    constant: bool
    apart: bool  # scratch, or a number on the host: no activation

    @property
    def bytes(self) -> int | None:
        count = _product(self.dims)
        return None if count is None else count * self.size


def _kernels(text: str, shapes: Mapping[str, Shape]) -> Iterator[Kernel]:
    lines = text.split("\n")
    tensors = _tensors(lines, shapes)
    try:
        body = lines[lines.index("main {") + 1 :]
    except ValueError:
        raise _UnknownError from None
    for line in body:
        if line.startswith("}"):
            return
        kind = re.match(r" {1,2}(\w{1,32})", line)
        if kind is None or kind[1] in _NO_KERNELS:
            continue
        if kind[1] not in _KERNELS:
            raise _UnknownError
        yield _kernel(kind[1], line, tensors)
    raise _UnknownError  # cut short


def _tensors(lines: list[str], shapes: Mapping[str, Shape]) -> dict[str, _Tensor]:
    found = [
        _attributes(line) for line in lines if line.startswith(("  tensor={", "  sub_tensor={"))
    ]
    sizes: dict[str, int] = {}
    for each in found:
        shape = shapes.get(_fact(each, "name").removesuffix(".1"))
        dims = _words(_fact(each, "dims"))
        if shape is not None and len(shape) == len(dims):
            sizes.update(zip(dims, shape, strict=True))
    return {_fact(each, "name"): _tensor(each, sizes) for each in found}


def _tensor(each: Mapping[str, str], sizes: Mapping[str, int]) -> _Tensor:
    name, size = _TYPES.get(_fact(each, "type"), ("", 0))
    if not name:
        raise _UnknownError
    dims = tuple(int(d) if d.isdecimal() else sizes.get(d) for d in _words(_fact(each, "dims"))[:8])
    if any(d is not None and d >= 1 << 31 for d in dims):
        raise _UnknownError
    on_host = each.get("region", "").strip('"').endswith("hmem")
    return _Tensor(
        name, size, dims, "const_payload_size" in each, "is_scratchspace" in each or on_host
    )


def _kernel(kind: str, line: str, tensors: Mapping[str, _Tensor]) -> Kernel:
    facts = _attributes(line)
    reads = _operands(facts, "input", tensors)
    writes = _operands(facts, "output", tensors)
    inputs = {n: t for n, t in reads.items() if not t.constant and not t.apart}
    outputs = {n: t for n, t in writes.items() if not t.constant and not t.apart}
    if not outputs:
        raise _UnknownError
    moved = [tensor.bytes for tensor in (inputs | outputs).values()]
    convolution = None
    if kind == "corrltn" or facts.get("backbone") == "conv":
        alone = kind == "corrltn" and facts.get("accu") != "true"
        convolution = _convolution(list(reads.values()), next(iter(outputs.values())), not alone)
    elif kind == "runtime_fusion":
        raise _UnknownError
    return Kernel(
        name=_fact(facts, "name"),
        layers=tuple(_LAYER.findall(facts.get("layers", ""))),
        inputs=tuple(tensor.type for tensor in inputs.values()),
        outputs=tuple(tensor.type for tensor in outputs.values()),
        bytes=None if None in moved else sum(size for size in moved if size is not None),
        convolution=convolution,
    )


def _convolution(reads: list[_Tensor], out: _Tensor, fused: bool) -> Convolution:
    """The weights are the first constant of four dimensions; what they convolve is before them.

    Weights that another kernel converts first, as where 8 bits fall back to half, are no constant.
    """
    pairs = [pair for pair in itertools.pairwise(reads) if not pair[0].constant]
    constant = [(x, w) for x, w in pairs if w.constant and len(w.dims) == 4]
    made = [(x, w) for x, w in pairs if len(w.dims) == 4 and _are_weights(w, x, out)]
    for before, weights in constant[:1] or made[:1]:
        counts = _product(out.dims), _product(weights.dims[1:])
        operations = None if None in counts else 2 * counts[0] * counts[1]  # type: ignore[operator]
        return Convolution(before.type, weights.type, fused, operations)
    raise _UnknownError


def _are_weights(tensor: _Tensor, before: _Tensor, out: _Tensor) -> bool:
    """Whether a tensor's first two dimensions are the channels of a convolution."""
    return (tensor.dims[0], tensor.dims[1]) == (out.dims[1:2] + before.dims[1:2])


def _operands(
    facts: Mapping[str, str], which: str, tensors: Mapping[str, _Tensor]
) -> dict[str, _Tensor]:
    names = _QUOTED.findall(facts.get(f"{which}_args") or facts.get(which) or "")
    if any(name not in tensors for name in names):
        raise _UnknownError
    return {name: tensors[name] for name in names}


def _attributes(line: str) -> dict[str, str]:
    """`kind={ key=value key={ … } }` → its keys; braces and quotes stay around the values."""
    found: dict[str, str] = {}
    for key, value in _ATTRIBUTE.findall(line.partition("{")[2]):
        found.setdefault(key, value)
    return found


def _fact(facts: Mapping[str, str], key: str) -> str:
    if key not in facts:
        raise _UnknownError
    return facts[key].strip('"')


def _words(braced: str) -> list[str]:
    return braced.strip("{} ").replace('"', "").split()


def _product(sizes: tuple[int | None, ...]) -> int | None:
    return None if None in sizes else math.prod(size for size in sizes if size is not None)
