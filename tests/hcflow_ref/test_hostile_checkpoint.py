"""Files made to take time or memory, or to end in anything else, end in one `CheckpointError`."""

import zipfile
from pathlib import Path

import pytest

from hcflow_ref.checkpoint.load import load
from hcflow_ref.errors import CheckpointError


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
