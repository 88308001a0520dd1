"""What a file says of itself is kept as its provenance within bounds, and never speaks for us."""

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hcflow_ref.checkpoint import safetensors_file
from hcflow_ref.checkpoint.load import MOST_PROVENANCE, load
from hcflow_ref.errors import CheckpointError
from hcflow_ref.training.parameters.round_to_half import round_to_half
from tests.support.golden_files import weights


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.safetensors"


def test_a_choice_that_a_file_claims_is_neither_told_nor_kept(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_file(load_file(weights("sr_x4")), path, {"weights": "\x1b[2Jchosen", "default_tau": "0.7"})
    with caplog.at_level(logging.WARNING):
        assert load(path).provenance == {"default_tau": "0.7"}
    assert caplog.messages == []


def test_rounded_weights_do_not_repeat_the_choice(path: Path, tmp_path: Path) -> None:
    network = load_file(weights("rescale_x4"))
    averaged = {key: weight * 1 for key, weight in network.items()}
    torch.save({"params": network, "params_ema": averaged}, tmp_path / "x.pth")
    round_to_half(tmp_path / "x.pth", path)
    header = json.loads(path.read_bytes()[8:].split(b"}}", 1)[0] + b"}}")
    assert header["__metadata__"] == {"rounded_to": "float16"}


def test_metadata_beyond_the_bound_is_left_out_with_a_warning(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    large = {"tags\n": "x" * MOST_PROVENANCE, "captions": "ä" * MOST_PROVENANCE}
    kept = {"default_tau": "0.7", "made": "y" * 1000}
    save_file(load_file(weights("sr_x4")), path, large | kept)
    with caplog.at_level(logging.WARNING):
        assert load(path).provenance == kept
    assert caplog.messages == [
        f"{path}: metadata 'tags\\n', 'captions' are left out: more than {MOST_PROVENANCE} bytes"
    ]


def test_metadata_of_many_small_texts_are_bounded_too(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    many = {f"key{index:06}": "" for index in range(MOST_PROVENANCE)}
    save_file(load_file(weights("sr_x4")), path, many)
    with caplog.at_level(logging.WARNING):
        provenance = load(path).provenance
    assert sum(len(key) + len(text) for key, text in provenance.items()) <= MOST_PROVENANCE
    assert "…" in caplog.messages[0]
    assert len(caplog.messages[0]) < 400


@pytest.mark.parametrize(
    "metadata", [[1], {"a": 1}, {"a": {"b": "c"}}, "text", {"a": "\ud800"}, {"\ud800": ""}]
)
def test_metadata_that_are_no_texts_are_damage(
    metadata: object, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Path(weights("sr_x4")).read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:start]) | {"__metadata__": metadata}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[start:])
    for library in (safetensors_file._library(), None):
        monkeypatch.setattr(safetensors_file, "_library", lambda library=library: library)
        with pytest.raises(CheckpointError, match="not a whole safetensors file"):
            load(path)
