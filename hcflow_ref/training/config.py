"""A run's configuration: a TOML file becomes frozen dataclasses; a typo is one clear line."""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hcflow_ref.config import HCFlowConfig, LevelConfig
from hcflow_ref.irn import IRNConfig
from hcflow_ref.training.errors import TrainingError


@dataclass(frozen=True)
class NetworkSettings:
    """What is trained: an architecture, or the weights of a checkpoint to go on from.

    Per-level values are given finest level first, or once for all levels.
    """

    architecture: Literal["sr", "rescaling", "irn"]
    scale: int = 4
    init: str = ""
    steps: int | tuple[int, ...] = 13
    hidden: int | tuple[int, ...] = 64
    cond_steps: int | tuple[int, ...] = 13
    cond_hidden: int | tuple[int, ...] = 64
    features: int | tuple[int, ...] = 64
    growth: int | tuple[int, ...] = 32
    blocks: tuple[int, int] = (7, 7)

    def build(self) -> HCFlowConfig | IRNConfig:
        """The architecture's own configuration."""
        depth = self.scale.bit_length() - 1
        if self.scale != 2**depth or depth < 1:
            raise TrainingError(f"network.scale is {self.scale}, expected 2, 4, 8 or 16")

        def each(name: str) -> tuple[int, ...]:
            value = getattr(self, name)
            values: tuple[int, ...] = value if isinstance(value, tuple) else (value,) * depth
            if len(values) != depth or min(values) < 1:
                raise TrainingError(
                    f"network.{name} is {list(values)}, expected {depth} numbers ≥ 1 for "
                    f"scale {self.scale}"
                )
            return values

        if self.architecture == "irn":
            return IRNConfig(each("steps"), each("growth")[0])
        steps, hidden, growth, features = map(each, ("steps", "hidden", "growth", "features"))
        cond_steps, cond_hidden = each("cond_steps"), each("cond_hidden")
        levels = tuple(
            LevelConfig(
                steps[j],
                hidden[j],
                cond_steps[j],
                cond_hidden[j],
                features[j],
                growth[j],
                self.blocks,
            )
            for j in range(depth)
        )
        return HCFlowConfig(self.architecture, levels)


@dataclass(frozen=True)
class DataSettings:
    """How patches are drawn from the folder of images.

    Attributes:
        patch: side of an HR patch in pixels.
        batch: patches a step, over all processes.
        validation: images held out of the folder for validation PSNR.
        short_sides: also use each image downscaled to these short sides; large photographs are
            smooth at full size. Empty: full size only.
        candidates: crops drawn for a patch, of which the one with most detail is kept.
    """

    patch: int = 160
    batch: int = 16
    validation: int = 4
    short_sides: tuple[int, ...] = ()
    candidates: int = 1


@dataclass(frozen=True)
class ScheduleSettings:
    """Steps and learning rate: halved at fractions of the run, or a cosine to zero.

    Attributes:
        clip_value: gradients are clipped to ±this, then
        clip_norm: to this norm.
        actnorm_steps: up to this step an ActNorm whose bias is still zero is set from data.
        ema: decay of the averaged weights a step.
    """

    steps: int
    lr: float = 2.5e-4
    halve_at: tuple[float, ...] = (0.5, 0.75, 0.9, 0.95)
    cosine: bool = False
    warmup: int = 0
    clip_value: float = 5.0
    clip_norm: float = 100.0
    actnorm_steps: int = 100
    ema: float = 0.999


@dataclass(frozen=True)
class LossSettings:
    """Weights of the losses; each objective reads its own (HCFLOW.md section 6).

    Attributes:
        objective: `nll` (HCFlow), `nll+l1` (HCFlow+), `gan` (HCFlow++), `rescaling`.
        hr: distance of the rescaled image: mean absolute error, or each patch's RMSE.
        tau: temperature of the rescaling objective's latents, or of HCFlow++'s samples.
        features: file of VGG19 weights (a state_dict with torchvision's names).
        discriminator_first: steps in which only the discriminator learns.
        discriminator_lr: its learning rate.
    """

    objective: Literal["nll", "nll+l1", "gan", "rescaling"]
    hr: Literal["l1", "rmse"] = "l1"
    nll_weight: float = 2e-3
    l1_weight: float = 1.0
    feature_weight: float = 5e-2
    gan_weight: float = 5e-1
    lr_weight: float = 5e-2
    latent_weight: float = 1e-5
    tau: float = 1.0
    features: str = ""
    discriminator_first: int = 1500
    discriminator_lr: float = 5e-5
    discriminator_width: int = 64


