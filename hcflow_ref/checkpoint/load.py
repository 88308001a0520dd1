"""Loads official `.pth` files and safetensors; saves safetensors with provenance."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as serialise
from torch import Size, Tensor

from hcflow_ref.checkpoint.detect import infer_config, infer_irn_config, is_irn
from hcflow_ref.checkpoint.official_names import (
    haar_filters,
    load_official,
    official_shapes,
    to_official,
)
from hcflow_ref.errors import CheckpointError, one_line
from hcflow_ref.network.config import HCFlowConfig
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.irn import IRN, IRNConfig

FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
"""Number formats that a checkpoint may have; networks compute in float32."""

WRAPPERS = ("params_ema", "state_dict", "params", "model", "model_state_dict")
"""Keys under which frameworks put a state_dict; averaged weights come first."""

MOST_REPEATED = 2
"""How many times its own size a file may unpack to; beyond it no memory is allocated."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        network: HCFlow or IRN, in float32, in eval mode, on the CPU.
        provenance: metadata of the file; empty for a `.pth`.
        sha256: SHA-256 of the file, 64 hex digits.
    """

    network: HCFlow | IRN
    provenance: Mapping[str, str]
    sha256: str

    @property
    def model(self) -> HCFlow:
        """The network as an HCFlow.

        Raises:
            CheckpointError: it is an IRN.
        """
        if isinstance(self.network, IRN):
            raise CheckpointError("the checkpoint is an IRN; an HCFlow network is needed here")
        return self.network

    @property
    def config(self) -> HCFlowConfig | IRNConfig:
        """The configuration detected from the file."""
        return self.network.config

    @property
    def default_tau(self) -> float:
        """The temperature to use: `default_tau` of the metadata, or the official one.

        Raises:
            CheckpointError: the metadata's is not a number from 0 to below 10.
        """
        stated = self.provenance.get("default_tau")
        if stated is None:
            return self.network.config.default_tau
        try:
            tau = float(stated)
        except ValueError:
            tau = -1.0
        if not 0 <= tau < 10:
            raise CheckpointError(
                f"metadata 'default_tau' is {stated!r}, expected a number from 0 to below 10"
            )
        return tau


def load(path: str | Path) -> Checkpoint:
    """Load an HCFlow network or an IRN from a `.pth` or `.safetensors` file.

    Raises:
        CheckpointError: the file is missing or damaged, its pickle contains more than tensors, or
            it is not exactly one of these networks; names the key and what was expected.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        weights, provenance = _read(path, data)
        network = _build(weights)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return Checkpoint(network, provenance, hashlib.sha256(data).hexdigest())


def official_weights(network: HCFlow | IRN) -> dict[str, Tensor]:
    """The weights under official names, on the CPU."""
    weights = to_official(network) if isinstance(network, HCFlow) else network.state_dict()
    return {key: w.detach().cpu().contiguous() for key, w in weights.items()}


def save(network: HCFlow | IRN, path: str | Path, provenance: Mapping[str, str]) -> None:
    """Save as safetensors under official names, with provenance in the metadata."""
    save_weights(official_weights(network), path, provenance)


def save_weights(
    weights: dict[str, Tensor], path: str | Path, provenance: Mapping[str, str]
) -> None:
    """Save tensors with the usual permissions; safetensors itself would write a private file.

    Raises:
        OSError: the file cannot be written.
    """
    Path(path).write_bytes(serialise(weights, metadata=dict(provenance)))


