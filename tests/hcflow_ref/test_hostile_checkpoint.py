"""Files made to take time or memory, or to end in anything else, end in one `CheckpointError`."""

import io
import re
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hcflow_ref.checkpoint.detect import MOST_DEPTH, indices, infer_config, infer_irn_config
from hcflow_ref.checkpoint.load import load
from hcflow_ref.errors import CheckpointError
from tests.support.golden_files import weights


def archive_of(pickled: bytes, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
    return path


@pytest.mark.parametrize("doublings", [3, 200])
def test_a_name_that_is_no_text_is_refused_at_once(doublings: int, tmp_path: Path) -> None:
    """As text the 200 nested pairs have 2^200 characters: pytest's timeout would end the test."""
    nested = b"\x80\x04" + b"\x8c\x01a" + b"2\x86" * doublings + b"\x8c\x01b" + b"\x93."
    for data in (nested, b"\x80\x04K\x01\x8c\x01b\x93."):
        with pytest.raises(CheckpointError, match="a name in the pickle is no text"):
            load(archive_of(data, tmp_path / "x.pth"))


def _weight(numbers: int) -> bytes:
    """An archive of one weight of so many float32."""
    file = io.BytesIO()
    torch.save({"flow.layers.1.actnorm.bias": torch.zeros(1, numbers, 1, 1)}, file)
    return file.getvalue()


def with_entry(data: bytes, ending: str, content: bytes, declared: int, how: int) -> bytes:
    """An archive with other content in an entry, of which its directory declares a size."""
    written = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as archive,
        zipfile.ZipFile(written, "w") as changed,
    ):
        # The changed entry comes last: so does its record in the directory.
        for name in sorted(archive.namelist(), key=lambda name: name.endswith(ending)):
            last = name.endswith(ending)
            changed.writestr(
                zipfile.ZipInfo(name),
                content if last else archive.read(name),
                compress_type=how if last else zipfile.ZIP_STORED,
            )
    result = bytearray(written.getvalue())
    record = result.rfind(b"PK\x01\x02")
    struct.pack_into("<I", result, record + 16, zlib.crc32(content[:declared]))
    struct.pack_into("<I", result, record + 24, declared)
    return bytes(result)


@pytest.mark.parametrize("entry", ["data/0", "data.pkl", "byteorder"])
def test_an_entry_that_inflates_beyond_its_declared_size_takes_no_memory(
    entry: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(with_entry(_weight(4), entry, bytes(1 << 25), 16, zipfile.ZIP_DEFLATED))
    tracemalloc.start()
    with pytest.raises(CheckpointError):
        load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 23


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_entry_shorter_than_its_declared_size_is_refused(how: int, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(with_entry(_weight(64), "data/0", bytes(128), 256, how))
    with pytest.raises(CheckpointError, match=r"'archive/data/0' has 128 bytes, expected 256"):
        load(path)


@pytest.mark.parametrize(
    ("network", "repeated"),
    [
        ("sr_x4", "flow.level1_condFlow.RRDB_trunk0.{}.x"),
        ("sr_x4", "flow.level0_condFlow.RRDB_trunk1.{}.x"),
        ("sr_x4", "flow.level0_condFlow.additional_flow_steps.{}.x"),
        ("sr_x4", "flow.layers.{}.x"),
        ("irn_x4", "operations.{}.x"),
    ],
)
def test_a_network_of_absurd_depth_is_refused_before_it_is_built(
    network: str, repeated: str, tmp_path: Path
) -> None:
    """Each block takes 7 ms and 240 kB to build, and some 50 bytes of a file."""
    held = load_file(weights(network))
    start = 1 + indices(held, re.escape(repeated[: repeated.index("{")]) + r"(\d+)\.")[-1]
    more = range(start, start + MOST_DEPTH)
    empty = {repeated.format(index): torch.zeros(0) for index in more}
    save_file({**empty, **held}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=rf"steps and blocks.*at most {MOST_DEPTH}"):
        load(tmp_path / "x.safetensors")


@pytest.mark.timeout(30)
def test_a_gap_among_many_blocks_is_found_in_linear_time() -> None:
    """Half a second; in quadratic time, more than a minute."""
    shapes = {f"operations.{index}.x": [0] for index in range(100_000)}
    with pytest.raises(CheckpointError, match=r"'operations\.100000\.…' are missing"):
        infer_irn_config(shapes | {"operations.100001.x": [0]})


@pytest.mark.parametrize(
    ("network", "repeated"),
    [("sr_x4", "flow.level0_condFlow.RRDB_trunk0.{}.x"), ("irn_x4", "operations.{}.F.x")],
)
def test_blocks_of_a_key_each_are_refused_before_they_are_built(
    network: str, repeated: str
) -> None:
    shapes = {key: weight.shape for key, weight in load_file(weights(network)).items()}
    shapes |= {repeated.format(index): torch.Size([0]) for index in range(1, 400)}
    detect = infer_irn_config if network == "irn_x4" else infer_config
    with pytest.raises(CheckpointError, match=r"keys for \d+ flow steps and \d+ blocks"):
        detect(shapes)


def test_a_trunk_of_23_blocks_as_in_esrgan_is_detected() -> None:
    shapes = {key: weight.shape for key, weight in load_file(weights("sr_x4")).items()}
    trunk = "flow.level0_condFlow.RRDB_trunk0."
    first = {key: shape for key, shape in shapes.items() if key.startswith(f"{trunk}0.")}
    for block in range(23):
        shapes |= {key.replace(f"{trunk}0.", f"{trunk}{block}."): s for key, s in first.items()}
    assert infer_config(shapes).levels[0].blocks[0] == 23
