"""A run's configuration as frozen dataclasses; `toml_file` reads one from TOML."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from hcflow_ref.checkpoint.detect import MOST_CHANNELS
from hcflow_ref.errors import TrainingError
from hcflow_ref.network.config import HCFlowConfig, LevelConfig
from hcflow_ref.network.irn import IRNConfig

SCALES = (2, 4, 8, 16)


@dataclass(frozen=True)
class NetworkSettings:
    """The network to train, and where its weights start.

    Values of the levels are given finest level first, or once for all levels.

    Attributes:
        init: checkpoint file to start from; empty: a new network.
        start: initialisation of a new network: random 1×1 convolutions, or `haar`, with which the
            LR image starts as the box-downscaled image (`sr` only).
    """

    architecture: Literal["sr", "rescaling", "irn"]
    scale: int = 4
    init: str = ""
    start: Literal["official", "haar"] = "official"
    steps: int | tuple[int, ...] = 13
    hidden: int | tuple[int, ...] = 64
    cond_steps: int | tuple[int, ...] = 13
    cond_hidden: int | tuple[int, ...] = 64
    features: int | tuple[int, ...] = 64
    growth: int | tuple[int, ...] = 32
    blocks: tuple[int, int] = (7, 7)

    def build(self) -> HCFlowConfig | IRNConfig:
        """The configuration of the network.

        Raises:
            TrainingError: a value is out of range; names the key.
        """
        depth = self.scale.bit_length() - 1
        if self.scale not in SCALES:
            raise TrainingError(f"network.scale is {self.scale}, expected 2, 4, 8 or 16")

        def each(name: str) -> tuple[int, ...]:
            value = getattr(self, name)
            values: tuple[int, ...] = value if isinstance(value, tuple) else (value,) * depth
            if len(values) != depth or min(values) < 1 or max(values) > MOST_CHANNELS:
                raise TrainingError(
                    f"network.{name} is {list(values)}, expected {depth} numbers from 1 to "
                    f"{MOST_CHANNELS} for scale {self.scale}"
                )
            return values

        if self.architecture == "irn":
            return IRNConfig(each("steps"), each("growth"))
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


BEST_QUALITY = 95
"""Of the JPEGs that training draws; more is hardly ever used, and hardly differs."""


@dataclass(frozen=True)
class DataSettings:
    """How patches are drawn from the folder of images.

    Attributes:
        patch: side of an HR patch in pixels.
        batch: patches per step, over all processes.
        validation: number of images held out for the validation PSNR.
        short_sides: use each image downscaled to these short sides, as large photographs are
            smooth at full size. Empty: full size.
        candidates: crops drawn for a patch; the one with most detail is kept.
        gray: share of the patches that are made gray.
        blur: HCFlow+ is given LR images of patches blurred by up to this standard deviation, in HR
            pixels.
        jpeg_quality: and compressed as JPEG of this quality or more; 0: not compressed.
    """

    patch: int = 160
    batch: int = 16
    validation: int = 4
    short_sides: tuple[int, ...] = ()
    candidates: int = 1
    gray: float = 0.0
    blur: float = 0.0
    jpeg_quality: int = 0


@dataclass(frozen=True)
class ScheduleSettings:
    """Steps and learning rate: halved at fractions of the run, or a cosine to zero.

    Attributes:
        clip_value: gradients are first clipped to ± this value.
        clip_norm: gradients are then clipped to this norm.
        actnorm_steps: before this step an ActNorm whose bias is still zero is set from data.
        ema: decay per step of the averaged weights.
        minutes: of training, over all its resumptions, in which the schedule runs from start to
            end, where `steps` do not end it sooner; 0: `steps` alone. The run ends with the
            schedule. Such a run depends on the clock and is not repeatable.
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
    minutes: float = 0.0


@dataclass(frozen=True)
class LossSettings:
    """The objective and the weights of its losses (docs/network.md, 6).

    Attributes:
        objective: `nll` (HCFlow), `nll+l1` (HCFlow+), `gan` (HCFlow++), `rescaling`.
        hr: distance of the image at τ = 0 (`l1` of HCFlow+ too): mean absolute error, or each
            patch's RMSE.
        latent_weight: weight of the mean square of the rescaling objective's forward latents.
        neutral_weight: weight of the mean square of the LR image's colour where the bicubic LR
            image is neutral (R = G = B).
        keep_neutral: train the rescaling objective through what the runtime does to neutral
            pictures: their LR image and the restored one are made neutral.
        tau: temperature of the rescaling objective's latents, or of HCFlow++'s samples.
        features: `efficientnet-lite0`, or a file of VGG19 weights (a state_dict with torchvision's
            names); empty: torchvision's own.
        discriminator_first: steps at the start in which only the discriminator is trained.
        discriminator_lr: learning rate of the discriminator.
        consistency_weight: weight of the mean absolute error of the bicubic LR of HCFlow+'s image.
        dequantisation: noise of the likelihood, U(0, 1)/q as published, or U(−½, ½)/q, which does
            not brighten the inverse's images.
        default_tau: temperature stored with the weights; unset: `tau` for `rescaling` and `gan`,
            the network's official one for `nll` and `nll+l1`.
    """

    objective: Literal["nll", "nll+l1", "gan", "rescaling"]
    hr: Literal["l1", "rmse"] = "l1"
    nll_weight: float = 2e-3
    l1_weight: float = 1.0
    feature_weight: float = 5e-2
    gan_weight: float = 5e-1
    lr_weight: float = 5e-2
    latent_weight: float = 1e-5
    neutral_weight: float = 0.0
    keep_neutral: bool = False
    tau: float = 1.0
    features: str = ""
    discriminator_first: int = 1500
    discriminator_lr: float = 5e-5
    discriminator_width: int = 64
    consistency_weight: float = 0.0
    dequantisation: Literal["official", "centred"] = "official"
    default_tau: float | None = None


@dataclass(frozen=True)
class RunSettings:
    """How the run is done. Only `seed`, `bf16` and `repeatable` change the weights.

    Attributes:
        seed: all random draws of the run follow from it and the step.
        bf16: coupling networks and feature extractors in bfloat16; the flow stays float32.
        repeatable: on a GPU, cuDNN's algorithms that give the same bits each time; false: those
            that cuDNN measures to be the fastest.
        minutes: wall clock after which a start of the run saves its state and ends; the same
            command goes on from there. 0: no limit.
        save_every: steps between checkpoints; a crash loses at most these.
        validate_every: steps between validations.
        log_every: steps between lines of progress.
        threads: CPU threads; 0 leaves the choice to PyTorch.
    """

    seed: int = 0
    bf16: bool = False
    repeatable: bool = True
    minutes: float = 0.0
    save_every: int = 1000
    validate_every: int = 1000
    log_every: int = 20
    threads: int = 0


@dataclass(frozen=True)
class TrainConfig:
    """The configuration of a run, a table of the TOML file per attribute."""

    network: NetworkSettings
    loss: LossSettings
    schedule: ScheduleSettings
    data: DataSettings = field(default_factory=DataSettings)
    run: RunSettings = field(default_factory=RunSettings)