def _read(path: Path, data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    if path.suffix == ".safetensors":
        return _read_safetensors(data)
    return _read_pickle(data), {}


def _read_safetensors(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        weights = load_safetensors(data)
    except (SafetensorError, KeyError) as error:  # KeyError: a number format that PyTorch lacks
        raise CheckpointError(f"not a whole safetensors file ({error})") from error
    length = int.from_bytes(data[:8], "little")  # loading has checked this header
    return weights, json.loads(data[8 : 8 + length]).get("__metadata__") or {}


def _check_unpacked(data: bytes) -> None:
    """Refuse an archive that would fill the memory; PyTorch's own are not compressed."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except Exception:  # an older format, or damaged: PyTorch says which
        return
    if unpacked > MOST_REPEATED * len(data):
        raise CheckpointError(
            f"not a PyTorch checkpoint: {len(data)} bytes unpack to {unpacked}; refused"
        )


def _read_pickle(data: bytes) -> dict[str, Tensor]:
    _check_unpacked(data)
    try:
        loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can fail in any way there is
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
            raise CheckpointError(
                "refused: the pickle contains more than tensors and could run code. "
                "Save the plain state_dict, or convert the file to safetensors if you trust it"
            ) from error
        raise CheckpointError(f"not a whole PyTorch checkpoint ({one_line(error)})") from error
    if isinstance(loaded, dict) and {"average", "optimisers"} <= loaded.keys():
        raise CheckpointError(
            "this is the state of a training run; its weights are in model.safetensors beside it"
        )
    loaded = _unwrapped(loaded)
    if not isinstance(loaded, dict) or not loaded:
        raise CheckpointError(f"contains a {type(loaded).__name__}, expected a state_dict")
    for key, value in loaded.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"key {key!r} is a {type(value).__name__}, expected a state_dict of tensors"
            )
    return loaded


def _unwrapped(loaded: object) -> object:
    """The state_dict without the dictionaries that training frameworks put around it."""
    for _ in WRAPPERS:  # bounded: a dictionary may contain itself
        if isinstance(loaded, dict):
            inner = (loaded[key] for key in WRAPPERS if isinstance(loaded.get(key), dict))
            loaded = next(inner, loaded)
    return loaded


def _plain(key: str) -> str:
    """An official name without the prefixes of data-parallel training."""
    return re.sub(r"^(?:module\.)+", "", key)


def _build(weights: dict[str, Tensor]) -> HCFlow | IRN:
    """The network with these weights, after every key, shape and value has been checked."""
    named: dict[str, str] = {}
    for key in weights:
        if (twin := named.setdefault(_plain(key), key)) != key:
            raise CheckpointError(f"keys {twin!r} and {key!r} are the same weight twice")
    _check_stored(weights)
    weights = {_plain(key): _float32(key, w) for key, w in weights.items()}
    shapes = {key: w.shape for key, w in weights.items()}
    return _build_irn(weights, shapes) if is_irn(shapes) else _build_hcflow(weights, shapes)


def _check_stored(weights: dict[str, Tensor]) -> None:
    """Allow only dense floats that the file really contains: a pickle can repeat one at will."""
    asked, held = 0, {}
    for key, weight in weights.items():
        dense = weight.layout == torch.strided and weight.device.type == "cpu"
        if weight.dtype not in FLOATS or not dense:
            kind = f"{weight.dtype}, {weight.layout}, {weight.device}".replace("torch.", "")
            raise CheckpointError(
                f"key {key!r} is {kind}; expected dense floats of 16, 32 or 64 bits"
            )
        size, storage = weight.numel() * weight.element_size(), weight.untyped_storage()
        if size > storage.nbytes():
            raise CheckpointError(
                f"key {key!r} has shape {list(weight.shape)}, more numbers than the file has"
            )
        asked += size
        held[storage.data_ptr()] = storage.nbytes()
    if asked > MOST_REPEATED * sum(held.values()):
        raise CheckpointError(
            f"the keys share {sum(held.values())} bytes of numbers as if there were {asked}; "
            "each key must have its own"
        )


def _float32(key: str, weight: Tensor) -> Tensor:
    """The values as float32, all finite."""
    weight = weight.detach().float()
    if not torch.isfinite(weight).all():
        raise CheckpointError(
            f"key {key!r} contains NaN, infinity or a number too large for float32"
        )
    return weight


def _build_hcflow(weights: dict[str, Tensor], shapes: dict[str, Size]) -> HCFlow:
    config = infer_config(shapes)
    expected = official_shapes(config)
    _check(weights, expected, lambda: haar_filters(config), "HCFlow network")
    for key in (key for key in expected if key.endswith("permute.weight")):
        if (
            not torch.linalg.cond(weights[key].double()) < 1e12
        ):  # written so that NaN counts as singular
            raise CheckpointError(f"key {key!r} is a singular matrix and cannot be inverted")
    with torch.device("meta"):
        model = HCFlow(config)
    model.to_empty(device="cpu")
    load_official(model, weights)
    return model.float().eval().requires_grad_(False)


def _build_irn(weights: dict[str, Tensor], shapes: dict[str, Size]) -> IRN:
    config = infer_irn_config(shapes)
    with torch.device("meta"):
        state = IRN(config).state_dict()
    filters = {key: w for key, w in state.items() if key.endswith("haar_weights")}
    _check(weights, {key: w.shape for key, w in state.items()}, lambda: filters, "IRN")
    model = IRN(config)
    model.load_state_dict(weights)
    return model.float().eval().requires_grad_(False)


def _check(
    weights: dict[str, Tensor],
    expected: dict[str, Size],
    haar: Callable[[], dict[str, Tensor]],
    kind: str,
) -> None:
    """Refuse missing and unexpected keys, other shapes, and altered Haar filters."""
    for key, shape in expected.items():
        if key not in weights:
            raise CheckpointError(f"key {key!r} is missing, expected shape {list(shape)}")
        if weights[key].shape != shape:
            raise CheckpointError(
                f"key {key!r} has shape {list(weights[key].shape)}, expected {list(shape)}"
            )
    if unexpected := sorted(weights.keys() - expected.keys()):
        raise CheckpointError(
            f"key {unexpected[0]!r} ({len(unexpected)} such) does not belong to this {kind}"
        )
    for key, filters in haar().items():
        if not torch.equal(weights[key], filters):
            raise CheckpointError(f"key {key!r} does not contain the ±1 Haar filters")
