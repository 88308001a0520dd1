"""`hcflow models`: the models that ship with the package, and what was measured of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hcflow.cli import options
from hcflow.models.shipped import READY, weights
from runtime.errors import BundleError

FIGURES = ".json"
"""Beside the weights: what `hcflow evaluate NAME --json` wrote, by the weights' digest."""


@dataclass(frozen=True)
class Shipped:
    """One shipped model.

    Attributes:
        name: what `--model` takes.
        task: rescaling or sr.
        network: HCFlow or IRN.
        scale: HR size / LR size.
        megabytes: of the weights' file.
        default_tau: the temperature it is made for.
        psnr: mean PSNR in dB at τ = 0 over the images it was evaluated on; None where unmeasured.
        bicubic_psnr: of bicubic, on the same images.
        images: their names.
        ready: whether its bundle ships too; others are built once by `hcflow build --model NAME`.
    """

    name: str
    task: str
    network: str
    scale: int
    megabytes: float
    default_tau: float
    psnr: float | None
    bicubic_psnr: float | None
    images: tuple[str, ...]
    ready: bool


def models(*, as_json: options.Json = False) -> None:
    """List the shipped models; `--model NAME` and `hcflow evaluate NAME` select one."""
    found = [describe(path) for path in weights().values()]
    if as_json:
        print(json.dumps([asdict(model) for model in found]))
        return
    table = Table(caption="PSNR at τ = 0 on RGB, border cropped, mean of the four photographs")
    for heading in (
        "model",
        "network",
        "task",
        "MB",
        "default τ",
        "bicubic dB",
        "PSNR dB",
        "bundle",
    ):
        table.add_column(
            heading, justify="left" if heading in TEXTS else "right", no_wrap=heading == "model"
        )
    for model in found:
        table.add_row(
            escape(model.name),
            model.network,
            f"{model.task} ×{model.scale}",
            f"{model.megabytes:.1f}",
            f"{model.default_tau:g}",
            _decibels(model.bicubic_psnr),
            _decibels(model.psnr),
            "ready" if model.ready else "build",
        )
    Console().print(table)


TEXTS = frozenset({"model", "network", "task", "bundle"})


def describe(path: Path) -> Shipped:
    """A shipped model by its file's header, without loading weights or PyTorch.

    Raises:
        BundleError: the file is damaged.
    """
    from hcflow_ref.checkpoint.detect import infer_config
    from hcflow_ref.network.config import HCFlowConfig

    try:
        header = _header(path)
        stated = dict(header.pop("__metadata__", {}))
        shapes = {key: entry["shape"] for key, entry in header.items()}
        irn = any(key.startswith("operations.") for key in shapes)
        config: HCFlowConfig | None = None if irn else infer_config(shapes)
        levels = sum(key.endswith(".haar_weights") for key in shapes)
        scale = config.scale if config else 2**levels
        official = config.default_tau if config else 1.0
        tau = float(stated.get("default_tau", official))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"'{path}' is damaged ({error}): install hcflow-deploy again") from error
    measured = _figures(path)
    average = measured.get("average", {})
    return Shipped(
        name=path.stem,
        task=config.task if config else "rescaling",
        network="IRN" if irn else "HCFlow",
        scale=scale,
        megabytes=round(path.stat().st_size / 1e6, 1),
        default_tau=tau,
        psnr=average.get("restored", {}).get("psnr"),
        bicubic_psnr=average.get("bicubic", {}).get("psnr"),
        images=tuple(image["name"] for image in measured.get("images", ())),
        ready=path.stem in READY,
    )


def _header(path: Path) -> dict[str, Any]:
    """What a safetensors file says of itself: 8 bytes of length, then JSON."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(min(length, path.stat().st_size)))
    return header


def _figures(path: Path) -> dict[str, Any]:
    """What was measured of these very weights; empty where it was of others, or never."""
    file = path.with_suffix(FIGURES)
    if not file.is_file():
        return {}
    measured: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return measured if measured["about"]["sha256"] == digest else {}


def _decibels(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
