"""Pickles that no PyTorch wrote end in one `CheckpointError`, whatever their tensors claim."""

import pickle
import struct
import zipfile
from pathlib import Path

import pytest

from hcflow_ref.checkpoint.load import load
from hcflow_ref.errors import CheckpointError

KEY = "flow.layers.1.actnorm.bias"
MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
NESTING = b"ctorch._tensor\n_rebuild_from_type_v2\nq\x00"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def pair(*items: bytes) -> bytes:
    """A tuple of any length."""
    return b"(" + b"".join(items) + b"t"


def storage(kind: str = "FloatStorage", key: bytes = text("0")) -> bytes:
    named = f"ctorch\n{kind}\n".encode()
    return pair(text("storage"), named, key, text("cpu"), number(1)) + b"Q"


def tensor(shape: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    sizes = [pair(*map(number, values)) for values in (shape, stride)]
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n"
        + pair(storage(), number(offset), *sizes, b"\x89", b"N")
        + b"R"
    )


def dictionary(value: bytes) -> bytes:
    return b"\x80\x02}(" + text(KEY) + value + b"u."


def before_archives(pickled: bytes, keys: bytes = pickle.dumps(["0"], 2)) -> bytes:
    head = MAGIC + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    return head + pickled + keys + struct.pack("<q", 16) + bytes(64)


def refused(data: bytes, path: Path) -> str:
    """The error's message about a file of these bytes."""
    path.write_bytes(data)
    with pytest.raises(CheckpointError) as error:
        load(path)
    message = str(error.value)
    assert message.isprintable()
    return message.removeprefix(f"{path}: ")


def both_refused(pickled: bytes, folder: Path) -> list[str]:
    """The messages about a pickle in an archive and in a file before archives."""
    path = folder / "archive.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/data/0", bytes(64))
    return [
        refused(path.read_bytes(), path),
        refused(before_archives(pickled), folder / "before.pth"),
    ]


@pytest.mark.parametrize(
    ("shape", "stride", "offset", "said"),
    [
        ((1, 4, 1, 1), (1,), 0, "4 axes and 1 strides"),
        ((), (1, 1), 0, "0 axes and 2 strides"),
        ((0, 1 << 61, 1 << 61), (0, 0, 0), 0, "has shape"),
        ((0,), (1,), 1 << 61, "has shape"),
        ((1, 4, 1, 1), (1 << 61,) * 4, 1 << 61, "more numbers than the file has"),
        ((1 << 61,) * 4, (0,) * 4, 0, "more numbers than the file has"),
    ],
)
def test_sizes_that_no_tensor_has_are_refused(
    shape: tuple[int, ...], stride: tuple[int, ...], offset: int, said: str, tmp_path: Path
) -> None:
    for message in both_refused(dictionary(tensor(shape, stride, offset)), tmp_path):
        assert said in message


@pytest.mark.parametrize("depth", [1, 3000])
def test_a_tensor_of_a_type_of_a_type_is_refused(depth: int, tmp_path: Path) -> None:
    nested = NESTING + b"(h\x00N" * depth + b"(h\x00N)" + b"t" * (depth + 1) + b"R"
    for message in both_refused(dictionary(nested), tmp_path):
        assert "a tensor's type is nested" in message


def test_a_storage_of_an_unknown_number_format_is_named(tmp_path: Path) -> None:
    data = before_archives(dictionary(storage("float8_e4m3fn")))
    assert "storage '0' has the number format float8_e4m3fn" in refused(data, tmp_path / "x.pth")


def test_a_storage_by_a_number_of_thousands_of_digits_is_refused(tmp_path: Path) -> None:
    large = (1 << 20_000).to_bytes(2600, "little", signed=True)
    key = b"\x8b" + struct.pack("<i", len(large)) + large
    listed = b"\x80\x02]" + key + b"a."
    for data in (
        before_archives(b"\x80\x02}.", listed),
        before_archives(dictionary(storage(key=key))),
    ):
        assert "not a whole PyTorch checkpoint" in refused(data, tmp_path / "x.pth")
