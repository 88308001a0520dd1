"""Checkpoints as people save them: what is around the network is taken off, nothing is run."""

import argparse
import collections
import datetime
import io
import logging
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from hcflow_ref.checkpoint.load import MOST_BYTES, Checkpoint, load
from hcflow_ref.checkpoint.official_names import to_official
from hcflow_ref.errors import CheckpointError
from tests.support.checkpoints import KEY, Weights, prefixed


def loaded(content: Any, path: Path, **options: Any) -> Checkpoint:
    torch.save(content, path, **options)
    return load(path)


def first(checkpoint: Checkpoint) -> Tensor:
    return to_official(checkpoint.model)[KEY]


@pytest.mark.parametrize(
    "key",
    [
        *("params", "params_ema", "params-ema", "state_dict", "model_state_dict", "model", "net"),
        *("netG", "net_g", "generator", "ema", "g_ema", "model_ema", "network", "weights", "mine"),
    ],
)
def test_a_network_under_any_key_is_found(key: str, official: Weights, tmp_path: Path) -> None:
    assert torch.equal(
        first(loaded({"epoch": 3, key: official}, tmp_path / "x.pth")), official[KEY]
    )


@pytest.mark.parametrize(
    "prefix",
    [
        *("_orig_mod.", "netG.", "model.", "generator.", "module.", "module._orig_mod.netG."),
        *("model.generator._orig_mod.module.", "module.module.", "_forward_module.model."),
    ],
)
def test_prefixes_are_taken_off_in_any_nesting(
    prefix: str, official: Weights, tmp_path: Path
) -> None:
    content = {"state_dict": {"model": prefixed(prefix, official)}}
    assert torch.equal(first(loaded(content, tmp_path / "x.pth")), official[KEY])
    save_file(prefixed(prefix, official), tmp_path / "x.safetensors")
    assert torch.equal(first(load(tmp_path / "x.safetensors")), official[KEY])


def test_wrappers_inside_a_name_are_taken_off(official: Weights, tmp_path: Path) -> None:
    inside = {key.replace("flow.", "flow._orig_mod.", 1): w for key, w in official.items()}
    assert torch.equal(first(loaded(inside, tmp_path / "x.pth")), official[KEY])


def test_settings_beside_the_weights_are_read_and_dropped(
    official: Weights, tmp_path: Path
) -> None:
    content = {
        "state_dict": collections.OrderedDict(official),
        "psnr": np.float64(31.5),
        "loss": np.float32(0.5),
        "steps": np.int64(7),
        "history": np.arange(5),
        "kind": [np.dtype("float32"), np.float32, torch.float16],
        "options": argparse.Namespace(lr=1e-4, folder=Path("data")),
        "counts": collections.defaultdict(list, a=[1]),
        "when": datetime.datetime(2024, 5, 6),
        "device": torch.device("cpu"),
        "size": torch.Size([3, 4]),
        "random": np.random.default_rng(0).bit_generator.state,
        "tags": {"a", "b"},
        "raw": b"bytes",
        "complex": 1j,
        ("a", "tuple"): 3,
    }
    assert torch.equal(first(loaded(content, tmp_path / "x.pth")), official[KEY])


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_scalars_of_numpy_before_and_since_2_are_read(
    module: bytes, official: Weights, tmp_path: Path
) -> None:
    torch.save({"net": official, "best": np.float64(1.5)}, tmp_path / "new.pth")
    with (
        zipfile.ZipFile(tmp_path / "new.pth") as archive,
        zipfile.ZipFile(tmp_path / "x.pth", "w") as written,
    ):
        for name in archive.namelist():
            data = archive.read(name)
            if name.endswith("data.pkl"):
                assert b"multiarray" in data
                data = data.replace(b"numpy._core.multiarray", module)
            written.writestr(name, data)
    assert torch.equal(first(load(tmp_path / "x.pth")), official[KEY])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("archive", [True, False])
def test_every_protocol_and_the_format_before_archives_are_read(
    protocol: int, archive: bool, official: Weights, tmp_path: Path
) -> None:
    checkpoint = loaded(
        {"net": {key: torch.nn.Parameter(w) for key, w in official.items()}},
        tmp_path / "x.pth",
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=archive,
    )
    assert torch.equal(first(checkpoint), official[KEY])


def test_views_into_one_storage_are_read_at_their_places(official: Weights, tmp_path: Path) -> None:
    flat = torch.cat([weight.flatten() for weight in official.values()])
    views, at = {}, 0
    for key, weight in official.items():
        views[key] = flat[at : at + weight.numel()].view(weight.shape)
        at += weight.numel()
    views[KEY] = official[KEY].transpose(0, 1).contiguous().transpose(0, 1)
    read = to_official(loaded(views, tmp_path / "x.pth").model)
    assert all(torch.equal(read[key], official[key]) for key in official)


