"""Loads networks from files of `torch.save` and safetensors; saves safetensors with provenance."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Size, Tensor

from hcflow_ref.checkpoint import candidates, safetensors_file, tensors, torch_file
from hcflow_ref.checkpoint.detect import infer_config, infer_irn_config, is_irn
from hcflow_ref.checkpoint.official_names import (
    haar_filters,
    load_official,
    official_shapes,
    to_official,
)
from hcflow_ref.errors import CheckpointError
from hcflow_ref.network.config import HCFlowConfig
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.irn import IRN, IRNConfig

MOST_BYTES = 1 << 30
"""Of a file: a network has some 100 MB, a training state with its optimiser several times that."""

MOST_HEADER_BYTES = 1 << 23
"""Of a safetensors file: some 100 bytes a tensor."""

MOST_PROVENANCE = 1 << 16
"""Of metadata that are kept, in bytes; a manifest has them too."""

CHOICE = "weights"
"""The key of the provenance that says which of a file's networks was chosen."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        network: HCFlow or IRN, in float32, in eval mode, on the CPU.
        provenance: metadata of the file, and which weights were chosen where there were several.
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
    """Load an HCFlow network or an IRN from a file of `torch.save` or safetensors.

    Nothing in the file is run. Keys and prefixes around the network are taken off, averaged
    weights (EMA) are preferred to raw ones, which a warning says.

    Raises:
        CheckpointError: the file is missing, damaged or too large, its pickle contains more than
            tensors and settings, or it is not exactly one of these networks; names the key and
            what was expected.
    """
    path = Path(path)
    try:
        data = _read_file(path)
        weights, metadata, choice = _network_weights(data)
        network = _build(weights)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    provenance, left_out = _bounded(metadata)
    if left_out:
        shown = ", ".join(repr(key[:80]) for key in left_out[:3]) + ", …" * (len(left_out) > 3)
        _logger.warning(
            "%s: metadata %s are left out: more than %d bytes", path, shown, MOST_PROVENANCE
        )
    if choice:
        _logger.warning("%s: %s", path, choice)
        provenance[CHOICE] = choice
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
    Path(path).write_bytes(safetensors_file.save(weights, provenance))


def _read_file(path: Path) -> bytes:
    """The bytes of a regular file of a size that a checkpoint may have."""
    descriptor = os.open(
        path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    )
    with open(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError("it is no regular file")
        if status.st_size > MOST_BYTES:
            raise CheckpointError(
                f"it has {status.st_size} bytes, more than the {MOST_BYTES} a checkpoint may have"
            )
        return file.read(status.st_size)  # not more: so much memory is taken at once


def _bounded(metadata: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The metadata to keep, the shortest first, and the keys left out.

    `CHOICE` is ours to say: a file's own is of an earlier file.
    """
    kept, left_out, size = {}, [], 0
    own = {key: text for key, text in metadata.items() if key != CHOICE}
    for key, text in sorted(own.items(), key=lambda item: (len(item[0]) + len(item[1]), item)):
        size += len(key.encode()) + len(text.encode())
        if size > MOST_PROVENANCE:
            left_out.append(key)
        else:
            kept[key] = text
    return kept, left_out


def _network_weights(data: bytes) -> tuple[dict[str, Tensor], dict[str, str], str]:
    """The weights of the network that is meant, a file's metadata, and a sentence on the choice.

    What a file is shows in its bytes: people rename checkpoints.
    """
    if _is_safetensors(data):
        root, metadata = _read_safetensors(data)
        found, choice = _choose(root)
        return tensors.of_tensors(found), metadata, choice
    file = torch_file.read(data)
    found, choice = _choose(file.root)
    return tensors.of_file(file, found), {}, choice


def _is_safetensors(data: bytes) -> bool:
    return data[8:9] == b"{" and int.from_bytes(data[:8], "little") < len(data)


def _read_safetensors(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    length = int.from_bytes(data[:8], "little")
    if length > MOST_HEADER_BYTES:
        raise CheckpointError(f"its header has {length} bytes, far too many; refused")
    try:
        return safetensors_file.load(data), safetensors_file.metadata(data)
    except safetensors_file.SafetensorsError as error:
        raise CheckpointError(f"not a whole safetensors file ({error})") from error


def _choose(root: Any) -> tuple[Mapping[str, Any], str]:
    """The values of the network that is meant, and a sentence about the choice."""
    if isinstance(root, dict) and {"average", "optimisers"} <= root.keys():
        raise CheckpointError(
            "this is the state of a training run; its weights are in model.safetensors beside it"
        )
    if found := candidates.find(root):
        chosen, choice = candidates.choose(found)
        if chosen.twins is not None:
            one, other = chosen.twins
            raise CheckpointError(f"keys {one!r} and {other!r} are the same weight twice")
        return chosen.weights, choice or candidates.passed_over(root, chosen)
    others = candidates.largest_dictionary(root)
    if others:
        infer_config({key: value.shape for key, value in others.items()})  # says what is missing
    if not isinstance(root, dict) or not root:
        raise CheckpointError(f"contains a {type(root).__name__}, expected a state_dict")
    key, value = next(iter(root.items()))
    shown = f"key {key!r}" if isinstance(key, (str, int)) else "a key"
    raise CheckpointError(f"{shown} is a {type(value).__name__}, expected a state_dict of tensors")


def _build(weights: dict[str, Tensor]) -> HCFlow | IRN:
    """The network with these weights, after every key, shape and value has been checked."""
    weights = {key: _float32(key, weight) for key, weight in weights.items()}
    shapes = {key: weight.shape for key, weight in weights.items()}
    return _build_irn(weights, shapes) if is_irn(shapes) else _build_hcflow(weights, shapes)


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
