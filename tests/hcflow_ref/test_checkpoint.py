"""A checkpoint loads from its file alone, and a wrong one says what is wrong with it."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hcflow_ref.checkpoint.detect import infer_config
from hcflow_ref.checkpoint.load import load, save
from hcflow_ref.checkpoint.official_names import official_shapes, to_official
from hcflow_ref.errors import CheckpointError
from hcflow_ref.network.config import OFFICIAL
from tests.support.golden_files import NETWORKS, arrays, latents, weights

Weights = dict[str, Tensor]


def official(network: str = "rescale_x4") -> Weights:
    return load_file(weights(network))


@pytest.mark.parametrize("network", OFFICIAL)
def test_the_official_configurations_are_inferred_from_their_shapes(network: str) -> None:
    config = OFFICIAL[network]
    assert infer_config(official_shapes(config)) == config


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_pth_files_load_with_and_without_the_module_prefix(
    network: str, prefix: str, tmp_path: Path
) -> None:
    path = tmp_path / "official.pth"
    torch.save({prefix + key: w for key, w in official(network).items()}, path)
    io = arrays(network)
    expected = load(weights(network)).model.inverse(io["lr"], latents(io))
    assert torch.equal(load(path).model.inverse(io["lr"], latents(io)), expected)


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda w, old: {"params_ema": w},
        lambda w, old: {"params": old, "params_ema": w},
        lambda w, old: {"epoch": 3, "model": {"state_dict": w}},
        lambda w, old: {"model_state_dict": {f"module.module.{key}": x for key, x in w.items()}},
    ],
)
def test_what_frameworks_put_around_weights_is_taken_off(
    wrapped: Callable[[Weights, Weights], object], tmp_path: Path
) -> None:
    path = tmp_path / "wrapped.pth"
    weights = official()
    torch.save(wrapped(weights, {key: w + 1 for key, w in weights.items()}), path)
    key = "flow.level0_condFlow.conv_first.weight"
    loaded = to_official(load(path).model)
    assert torch.equal(loaded[key], weights[key])


def test_a_weight_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.pth"
    torch.save(official() | {f"module.{key}": w for key, w in official().items()}, path)
    with pytest.raises(CheckpointError, match="are the same weight twice"):
        load(path)


def test_a_dictionary_within_itself_ends(tmp_path: Path) -> None:
    endless: dict[str, object] = {}
    endless["model"] = endless
    torch.save(endless, tmp_path / "endless.pth")
    with pytest.raises(CheckpointError, match="key 'model' is a dict"):
        load(tmp_path / "endless.pth")


def test_the_state_of_a_run_names_the_weights_beside_it(tmp_path: Path) -> None:
    torch.save(
        {"model": official(), "average": official(), "optimisers": {}}, tmp_path / "state.pt"
    )
    with pytest.raises(CheckpointError, match=r"model\.safetensors beside it"):
        load(tmp_path / "state.pt")


@pytest.mark.parametrize("network", NETWORKS)
def test_saving_keeps_every_weight_and_the_provenance(network: str, tmp_path: Path) -> None:
    saved = tmp_path / "saved.safetensors"
    save(load(weights(network)).model, saved, {"data": "photographs", "default_tau": "0.5"})
    before, after = official(network), load_file(saved)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    checkpoint = load(saved)
    assert checkpoint.provenance["data"] == "photographs"
    assert checkpoint.default_tau == 0.5


def test_the_default_tau_follows_from_the_kind_of_network() -> None:
    taus = {network: load(weights(network)).default_tau for network in NETWORKS}
    assert taus == {"sr_x4": 0.9, "sr_x8": 0.8, "rescale_x4": 1.0}


def without(key: str) -> Callable[[Weights], object]:
    return lambda w: w.pop(key)


def reshaped(key: str) -> Callable[[Weights], object]:
    return lambda w: w.update({key: w[key][:-1].clone()})


def filled(key: str, value: float) -> Callable[[Weights], object]:
    return lambda w: w.update({key: torch.full_like(w[key], value)})


@pytest.mark.parametrize(
    ("network", "damage", "message"),
    [
        ("rescale_x4", without("flow.layers.2.actnorm.logs"), "'flow.layers.2.actnorm.logs'"),
        ("rescale_x4", without("flow.layers.1.affine.f.conv1.weight"), "layers.1.affine.f.conv1"),
        ("rescale_x4", without("flow.layers.0.haar_weights"), "'flow.layers.0.haar_weights'"),
        ("sr_x4", without("flow.level0_condFlow.conv_first.weight"), "conv_first.weight"),
        ("sr_x4", without("flow.layers.2.permute.weight"), "'flow.layers.2.permute.weight'"),
        ("sr_x4", without("flow.layers.1.permute.weight"), "'flow.layers.1.permute.weight'"),
        (
            "sr_x4",
            lambda w: w.update({"flow.level9999999999_condFlow.x": torch.zeros(1)}),
            "level2",
        ),
        ("sr_x4", reshaped("flow.layers.2.permute.weight"), "expected [12, 12]"),
        ("sr_x4", filled("flow.layers.2.permute.weight", 0.0), "singular"),
        ("sr_x4", filled("flow.layers.2.actnorm.bias", float("nan")), "NaN"),
        ("rescale_x4", filled("flow.layers.0.haar_weights", 1.0), "Haar"),
        ("sr_x8", lambda w: w.update(extra=torch.zeros(1)), "'extra'"),
        ("sr_x4", lambda w: [w.pop(k) for k in list(w) if ".layers.2." in k], "flow.layers.2"),
        ("sr_x4", lambda w: [w.pop(k) for k in list(w) if "level1" in k], "some keys are missing"),
        ("sr_x4", lambda w: [w.pop(k) for k in list(w) if "steps.0." in k], "steps.0"),
    ],
)
def test_a_damaged_checkpoint_names_the_key_and_what_was_expected(
    network: str, damage: Callable[[Weights], object], message: str, tmp_path: Path
) -> None:
    damaged = official(network)
    damage(damaged)
    path = tmp_path / "damaged.safetensors"
    save_file(damaged, path)
    with pytest.raises(CheckpointError) as error:
        load(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key_count", [1, 3, 20, 100])
def test_losing_any_keys_ends_in_one_clear_error(key_count: int, tmp_path: Path) -> None:
    for seed in range(8):
        order = torch.randperm(338, generator=torch.Generator().manual_seed(seed))[:key_count]
        damaged = official("sr_x4")
        for key in [list(damaged)[i] for i in order]:
            del damaged[key]
        path = tmp_path / "damaged.safetensors"
        save_file(damaged, path)
        with pytest.raises(CheckpointError):
            load(path)


class Attack:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("true",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Attack(), "refused"),
        ([1, 2], "expected a state_dict"),
        ({}, "expected a state_dict"),
        ({"epoch": 3}, "'epoch'"),
        ({"encoder.weight": torch.zeros(3)}, "not an HCFlow network"),
    ],
)
def test_a_pickle_of_anything_else_is_refused(
    content: object, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "odd.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=message):
        load(path)


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04broken", bytes(4000), b"\x80\x02"])
def test_a_file_that_is_no_checkpoint_ends_in_one_line(
    name: str, content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_a_truncated_checkpoint_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith("pth"):
        torch.save(official(), path)
    else:
        save_file(official(), path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="not a whole"):
        load(path)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file"):
        load(tmp_path / "nowhere.pth")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.tensor([[[[1e300]]]], dtype=torch.float64), "too large for float32"),
        (torch.zeros(1, 3, 1, 1).to_sparse(), "sparse_coo"),
        (torch.zeros(1, 3, 1, 1, dtype=torch.float8_e4m3fn), "float8_e4m3fn"),
        (torch.zeros(1, 3, 1, 1, dtype=torch.int32), "int32"),
        (torch.zeros(1, 3, 1, 1, dtype=torch.complex64), "complex64"),
        (torch.zeros(1, 3, 1, 1, device="meta"), "meta"),
        (torch.zeros(1).expand(10**13), "10000000000000.*more numbers than the file has"),
    ],
)
def test_numbers_that_are_no_weights_are_refused_by_key(
    value: Tensor, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "odd.pth"
    torch.save(official("sr_x4") | {"flow.layers.2.actnorm.bias": value}, path)
    with pytest.raises(CheckpointError, match=f"'flow.layers.2.actnorm.bias'.*{message}"):
        load(path)


def test_keys_that_share_their_numbers_ask_for_no_memory(tmp_path: Path) -> None:
    path, one = tmp_path / "shared.pth", torch.zeros(1000, dtype=torch.float16)
    torch.save({f"flow.layers.{step}.x": one for step in range(100)}, path)
    with pytest.raises(CheckpointError, match=r"share 2000 bytes of numbers as if .* 200000"):
        load(path)


def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "packed.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(1_000_000))
    with pytest.raises(CheckpointError, match="bytes unpack to 1000000; refused"):
        load(path)


def test_a_key_of_many_prefixes_is_read_in_linear_time(tmp_path: Path) -> None:
    """Quadratic time would run into pytest's timeout."""
    path = tmp_path / "prefixes.pth"
    torch.save({"module." * 500_000 + "x": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="found 'x'"):
        load(path)


def test_a_key_is_shown_without_its_control_characters(tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    save_file(official("sr_x4") | {"\x1b[2J\nred": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError) as error:
        load(path)
    assert r"'\x1b[2J\nred'" in str(error.value)
    assert str(error.value).isprintable()


def test_a_temperature_out_of_range_says_what_was_expected(tmp_path: Path) -> None:
    path = tmp_path / "hot.safetensors"
    for stated in ("10", "nan", "-1", "warm"):
        save(load(weights("sr_x4")).network, path, {"default_tau": stated})
        with pytest.raises(CheckpointError, match=f"'{stated}', expected a number from 0 to below"):
            _ = load(path).default_tau


def test_an_absurd_width_asks_for_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "wide.safetensors"
    key = "flow.level0_condFlow.conv_first.weight"
    save_file(official("sr_x4") | {key: torch.zeros(10**9, 0, 3, 3)}, path)
    with pytest.raises(CheckpointError, match=r"conv_first\.weight.*channels"):
        load(path)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_latents_is_refused(count: int) -> None:
    io = arrays("sr_x4")
    model = load(weights("sr_x4")).model
    with pytest.raises(ValueError, match=f"{count} latents given, expected 2"):
        model.inverse(io["lr"], [*latents(io), latents(io)[0]][:count])
