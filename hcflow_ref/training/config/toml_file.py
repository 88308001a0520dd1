"""Reads a run's configuration from TOML; a mistake in it is one line that names the key."""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hcflow_ref.checkpoint.detect import MOST_CHANNELS
from hcflow_ref.errors import TrainingError
from hcflow_ref.training.config.settings import BEST_QUALITY, TrainConfig

LARGEST = 1 << 63
"""Upper bound of seeds, and of whole numbers given where a float is expected."""


def read_config(path: str | Path) -> TrainConfig:
    """Read a TOML configuration.

    Raises:
        TrainingError: the file is missing or not TOML, a key is unknown or missing, or a value has
            the wrong type or is out of range; names the key.
    """
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, or nested too deep
        raise TrainingError(f"{path}: not a TOML file ({error})") from error
    try:
        return of_mapping(content)
    except TrainingError as error:
        raise TrainingError(f"{path}: {error}") from error


def of_mapping(content: dict[str, Any]) -> TrainConfig:
    """The configuration of a TOML file's content.

    Raises:
        TrainingError: as `read_config`.
    """
    config: TrainConfig = _dataclass(TrainConfig, content, "")
    check(config)
    return config


def _dataclass(kind: Any, content: dict[str, Any], prefix: str) -> Any:
    hints = get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for key in content:
        if key not in fields:
            known = ", ".join(sorted(fields))
            raise TrainingError(f"unknown key {prefix + key!r}; known here: {known}")
    for name, f in fields.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and name not in content:
            raise TrainingError(f"key '{prefix}{name}' is missing")
    return kind(**{k: _value(hints[k], v, f"{prefix}{k}") for k, v in content.items()})


def _value(hint: Any, value: Any, key: str) -> Any:
    """`value` as the type `hint`; raises `TrainingError` with the key where it is not of it."""
    origin, arguments = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, dict):
            return _dataclass(hint, value, f"{key}.")
        raise TrainingError(f"'{key}' is {value!r}, expected a table [{key}]")
    if origin is Literal:
        if value in arguments:
            return value
        raise TrainingError(f"'{key}' is {value!r}, expected one of {', '.join(arguments)}")
    if origin in (Union, types.UnionType):
        kinds = [h for h in arguments if (get_origin(h) is tuple) == isinstance(value, list)]
        return _value(kinds[0] if kinds else arguments[0], value, key)
    if origin is tuple:
        items = list(arguments[:1]) * len(value) if ... in arguments else list(arguments)
        if isinstance(value, list) and len(value) == len(items):
            return tuple(_value(h, v, key) for h, v in zip(items, value, strict=True))
        raise TrainingError(f"'{key}' is {value!r}, expected a list of numbers")
    if hint is float and type(value) is int and abs(value) < LARGEST:
        return float(value)
    if hint is float and type(value) is float and not math.isfinite(value):
        raise TrainingError(f"'{key}' is {value}, expected a finite number")
    if type(value) is not hint:
        raise TrainingError(f"'{key}' is {value!r}, expected {hint.__name__}")
    return value


def check(config: TrainConfig) -> None:
    """Refuse values that cannot be trained with.

    Raises:
        TrainingError: a value cannot be used; names the key.
    """
    config.network.build()
    _check_ranges(config)
    _check_patch(config)
    network, loss = config.network, config.loss
    if network.start == "haar" and network.architecture != "sr":
        raise TrainingError("'network.start' is 'haar', which only architecture 'sr' can use")
    continues = loss.objective in ("nll+l1", "gan") and not config.schedule.actnorm_steps
    if continues and not network.init:
        raise TrainingError(
            f"'network.init' is empty, but with 'schedule.actnorm_steps' at 0 '{loss.objective}' "
            "continues from trained weights: name their file"
        )
    if (config.data.blur or config.data.jpeg_quality) and loss.objective != "nll+l1":
        raise TrainingError(
            "'data.blur' and 'data.jpeg_quality' degrade the LR images that objective 'nll+l1' is "
            f"given; '{loss.objective}' has none"
        )
    if (loss.objective == "rescaling") == (network.architecture == "sr"):
        raise TrainingError(
            f"objective '{loss.objective}' does not train architecture '{network.architecture}': "
            "sr takes nll, nll+l1 or gan; rescaling and irn take rescaling"
        )


POSITIVE = (
    ("data", "batch candidates"),
    ("schedule", "steps lr clip_value clip_norm"),
    ("loss", "discriminator_lr discriminator_width"),
    ("run", "save_every validate_every log_every"),
)
NOT_NEGATIVE = (
    ("data", "validation gray blur jpeg_quality"),
    ("schedule", "warmup actnorm_steps ema minutes"),
    ("loss", "tau default_tau discriminator_first nll_weight l1_weight feature_weight gan_weight"),
    ("loss", "lr_weight latent_weight neutral_weight consistency_weight"),
    ("run", "seed threads minutes"),
)
BELOW = {
    "schedule.ema": 1,
    "loss.tau": 10,
    "loss.default_tau": 10,
    "loss.discriminator_width": MOST_CHANNELS,
    "data.batch": 1 << 16,
    "data.candidates": 1 << 16,
    "data.gray": 1,
    "data.blur": 100,
    "data.jpeg_quality": BEST_QUALITY,
    "run.seed": LARGEST,
    "run.threads": 1025,
}
"""Keys by section, and what their values have to stay below."""


def _check_ranges(config: TrainConfig) -> None:
    for bound, groups in (("more than 0", POSITIVE), ("0 or more", NOT_NEGATIVE)):
        for section, names in groups:
            for name in names.split():
                key, value = f"{section}.{name}", getattr(getattr(config, section), name)
                if value is None:
                    continue
                if value < 0 or (value == 0 and groups is POSITIVE):
                    raise TrainingError(f"'{key}' is {value}, expected {bound}")
                if value >= BELOW.get(key, math.inf):
                    raise TrainingError(f"'{key}' is {value}, expected less than {BELOW[key]}")
    blocks, halve_at = list(config.network.blocks), list(config.schedule.halve_at)
    if min(blocks) < 1 or max(blocks) > MOST_CHANNELS:
        raise TrainingError(
            f"'network.blocks' is {blocks}, expected numbers from 1 to {MOST_CHANNELS}"
        )
    if not all(0 <= at <= 1 for at in halve_at):
        raise TrainingError(f"'schedule.halve_at' is {halve_at}, expected fractions from 0 to 1")


def _check_patch(config: TrainConfig) -> None:
    data, scale = config.data, config.network.scale
    if any(side < data.patch for side in data.short_sides):
        raise TrainingError(
            f"'data.short_sides' is {list(data.short_sides)}, expected at least 'data.patch', "
            f"{data.patch}"
        )
    if data.patch < scale or data.patch % scale:
        raise TrainingError(
            f"'data.patch' is {data.patch}, expected a multiple of the scale {scale}"
        )
    if config.loss.objective == "gan" and data.patch % 32:
        raise TrainingError(
            f"'data.patch' is {data.patch}, expected a multiple of 32 for the discriminator"
        )
