"""Reads a pickle as data: a stack machine that builds plain containers and calls nothing.

Python's and PyTorch's own unpicklers call what a file names, or hash what it builds: a file of a
kilobyte can keep them busy for ever. Here names stand for themselves (`pickle_names`), only texts
and small integers become keys of dictionaries, and the number of instructions is limited.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from hcflow_ref.checkpoint.pickle_names import Name, called, named, words
from hcflow_ref.checkpoint.stored import Opaque, Storage
from hcflow_ref.errors import CheckpointError, printable

MOST_INSTRUCTIONS = 1_000_000
"""A network's checkpoint has some 60 a tensor; with its optimiser's state about 200,000."""

_PLAIN = words(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING "
    "BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE SHORT_BINUNICODE BINUNICODE "
    "BINUNICODE8"
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": Opaque}
_PUT, _GET = (
    frozenset({"PUT", "BINPUT", "LONG_BINPUT"}),
    frozenset({"GET", "BINGET", "LONG_BINGET"}),
)


@dataclass(frozen=True)
class Pickled:
    """What a pickle holds: its object, and every storage that it refers to, by key."""

    root: Any
    storages: dict[str, Storage]


def read(file: IO[bytes]) -> Pickled:
    """The object of the pickle at the file's position, which is left behind its end.

    Dictionaries, lists, tuples and scalars are themselves, tensors are `StoredTensor`, everything
    else that the allowed names make is `Opaque`.

    Raises:
        CheckpointError: it is damaged, too long, or names a type that is not allowed.
    """
    machine = _Machine()
    try:
        for count, (code, argument, _) in enumerate(pickletools.genops(file)):
            if count >= MOST_INSTRUCTIONS:
                raise CheckpointError(
                    f"the pickle has more than {MOST_INSTRUCTIONS} instructions, far more than a "
                    "checkpoint of these networks needs; refused"
                )
            machine.step(code.name, argument)
        return Pickled(machine.stack.pop(), machine.storages)
    except CheckpointError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # what damage can cause
        raise CheckpointError(
            f"not a whole PyTorch checkpoint ({printable(str(error))})"
        ) from error


class _Machine:
    """The stack, the stacks below its marks, and the memo of one pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def step(self, code: str, argument: Any) -> None:
        """Do one instruction."""
        stack = self.stack
        if code in _PUT:
            if not 0 <= argument < 1 << 32:
                raise ValueError("a memo's number is out of range")
            self._memo[argument] = stack[-1]
        elif code == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif code in _GET:
            stack.append(self._memo[argument])
        elif code in _PLAIN:
            stack.append(argument)
        elif code in _CONSTANTS:
            stack.append(_CONSTANTS[code])
        elif code in _EMPTY:
            stack.append(_EMPTY[code]())
        elif code == "MARK":
            self._below.append(stack)
            self.stack = []
        elif code in ("PROTO", "FRAME", "STOP"):
            pass
        else:
            step = _STEPS.get(code)
            if step is None:
                raise CheckpointError(f"refused: the pickle has the instruction {code}")
            step(self, argument)

    def push(self, value: Any) -> None:
        """Put a value on the stack, which `to_mark` may have changed just before."""
        self.stack.append(value)

    def to_mark(self) -> list[Any]:
        """What was put on the stack since the last mark, which is removed."""
        items, self.stack = self.stack, self._below.pop()
        return items

    def pop(self, count: int) -> list[Any]:
        """The last so many of the stack, removed."""
        if len(self.stack) < count:
            raise ValueError("the pickle's stack is empty")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items

    def fill(self, pairs: list[Any]) -> None:
        """Set keys of the dictionary on top of the stack; others ignore theirs."""
        target = self.stack[-1]
        if isinstance(target, dict):
            for key, value in zip(pairs[::2], pairs[1::2], strict=True):
                small = isinstance(key, int) and abs(key) < 1 << 32  # large ones can share a hash
                target[key if small or isinstance(key, str) else Opaque()] = value

    def extend(self, items: list[Any]) -> None:
        """Add to the list on top of the stack; others ignore theirs."""
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)

    def build(self, state: Any) -> None:
        """Give the object on top of the stack its state: kept for modules of TorchScript."""
        target = self.stack[-1]
        if isinstance(target, Opaque) and isinstance(state, dict):
            target.state = state

    def call(self, name: Any, arguments: Any) -> None:
        """Put what the name makes of the arguments on the stack."""
        if not isinstance(name, Name) or not isinstance(arguments, tuple):
            raise ValueError("the pickle calls what is no name")
        self.stack.append(called(name, arguments))

    def persistent(self, identity: Any) -> None:
        """Put the storage on the stack that PyTorch keeps beside the pickle."""
        match identity:
            case ("storage" | b"storage", Name() as kind, key, location, int(), *_):
                storage = Storage(_text(key), kind.number, _text(location))
                self.storages[storage.key] = storage
                self.stack.append(storage)
            case _:
                raise ValueError("the pickle refers to what is no storage")


def _text(value: Any) -> str:
    if not isinstance(value, (str, bytes, int)):
        raise ValueError("the pickle refers to what is no storage")
    return value[:200].decode("latin-1") if isinstance(value, bytes) else str(value)[:200]


def _names(machine: _Machine) -> None:
    module, name = machine.pop(2)
    if not isinstance(module, str) or not isinstance(name, str):  # `str` of a tuple may never end
        raise ValueError("a name in the pickle is no text")
    machine.stack.append(named(module, name))


_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "GLOBAL": lambda m, argument: m.push(named(*argument.split(" ", 1))),
    "STACK_GLOBAL": lambda m, _: _names(m),
    "REDUCE": lambda m, _: m.call(*m.pop(2)),
    "NEWOBJ": lambda m, _: m.call(*m.pop(2)),
    "NEWOBJ_EX": lambda m, _: m.call(*m.pop(3)[:2]),
    "BUILD": lambda m, _: m.build(*m.pop(1)),
    "BINPERSID": lambda m, _: m.persistent(*m.pop(1)),
    "TUPLE": lambda m, _: m.push(tuple(m.to_mark())),
    "TUPLE1": lambda m, _: m.push(tuple(m.pop(1))),
    "TUPLE2": lambda m, _: m.push(tuple(m.pop(2))),
    "TUPLE3": lambda m, _: m.push(tuple(m.pop(3))),
    "LIST": lambda m, _: m.push(m.to_mark()),
    "DICT": lambda m, _: _dictionary(m),
    "FROZENSET": lambda m, _: _opaque(m),
    "SETITEM": lambda m, _: m.fill(m.pop(2)),
    "SETITEMS": lambda m, _: m.fill(m.to_mark()),
    "APPEND": lambda m, _: m.extend(m.pop(1)),
    "APPENDS": lambda m, _: m.extend(m.to_mark()),
    "ADDITEMS": lambda m, _: m.extend(m.to_mark()),
    "POP": lambda m, _: _drop(m),
    "POP_MARK": lambda m, _: _drop_to_mark(m),
    "DUP": lambda m, _: m.push(m.stack[-1]),
}


def _dictionary(machine: _Machine) -> None:
    pairs = machine.to_mark()
    machine.stack.append({})
    machine.fill(pairs)


def _opaque(machine: _Machine) -> None:
    machine.to_mark()
    machine.stack.append(Opaque())


def _drop(machine: _Machine) -> None:
    machine.pop(1)


def _drop_to_mark(machine: _Machine) -> None:
    machine.to_mark()