def test_a_torchscript_module_gives_its_weights(official: Weights, tmp_path: Path) -> None:
    root = torch.nn.Module()
    for key, weight in official.items():
        *path, name = key.split(".")
        module = root
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, torch.nn.Module())
            module = getattr(module, part)
        module.register_buffer(name, weight)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(root), str(tmp_path / "x.pt"))
    assert torch.equal(first(load(tmp_path / "x.pt")), official[KEY])


@pytest.mark.parametrize(
    ("wrapped", "named"),
    [
        (lambda raw, ema: {"params": raw, "params_ema": ema}, ("'params_ema'", "'params'")),
        (lambda raw, ema: {"g": raw, "g_ema": ema, "d": {}}, ("'g_ema'", "'g'")),
        (lambda raw, ema: {"net": raw, "params-ema": ema}, ("'params-ema'", "'net'")),
        (
            lambda raw, ema: {
                "state_dict": prefixed("model.", raw) | prefixed("model_ema.module.", ema)
            },
            ("'state_dict.model_ema'", "'state_dict.model'"),
        ),
        (
            lambda raw, ema: raw | prefixed("ema.", ema) | {"ema.decay": torch.ones(())},
            ("'ema'", "no key"),
        ),
        (
            lambda raw, ema: {"state_dict": raw, "callbacks": {"EMA": {"weights": ema}}},
            ("'callbacks.EMA.weights'", "'state_dict'"),
        ),
    ],
)
def test_averaged_weights_are_preferred_and_it_is_said(
    wrapped: Callable[[Weights, Weights], Any],
    named: tuple[str, str],
    official: Weights,
    other: Weights,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        checkpoint = loaded(wrapped(other, official), tmp_path / "x.pth")
    assert torch.equal(first(checkpoint), official[KEY])
    sentence = f"the averaged weights (EMA) {named[0]} are used, not {named[1]}"
    assert checkpoint.provenance == {"weights": sentence}
    assert caplog.messages == [f"{tmp_path / 'x.pth'}: {sentence}"]


def test_constants_that_an_average_leaves_out_come_from_the_raw_weights(
    official: Weights, other: Weights, tmp_path: Path
) -> None:
    ema = {key: weight for key, weight in official.items() if "haar" not in key}
    checkpoint = loaded({"model": other, "ema": {"shadow": ema}}, tmp_path / "x.pth")
    assert torch.equal(first(checkpoint), official[KEY])
    assert checkpoint.provenance["weights"] == (
        "the averaged weights (EMA) 'ema.shadow' are used, not 'model', which adds what they lack"
    )


def test_averaged_weights_of_torch_keep_their_counter_beside_them(
    official: Weights, tmp_path: Path
) -> None:
    content = prefixed("module.", official) | {"n_averaged": torch.tensor(3)}
    assert torch.equal(first(loaded(content, tmp_path / "x.pth")), official[KEY])


def test_discriminators_and_optimisers_beside_the_network_are_ignored(
    official: Weights, tmp_path: Path
) -> None:
    moments = {0: {"exp_avg": torch.zeros(3), "step": torch.tensor(5)}}
    content = {
        "netD": {"features.0.weight": torch.zeros(3, 3, 3, 3)},
        "state_dict": prefixed("netG.", official)
        | {"netD.features.0.weight": torch.zeros(3), "discriminator.x": torch.zeros(2)},
        "optimizer": {"state": moments, "master": {k: w + 1 for k, w in official.items()}},
        "optimizer_states": [{"state": moments, "param_groups": [{"lr": 1e-4, "params": [0]}]}],
        "lr_schedulers": [{"milestones": collections.Counter({5: 1})}],
    }
    checkpoint = loaded(content, tmp_path / "x.pth")
    assert torch.equal(first(checkpoint), official[KEY])
    assert checkpoint.provenance == {}


def test_two_networks_are_refused_by_the_keys_they_are_under(
    official: Weights, other: Weights, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="2 networks, under 'best', 'last': save the one"):
        loaded({"best": official, "last": other}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"'ema_0\.9', 'ema_0\.99'"):
        loaded({"ema_0.9": official, "ema_0.99": other}, tmp_path / "x.pth")
    copied = {key: weight.clone() for key, weight in prefixed("b.", other).items()}
    save_file(prefixed("a.", official) | copied, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="2 networks, under 'a', 'b'"):
        load(tmp_path / "x.safetensors")


def test_one_network_under_two_keys_is_one(official: Weights, tmp_path: Path) -> None:
    checkpoint = loaded({"model": official, "net": official}, tmp_path / "x.pth")
    assert torch.equal(first(checkpoint), official[KEY])


def test_the_bytes_say_what_a_file_is_not_its_name(official: Weights, tmp_path: Path) -> None:
    save_file(official, tmp_path / "x.pth")
    assert torch.equal(first(load(tmp_path / "x.pth")), official[KEY])
    torch.save(official, tmp_path / "x.safetensors")
    assert torch.equal(first(load(tmp_path / "x.safetensors")), official[KEY])


def archive_of(data: bytes, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
    return path


@pytest.mark.parametrize(
    "name",
    [
        *("os system", "posix system", "builtins eval", "builtins getattr", "builtins __import__"),
        *("torch load", "torch.hub load", "torch.storage _load_from_bytes", "numpy load"),
        *("numpy.core.multiarray fromfile", "torch._utils import_module", "functools partial"),
        *("numpy.core.numeric load", "operator attrgetter", "collections namedtuple"),
    ],
)
def test_no_other_name_is_allowed_in_a_pickle(name: str, tmp_path: Path) -> None:
    module, attribute = name.split()
    data = b"\x80\x02c" + f"{module}\n{attribute}\n".encode() + b"(X\x04\x00\x00\x00truetR."
    with pytest.raises(CheckpointError, match=rf"refused: .*{attribute}\).*state_dict"):
        load(archive_of(data, tmp_path / "x.pth"))
    (tmp_path / "bare.pth").write_bytes(data)
    with pytest.raises(CheckpointError, match="refused"):
        load(tmp_path / "bare.pth")


def _nested_key() -> bytes:
    """A dictionary whose key takes 2^200 steps to hash."""
    return b"\x80\x02}(K\x01" + b"2\x86" * 200 + b"K\x02u."


def _marks() -> bytes:
    return b"\x80\x02" + b"(" * 3_000_000 + b"."


def _equal_hashes() -> bytes:
    modulus = (1 << 61) - 1
    keys = (k * modulus for k in range(60_000))
    return b"\x80\x02}(" + b"".join(pickle.dumps(k, 2)[2:-1] + b"K\x01" for k in keys) + b"u."


def _long_names() -> bytes:
    name = b"\x8c\xff" + b"a" * 255
    return b"\x80\x04" + name + b"\x94" + b"h\x00h\x00\x93" * 300_000 + b"."


@pytest.mark.parametrize("hostile", [_nested_key, _marks, _equal_hashes, _long_names])
def test_a_hostile_pickle_ends_in_an_error(hostile: Callable[[], bytes], tmp_path: Path) -> None:
    """Without a limit these take from a minute to for ever: pytest's timeout would end the test."""
    with pytest.raises(CheckpointError):
        load(archive_of(hostile(), tmp_path / "x.pth"))


def test_an_archive_of_many_entries_is_refused(tmp_path: Path) -> None:
    """The central directory alone, 60,000 times: it is counted, not read."""
    entry = b"PK\x01\x02" + bytes(24) + struct.pack("<HHH", 1, 0, 0) + bytes(12) + b"a"
    end = b"PK\x05\x06" + bytes(16) + b"\x00\x00"
    (tmp_path / "x.pth").write_bytes(b"PK\x03\x04" + entry * 60_000 + end)
    with pytest.raises(CheckpointError, match=r"an archive of 60000 entries.*refused"):
        load(tmp_path / "x.pth")


def test_a_file_larger_than_any_checkpoint_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "sparse.pth"
    with path.open("wb") as file:
        file.truncate(40 * MOST_BYTES)
    with pytest.raises(CheckpointError, match="more than the 1073741824"):
        load(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs on this system")
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    for path in (tmp_path / "pipe.pth", Path("/dev/zero")):
        with pytest.raises(CheckpointError, match="no regular file"):
            load(path)
    with pytest.raises(CheckpointError):
        load(tmp_path)


def test_a_safetensors_file_of_an_absurd_header_is_refused(tmp_path: Path) -> None:
    header = b"{" + b" " * (9 << 20) + b"}"
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(CheckpointError, match="its header has"):
        load(path)


def test_lists_within_themselves_end(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless += [endless] * 1000
    buffer = io.BytesIO()
    torch.save({"x": endless}, buffer)
    (tmp_path / "x.pth").write_bytes(buffer.getvalue())
    with pytest.raises(CheckpointError, match="key 'x' is a list"):
        load(tmp_path / "x.pth")


def _compressed(data: bytes) -> bytes:
    written = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as archive,
        zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in archive.namelist():
            packed.writestr(name, archive.read(name))
    return written.getvalue()


@pytest.mark.parametrize("kind", ["archive", "compressed archive", "before archives"])
def test_damage_anywhere_ends_in_one_line(kind: str, tmp_path: Path) -> None:
    content = {"net": {f"flow.layers.{i}.x": torch.zeros(3) for i in range(3)}, "y": np.float64(1)}
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=kind != "before archives")
    whole = _compressed(buffer.getvalue()) if kind == "compressed archive" else buffer.getvalue()
    random = np.random.default_rng(0)
    for _ in range(400):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), random.integers(1, 5)):
            damaged[place] = random.integers(256)
        path = tmp_path / "x.pth"
        path.write_bytes(damaged[: random.integers(1, 2 * len(whole))])
        with pytest.raises(CheckpointError) as error:
            load(path)
        assert "\n" not in str(error.value)
