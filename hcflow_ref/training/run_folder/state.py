"""A run's state on disk: written whole or not at all, and resumed to the bit.

`state.pt` holds the model, its average, the optimisers, the step and the configuration. Data order
and every draw follow from the seed and the step, so they need no state of their own; PyTorch's
generator is kept all the same. `model.safetensors` holds the averaged weights under official names.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hcflow_ref.checkpoint.load import save
from hcflow_ref.errors import TrainingError, one_line
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.irn import IRN
from hcflow_ref.training.config.settings import TrainConfig

STATE_FILE, MODEL_FILE = "state.pt", "model.safetensors"
FORMAT = 1
FREE_TO_CHANGE = frozenset({"save_every", "validate_every", "log_every", "threads"})
"""Settings of [run] that a resumed run may change."""


DAMAGED = (
    OSError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    EOFError,
    pickle.UnpicklingError,
)
"""What a state file that is not one can raise on its way into a run."""


@dataclass
class State:
    """What changes in a run.

    Attributes:
        step: steps taken.
        model: the network in training.
        average: its moving average.
        optimisers: by name: `flow`, and `discriminator` in HCFlow++.
        discriminator: None without GAN.
        seconds: spent so far.
        images: fingerprint of the folder's images.
        stopped_by: the signal that ended this process's steps early; 0 for none.
    """

    step: int
    model: HCFlow | IRN
    average: HCFlow | IRN
    optimisers: Mapping[str, torch.optim.Optimizer]
    discriminator: nn.Module | None = None
    seconds: float = 0.0
    images: str = ""
    stopped_by: int = 0


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write through a temporary file that replaces `path` only once it is on disk.

    Raises:
        TrainingError: the disk is full or not writable; `path` is as it was.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise TrainingError(
            f"{path}: cannot be written ({error.strerror or error}); the previous checkpoint is "
            "untouched. Free some space and start again with the same --out"
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def save_state(state: State, config: TrainConfig, out: Path) -> None:
    """Write `state.pt` and `model.safetensors`.

    Raises:
        TrainingError: a weight is not finite, or the disk is full; the files before are kept.
    """
    discriminator = state.discriminator
    for name, weight in _named_weights(state):
        if not torch.isfinite(weight).all():
            raise TrainingError(
                f"step {state.step}: weight '{name}' is not finite; the last checkpoint is kept"
            )
    content = {
        "format": FORMAT,
        "config": json.dumps(dataclasses.asdict(config)),
        "step": state.step,
        "seconds": state.seconds,
        "images": state.images,
        "model": state.model.state_dict(),
        "average": state.average.state_dict(),
        "optimisers": {name: o.state_dict() for name, o in state.optimisers.items()},
        "discriminator": None if discriminator is None else discriminator.state_dict(),
        "generator": torch.get_rng_state(),
    }
    provenance = {
        "default_tau": str(deploy_tau(config)),
        "objective": config.loss.objective,
        "steps": str(state.step),
        "trained_with": "hcflow train",
    }
    write_whole(out / MODEL_FILE, lambda path: save(state.average, path, provenance))
    # Last, as the commit point: a run goes on from here, and would not write the model again.
    serialised = io.BytesIO()  # PyTorch's own files do not say why they cannot be written
    torch.save(content, serialised)
    write_whole(out / STATE_FILE, lambda path: path.write_bytes(serialised.getbuffer()))


def _named_weights(state: State) -> Iterator[tuple[str, Tensor]]:
    yield from state.model.named_parameters()
    if state.discriminator is not None:
        yield from state.discriminator.named_parameters("discriminator")


def deploy_tau(config: TrainConfig) -> float:
    """The temperature that weights of this run are made for.

    NLL makes a network for samples; with no other wish that is the official temperature.
    """
    if config.loss.default_tau is not None:
        return config.loss.default_tau
    if config.loss.objective in ("rescaling", "gan"):
        return config.loss.tau
    return config.network.build().default_tau


def resume(state: State, config: TrainConfig, out: Path) -> bool:
    """Load `state.pt` of `out` into `state`; False where there is none.

    Raises:
        TrainingError: it is damaged, or of another configuration; names the first difference.
    """
    path = out / STATE_FILE
    if not path.exists():
        return False
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != FORMAT:
            raise TrainingError(
                f"{path}: a run of format {content['format']!r}, this version continues format "
                f"{FORMAT}; start in another --out, from its model.safetensors as network.init"
            )
        _same_configuration(json.loads(content["config"]), config, out)
        if content.get("images", state.images) != state.images:
            raise TrainingError(
                f"{out} holds a run on other images than those in --data now; put back what was "
                "there, or start in another --out, from its model.safetensors as network.init"
            )
        state.model.load_state_dict(content["model"])
        state.average.load_state_dict(content["average"])
        for name, optimiser in state.optimisers.items():
            optimiser.load_state_dict(content["optimisers"][name])
        if state.discriminator is not None:
            state.discriminator.load_state_dict(content["discriminator"])
        torch.set_rng_state(content["generator"])
        state.step, state.seconds = _progress(content["step"], content["seconds"])
    except TrainingError:
        raise
    except DAMAGED as error:
        raise TrainingError(f"{path}: not a whole training state ({one_line(error)})") from error
    return True


def _progress(step: Any, seconds: Any) -> tuple[int, float]:
    if type(step) is not int or step < 0 or not 0 <= seconds < math.inf:
        raise ValueError(f"step {step!r} after {seconds!r} seconds")
    return step, float(seconds)


def _same_configuration(saved: dict[str, Any], config: TrainConfig, out: Path) -> None:
    """Raise `TrainingError` unless the saved run is of this configuration.

    A key that an older version did not know had the value that is its default now.
    """
    given = json.loads(json.dumps(dataclasses.asdict(config)))
    defaults = {
        (section.name, f.name): f.default
        for section in dataclasses.fields(config)
        for f in dataclasses.fields(getattr(config, section.name))
    }
    for section, values in given.items():
        for key, value in values.items():
            if section == "run" and key in FREE_TO_CHANGE:
                continue
            was = saved.get(section, {}).get(key, defaults[section, key])
            if was != value:
                raise TrainingError(
                    f"{out} holds a run with {section}.{key} = {was!r}, the config says {value!r}; "
                    "take the config it was started with, or another --out"
                )
