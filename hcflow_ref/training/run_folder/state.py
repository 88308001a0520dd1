"""A run's state on disk: written whole or not at all, and resumed to the bit.

`state.pt` holds the model, its average, the optimisers, the step and the configuration. The order
of the data and all random draws follow from seed and step, so they need no state; PyTorch's
generator is saved all the same. `model.safetensors` holds the averaged weights, officially named.
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
FREE_TO_CHANGE = frozenset({"save_every", "validate_every", "log_every", "threads", "minutes"})
"""Settings of [run] that may change when a run is resumed."""

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
"""What loading a damaged state file can raise."""


@dataclass
class State:
    """What changes in a run.

    Attributes:
        step: number of steps taken.
        model: the network being trained.
        average: the moving average of its weights.
        optimisers: by name: `flow`, and `discriminator` for HCFlow++.
        discriminator: the discriminator of HCFlow++, or None.
        seconds: time spent on the steps so far.
        images: fingerprint of the training folder's images.
        stopped_by: number of the signal that stopped this process early; 0 for none.
    """

    step: int
    model: HCFlow | IRN
    average: HCFlow | IRN
    optimisers: Mapping[str, torch.optim.Optimizer]
    discriminator: nn.Module | None = None
    seconds: float = 0.0
    images: str = ""
    stopped_by: int = 0


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a temporary file, and let it replace `path` only once it is on disk.

    Raises:
        TrainingError: the disk is full or not writable; `path` is unchanged.
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
            "untouched. Free some space and run the same command again"
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def save_state(state: State, config: TrainConfig, out: Path) -> None:
    """Write `state.pt` and `model.safetensors`.

    Raises:
        TrainingError: a weight is not finite, or the disk is full; the previous files are kept.
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
    write_atomically(
        out / MODEL_FILE, lambda path: save_model(state.average, config, state.step, path)
    )
    # Last, as the commit point: a run resumes from here, and would not write the model again.
    serialised = io.BytesIO()  # written by PyTorch itself, a failure would not say why
    torch.save(content, serialised)
    write_atomically(out / STATE_FILE, lambda path: path.write_bytes(serialised.getbuffer()))


def save_model(average: HCFlow | IRN, config: TrainConfig, step: int, path: Path) -> None:
    """Write the averaged weights of a run with their provenance."""
    provenance = {
        "default_tau": str(deploy_tau(config)),
        "objective": config.loss.objective,
        "steps": str(step),
        "trained_with": "hcflow train",
    }
    save(average, path, provenance)


def _named_weights(state: State) -> Iterator[tuple[str, Tensor]]:
    yield from state.model.named_parameters()
    if state.discriminator is not None:
        yield from state.discriminator.named_parameters("discriminator")


def deploy_tau(config: TrainConfig) -> float:
    """The default τ of this run's weights: `loss.default_tau`, or what the objective implies.

    NLL trains a network for sampling, by default at its official temperature.
    """
    if config.loss.default_tau is not None:
        return config.loss.default_tau
    if config.loss.objective in ("rescaling", "gan"):
        return config.loss.tau
    return config.network.build().default_tau


def resume(state: State, config: TrainConfig, out: Path) -> bool:
    """Load `state.pt` of `out` into `state`; returns False where there is none.

    Raises:
        TrainingError: it is damaged, or the configuration or images have changed; names the first
            difference.
    """
    path = out / STATE_FILE
    if not path.exists():
        return False
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != FORMAT:
            raise TrainingError(
                f"{path}: a training state of format {content['format']!r}, this version resumes "
                f"format {FORMAT}; start a run with another --out, with its model.safetensors as "
                "network.init"
            )
        _same_configuration(json.loads(content["config"]), config, out)
        if content.get("images", state.images) != state.images:
            raise TrainingError(
                f"{out} contains a run on other images than those in --data now; restore them, or "
                "start a run with another --out, with its model.safetensors as network.init"
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
    """Raise `TrainingError` unless the saved run has this configuration.

    A key that an older version did not have counts as its default.
    """
    given = json.loads(json.dumps(dataclasses.asdict(config)))
    defaults = {
        (section.name, f.name): json.loads(json.dumps(f.default))  # tuples are lists there
        for section in dataclasses.fields(config)
        for f in dataclasses.fields(getattr(config, section.name))
        if f.default is not dataclasses.MISSING
    }
    for section, values in given.items():
        for key, value in values.items():
            if section == "run" and key in FREE_TO_CHANGE:
                continue
            was = saved.get(section, {}).get(key, defaults.get((section, key)))
            if was != value:
                raise TrainingError(
                    f"{out} contains a run with {section}.{key} = {was!r}, the config says "
                    f"{value!r}; use the config the run was started with, or another --out"
                )