@dataclass(frozen=True)
class RunSettings:
    """What does not change the mathematics, except `seed` and `bf16`.

    Attributes:
        seed: every draw of the run follows from it and the step.
        bf16: coupling networks and features in bfloat16; the flow state stays float32.
        save_every: steps between checkpoints: what a crash loses at most.
        validate_every: steps between validations.
        threads: CPU threads; 0 leaves PyTorch's choice.
    """

    seed: int = 0
    bf16: bool = False
    save_every: int = 1000
    validate_every: int = 1000
    log_every: int = 20
    threads: int = 0


@dataclass(frozen=True)
class TrainConfig:
    """A whole run."""

    network: NetworkSettings
    loss: LossSettings
    schedule: ScheduleSettings
    data: DataSettings = field(default_factory=DataSettings)
    run: RunSettings = field(default_factory=RunSettings)


def read_config(path: str | Path) -> TrainConfig:
    """Read a TOML configuration.

    Raises:
        TrainingError: the file is missing or no TOML, a key is unknown, missing or of another
            type, or a value is out of range; names the key.
    """
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        config: TrainConfig = _dataclass(TrainConfig, content, "")
        check(config)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path}: not a TOML file ({error})") from error
    except TrainingError as error:
        raise TrainingError(f"{path}: {error}") from error
    return config


def _dataclass(kind: Any, content: dict[str, Any], prefix: str) -> Any:
    hints = get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for key in content:
        if key not in fields:
            close = ", ".join(sorted(fields))
            raise TrainingError(f"unknown key '{prefix}{key}'; known here: {close}")
    for name, f in fields.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and name not in content:
            raise TrainingError(f"key '{prefix}{name}' is missing")
    return kind(**{k: _value(hints[k], v, f"{prefix}{k}") for k, v in content.items()})


def _value(hint: Any, value: Any, key: str) -> Any:
    """`value` as the type `hint`, or a TrainingError that names the key."""
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
        return _value(kinds[0], value, key)
    if origin is tuple:
        items = list(arguments[:1]) * len(value) if ... in arguments else list(arguments)
        if isinstance(value, list) and len(value) == len(items):
            return tuple(_value(h, v, key) for h, v in zip(items, value, strict=True))
        raise TrainingError(f"'{key}' is {value!r}, expected a list of numbers")
    if hint is float and type(value) is int:
        return float(value)
    if hint is float and type(value) is float and not math.isfinite(value):
        raise TrainingError(f"'{key}' is {value}, expected a finite number")
    if type(value) is not hint:
        raise TrainingError(f"'{key}' is {value!r}, expected {hint.__name__}")
    return value


def check(config: TrainConfig) -> None:
    """Refuse values that cannot train.

    Raises:
        TrainingError: names the key.
    """
    network, loss, data, schedule = config.network, config.loss, config.data, config.schedule
    network.build()
    positive = {
        "data.batch": data.batch,
        "data.candidates": data.candidates,
        "schedule.steps": schedule.steps,
        "schedule.lr": schedule.lr,
        "run.save_every": config.run.save_every,
        "run.validate_every": config.run.validate_every,
        "run.log_every": config.run.log_every,
    }
    for key, value in positive.items():
        if value <= 0:
            raise TrainingError(f"'{key}' is {value}, expected more than 0")
    not_negative = {
        "run.seed": config.run.seed,
        "run.threads": config.run.threads,
        "loss.tau": loss.tau,
        "data.validation": data.validation,
        "network.blocks": min(network.blocks),
    }
    for key, value in not_negative.items():
        if value < 0:
            raise TrainingError(f"'{key}' is {value}, expected 0 or more")
    if any(side < data.patch for side in data.short_sides):
        raise TrainingError(
            f"'data.short_sides' is {list(data.short_sides)}, expected at least 'data.patch', "
            f"{data.patch}"
        )
    if data.patch < network.scale or data.patch % network.scale:
        raise TrainingError(
            f"'data.patch' is {data.patch}, expected a multiple of the scale {network.scale}"
        )
    if loss.objective == "gan" and data.patch % 32:
        raise TrainingError(
            f"'data.patch' is {data.patch}, expected a multiple of 32 for the discriminator"
        )
    if not 0 <= schedule.ema < 1:
        raise TrainingError(f"'schedule.ema' is {schedule.ema}, expected 0 ≤ ema < 1")
    if (loss.objective == "rescaling") == (network.architecture == "sr"):
        raise TrainingError(
            f"objective '{loss.objective}' does not train architecture '{network.architecture}': "
            "sr takes nll, nll+l1 or gan; rescaling and irn take rescaling"
        )
